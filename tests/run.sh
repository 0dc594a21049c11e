#!/bin/bash
# SPDX-License-Identifier: MIT
#
# run.sh - build everything and run all tests.
#
# usage: tests/run.sh [OPTION]... [SUITE[:NAME]]...
#
# Without a SUITE all are run, in this order. What they need is installed with
# apt first (only what is missing, and only as root).
#
#   build    gcc, clang and release builds with warnings as errors; installation
#   unit     check programs and replays of the fuzz corpora; NAME: a module
#   lint     formatting, layers, static analysis, man pages; NAME: a check
#   asan     the unit suite with the address and undefined behaviour sanitizers
#   tsan     the unit suite with the thread sanitizer
#   fuzz     each fuzz target for a while; NAME: a target
#   package  Debian package and RPM, built, looked at and tried in the guest; NAME:
#            deb, rpm, contents, lintian, in-guest
#   serve    images served on sockets, to a client of the tests; NAME: a test
#   kernel   real devices in a guest whose kernel has VDUSE; NAME: a test
#
#   --list              print the names of all suites and tests, run nothing
#   --long              longer forms of the tests that have one (kernel; fuzz 10 min)
#   --fuzz-seconds N    time for each fuzz target [60]
#   --help              this text
#
# Examples:
#   tests/run.sh unit lint            two suites
#   tests/run.sh unit:virtqueue       one unit test program
#   tests/run.sh kernel:cycles kernel:busy --long
#
# Builds and logs are kept in build/, or in $VBLKD_BUILD_DIR; the log of each
# step is build/test-logs/NAME.log. The last line is the sum over all suites.
#
# Exit status: 0 all passed or were skipped for a reason; 1 something failed, or
# a suite ran nothing; 2 wrong usage.

set -uo pipefail

top=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
cd -- "$top" || exit 1
# shellcheck source=packaging/install-packages.sh
. packaging/install-packages.sh
build=$(realpath -m -- "${VBLKD_BUILD_DIR:-build}")
logs=$build/test-logs
guest_programs=(vblkd vblkctl lincheck hostile-driver log-replay mem-hog openmetrics-check vhu-serve)
all_suites=(build unit lint asan tsan fuzz package serve kernel)

long=
fuzz_seconds=
deadline_s=100000
stood_still=		# a guest has, and was started again
suites=()
declare -A filters=()	# suite -> names, one a line

# The suite that is running.
suite=
passed=0
failed=0
skipped=0
permitted=		# why it is no failure that nothing ran

total_passed=0
total_failed=0
total_skipped=0
skips=()		# "suite:name: reason"
summaries=()
children=()

msg()
{
	printf '%s\n' "$*"
}

die_usage()
{
	printf 'run.sh: %s (see --help)\n' "$*" >&2
	exit 2
}

print_help()
{
	awk 'NR > 3 { if (!/^#/) exit; sub(/^# ?/, ""); print }' "$0"
}

cleanup()
{
	local pid

	trap - EXIT INT TERM HUP
	for pid in "${children[@]}"; do
		kill -TERM "$pid" 2>/dev/null || :
	done
	wait
}

# ---- results ----

pass()
{
	passed=$((passed + ${1:-1}))
}

# fail NAME [LOG]
fail()
{
	failed=$((failed + 1))
	msg "FAIL $suite:$1"
	if [ -n "${2:-}" ] && [ -s "$2" ]; then
		msg "---- the end of $2"
		# Its own words, then what a guest's kernel had to say.
		sed '/^---- kernel log$/,$d' "$2" | tail -n 40
		sed -n '/^---- kernel log$/,$p' "$2" | tail -n 40
		msg "----"
	fi
}

skip()
{
	skipped=$((skipped + 1))
	skips+=("$suite:$1: $2")
}

# logged NAME COMMAND...: run it with its output in the log of that name
logged()
{
	local log=$logs/$1.log

	shift
	printf '$ %s\n' "$*" >>"$log"
	"$@" >>"$log" 2>&1 </dev/null
}

# ---- packages ----

# What cannot be installed is told; the tests that need it are then skipped or fail.
need_packages()
{
	INSTALL_LOG=$logs/apt.log
	install_packages "$@" || msg "note: not all packages are there, see $logs/apt.log"
}

need_build_packages()
{
	need_packages "${BUILD_PACKAGES[@]}" check
}

# ---- building ----

# build_preset PRESET [TARGET]...
build_preset()
{
	local preset=$1 dir=$build/$1

	shift
	: >"$logs/build-$preset.log"
	logged "build-$preset" cmake --preset "$preset" -B "$dir" &&
		logged "build-$preset" cmake --build "$dir" ${1+--target "$@"}
}

# For the other suites: a build that fails is their failure too.
built()
{
	build_preset "$@" && return
	fail "build of $1" "$logs/build-$1.log"
	return 1
}

check_preset()
{
	wanted "$1" || return 0
	if build_preset "$1"; then
		pass
	else
		fail "$1" "$logs/build-$1.log"
	fi
}

# installed PATH: the one file whose path ends so, and no second one
installed()
{
	local found

	found=$(find "$build/install-root" -path "*/$1" ! -type d)
	[ -n "$found" ] && [ "$(wc -l <<<"$found")" = 1 ] && printf '%s' "$found"
}

check_install()
{
	local root=$build/install-root log=$logs/install.log name file bad=0

	wanted install || return 0
	rm -rf -- "$root"
	: >"$log"
	build_preset release || { fail install "$logs/build-release.log"; return; }
	DESTDIR=$root logged install cmake --install "$build/release" || bad=1
	for name in sbin/vblkd sbin/vblkctl man7/vblkd.7 man8/vblkd.8 man8/vblkctl.8 \
		modules-load.d/vblkd.conf completions/vblkctl; do
		file=$(installed "$name") || { msg "not installed once: $name" >>"$log"; bad=1; continue; }
		[[ $name == sbin/* ]] || continue
		logged install "$file" --version || bad=1
		! readelf -d "$file" 2>/dev/null | grep -E 'RPATH|RUNPATH' >>"$log" || bad=1
	done
	if [ $bad = 0 ]; then
		pass
	else
		fail install "$log"
	fi
}

suite_build()
{
	need_build_packages
	need_packages clang libclang-rt-14-dev binutils
	check_preset dev
	check_preset clang
	check_preset release
	check_install
}

# ---- ctest ----

# ctest_results LOG: "PASSED FAILED", then a line "fail NAME WHY" or "skip NAME
# REASON" for each. A check program counts as many as it has tests, everything
# else as one. A program that fails without a failed test (a leak found at its
# end) counts as one failure.
ctest_results()
{
	awk '
	/^[0-9]+: [0-9]+%: Checks: / {
		id = $1 + 0
		match($0, /Checks: [0-9]+/); checks[id] += substr($0, RSTART + 8, RLENGTH - 8)
		match($0, /Failures: [0-9]+/); bad[id] += substr($0, RSTART + 10, RLENGTH - 10)
		match($0, /Errors: [0-9]+/); bad[id] += substr($0, RSTART + 8, RLENGTH - 8)
	}
	/^[0-9]+: ./ { id = $1 + 0; last[id] = $0; sub(/^[0-9]+: /, "", last[id]) }
	/^ *[0-9]+\/[0-9]+ Test +#[0-9]+: / {
		line = $0
		sub(/.*Test +#/, "", line)
		id = line + 0
		name = line
		sub(/^[0-9]+: /, "", name)
		sub(/ .*/, "", name)
		if (line ~ /\*\*\*Skipped/)
			print "skip", name, last[id]
		else if (line ~ / Passed /)
			passed += checks[id] ? checks[id] : 1
		else {
			n = bad[id] ? bad[id] : 1
			failed += n
			passed += checks[id] > n ? checks[id] - n : 0
			sub(/.*\*\*\*/, "", line)
			print "fail", name, line
		}
	}
	END { print "count", passed + 0, failed + 0 }' "$1"
}

# run_ctest PRESET LABEL: the tests of the label that were asked for
run_ctest()
{
	local dir=$build/$1 label=$2 log=$logs/$suite.log regex='' word name rest run=()

	# A name is the beginning of what follows "unit." and the like.
	# On a busy machine the 4 seconds that check gives a test are too short.
	export CK_TIMEOUT_MULTIPLIER=${CK_TIMEOUT_MULTIPLIER-10}
	regex="[.]($(paste -sd'|' <<<"${filters[$suite]-}"))"
	[ "$suite" != tsan ] || ! setarch -R true 2>/dev/null || run=(setarch -R)
	: >"$log"
	logged "$suite" "${run[@]}" ctest --test-dir "$dir" -L "^$label\$" -R "$regex" -V -j2 \
		--timeout 900 --schedule-random
	while read -r word name rest; do
		case $word in
		count) pass "$name"; failed=$((failed + rest)) ;;
		skip) skip "${name#*.}" "${rest#skipped: }" ;;
		fail) show_ctest_failure "$log" "$name" "$rest" ;;
		esac
	done < <(ctest_results "$log")
}

show_ctest_failure()
{
	local log=$1 name=$2 why=$3 id

	msg "FAIL $suite:${name#*.} ($why)"
	id=$(sed -nE "s/^ *[0-9]+\/[0-9]+ Test +#([0-9]+): ${name//./\\.} .*/\1/p" "$log" | head -n 1)
	msg "---- the end of its output, all is in $log"
	grep -E "^$id: " "$log" | sed -E 's/^[0-9]+: //' | tail -n 40
	msg "----"
}

suite_unit()
{
	need_build_packages
	! built dev || run_ctest dev unit
}

suite_lint()
{
	need_build_packages
	need_packages git clang clang-tidy clang-format cppcheck shellcheck codespell mandoc \
		man-db groff-base zsh systemd
	# Most checks need no program: they run even when the build fails.
	built dev || :
	run_ctest dev lint
}

suite_asan()
{
	need_build_packages
	export ASAN_OPTIONS=${ASAN_OPTIONS-detect_leaks=1:strict_string_checks=1}
	export UBSAN_OPTIONS=${UBSAN_OPTIONS-print_stacktrace=1}
	! built asan || run_ctest asan unit
}

suite_tsan()
{
	need_build_packages
	export TSAN_OPTIONS=${TSAN_OPTIONS-halt_on_error=0 second_deadlock_stack=1}
	! built tsan || run_ctest tsan unit
}

# ---- fuzz ----

fuzz_targets()
{
	cat tests/fuzz/*.cmake 2>/dev/null | grep -oE 'NAME +[a-z0-9_]+' | awk '{ print $2 }'
}

# fuzz_one NAME: what it finds goes to build/, what it keeps too
fuzz_one()
{
	local name=$1 program=$build/fuzz/bin/fuzz_$1 work=$build/fuzz-work/$1 known=()

	[ ! -d "tests/fuzz/corpus/$name" ] || known=("$top/tests/fuzz/corpus/$name")
	mkdir -p -- "$work/corpus" "$work/crashes"
	cd -- "$work" || return 1
	exec "$program" -max_total_time="$fuzz_seconds" -timeout=10 -rss_limit_mb=4096 \
		-artifact_prefix="$work/crashes/" -print_final_stats=1 \
		"$work/corpus" "${known[@]}" >"$logs/fuzz-$name.log" 2>&1 </dev/null
}

fuzz_result()
{
	local name=$1 rc=$2 file

	if [ "$rc" = 0 ]; then
		pass
		msg "  $name: $(sed -nE 's/^stat::number_of_executed_units: *//p' \
			"$logs/fuzz-$name.log") inputs"
		return
	fi
	fail "$name" "$logs/fuzz-$name.log"
	for file in "$build/fuzz-work/$name/crashes"/*; do
		[ ! -f "$file" ] || msg "reproduce: $build/fuzz/bin/fuzz_$name $file"
	done
	msg "once fixed, the file belongs into tests/fuzz/corpus/$name"
}

# Two at a time, as there are two processors.
run_fuzz()
{
	local name pid rc started	# pid and rc are of fuzz_reap
	local -A running=()

	for name; do
		rm -rf -- "$build/fuzz-work/$name/crashes"
		if [ ${#running[@]} -ge 2 ]; then
			fuzz_reap
		fi
		fuzz_one "$name" &
		started=$!
		children+=("$started")
		running[$started]=$name
	done
	while [ ${#running[@]} -gt 0 ]; do
		fuzz_reap
	done
}

fuzz_reap()
{
	rc=0
	wait -n -p pid "${!running[@]}" || rc=$?
	fuzz_result "${running[$pid]}" "$rc"
	unset "running[$pid]"
}

suite_fuzz()
{
	local name targets=() names=()

	need_build_packages
	need_packages clang libclang-rt-14-dev
	while IFS= read -r name; do
		! wanted "$name" || names+=("$name")
	done < <(fuzz_targets)
	targets=("${names[@]/#/fuzz_}")
	[ ${#names[@]} -gt 0 ] || return 0
	! built fuzz "${targets[@]}" || run_fuzz "${names[@]}"
}

# ---- package ----

# package_step NAME COMMAND...
package_step()
{
	local name=$1

	shift
	wanted "$name" || return 0
	: >"$logs/package-$name.log"
	if logged "package-$name" "$@"; then
		pass
	else
		fail "$name" "$logs/package-$name.log"
	fi
}

# Upgrade, removal and purge with a disk in use, by dpkg and by rpm.
package_in_guest()
{
	local dir=$build/package/guest

	rm -rf -- "$dir"
	tests/package/repack-deb.sh "$build"/package/deb/vblkd_*.deb "$dir" &&
		cp -- "$build"/package/rpm/vblkd-[0-9]*"$(uname -m).rpm" "$dir/old.rpm" &&
		tests/vm/run --smp 2 --mem 3072 --timeout 1500 -- \
			bash tests/package/in-guest.sh "$dir"
}

suite_package()
{
	local dir=$build/package

	need_build_packages
	need_packages "${DEB_PACKAGES[@]}" "${RPM_PACKAGES[@]}" lintian fio jq e2fsprogs
	mkdir -p -- "$dir"
	# The others need what these two make.
	filters[package]=${filters[package]:+${filters[package]}$'\n'deb$'\n'rpm}
	package_step deb packaging/build-deb.sh "$dir/deb"
	package_step rpm packaging/build-rpm.sh "$dir/rpm"
	package_step contents bash tests/package/contents.sh "$dir"/deb/vblkd_*.deb \
		"$dir"/rpm/vblkd-[0-9]*"$(uname -m).rpm"
	package_step lintian lintian --allow-root --fail-on error,warning "$dir"/deb/*.changes
	if [ "$(uname -m)" = x86_64 ]; then
		package_step in-guest package_in_guest
	else
		skip in-guest "the guest is x86-64, this machine is not"
	fi
}

# ---- serve ----

# tests_in DIR: the names of its tests
tests_in()
{
	local file

	for file in "$1"/*.sh; do
		file=${file##*/}
		[ "$file" = functions.sh ] || printf '%s\n' "${file%.sh}"
	done
}

suite_serve()
{
	local name names=()

	need_build_packages
	need_packages python3 jq util-linux e2fsprogs fio systemd
	built release vblkd vblkctl vhu-serve || return
	while IFS= read -r name; do
		! wanted "$name" || names+=("$name")
	done < <(tests_in tests/serve)
	run_on_host "${names[@]}"
}

# ---- kernel ----

# The tests of a group share a guest; "# group: NAME" in the test, or "main".
kernel_group()
{
	local group

	group=$(sed -n 's/^# group: //p' "tests/kernel/$1.sh")
	printf '%s' "${group:-main}"
}

# read_results FILE: count what the guest reported, leave the rest in $remaining
read_results()
{
	local word name _ why started='' rest=()
	local -A seen=()

	while read -r word name _ why; do
		started=
		case $word in
		start) started=$name; continue ;;
		ok) pass ;;
		skip) skip "$name" "$why" ;;
		FAIL) fail "$name ($why)" "$out/$name.log" ;;
		esac
		seen[$name]=1
	done <"$1"
	if [ -n "$started" ] && emulator_failed && [ -z "${again[$started]-}" ]; then
		msg "note: the emulator failed in $started; once more"
		for name in console hang; do
			cp -- "$out/$name.log" "$out/$started-$name.log" 2>/dev/null
		done
		again[$started]=1
		seen[$started]=
	elif [ -n "$started" ]; then
		fail "$started (the guest died or hung)" "$out/$started.log"
		seen[$started]=1
	fi
	for name in "${remaining[@]}"; do
		[ -n "${seen[$name]-}" ] || rest+=("$name")
	done
	remaining=("${rest[@]}")
}

# QEMU's multi-threaded TCG loses a race with a kernel that patches its own code
# (static keys): an Oops that no program in the guest can cause. Or all of the guest
# stands still, which a test that hangs does not bring about; but as the kernel could
# be at fault that is believed once in a run.
emulator_failed()
{
	grep -q 'Oops: int3' "$out/console.log" 2>/dev/null && return
	[ -e "$out/stood-still" ] && [ -z "$stood_still" ] || return 1
	stood_still=1
}

# seconds_left LIMIT: no more than until the deadline, and enough to say so
seconds_left()
{
	local left=$((deadline_s - SECONDS))

	[ "$left" -gt 10 ] || left=10
	echo $((left < $1 ? left : $1))
}

# time_limit SCRIPT: in seconds, as it says of itself; nothing where it does not
time_limit()
{
	sed -n 's/^# timeout: //p' "$1"
}

# watch_guest PID: ends tests/vm/run when a test is not over long after its time limit, which
# the guest itself would have seen to: then nothing in there runs any more.
watch_guest()
{
	local name limit seen factor=1

	[ -z "$long" ] || factor=20
	while sleep 10; do
		read -r _ name _ < <(tail -n 1 "$out/results")
		seen=$(stat -c %Y "$out/results")
		limit=$(time_limit "tests/kernel/${name:-none}.sh" 2>/dev/null)
		limit=$((${limit:-120} * factor + 180))
		[ "$(date +%s)" -lt $((seen + limit)) ] && continue
		msg "note: the guest stands still in ${name:-the beginning}"
		: >"$out/stood-still"
		kill -USR1 "$1"
		return
	done
}

# guest_boot GROUP NAME...: the exit code of tests/vm/run
guest_boot()
{
	local group=$1 limit=5000 smp=2 rc=0 guest watch options=()

	shift
	[ -z "$long" ] || limit=36000
	case $group in
	no-modules) options+=(--no-modules) ;;
	many-cpus) smp=4 ;;
	low-memory)
		truncate -s 1G "$out/disk.img"
		options+=(--mem 400 --drive "$out/disk.img")
		;;
	esac
	VBLKD_LONG=$long tests/vm/run --smp "$smp" --mem 4096 --timeout "$(seconds_left "$limit")" \
		--out "$out" --log "$out" --no-scan "${options[@]}" -- \
		bash tests/kernel/in-guest "$@" </dev/null &
	guest=$!
	watch_guest "$guest" &
	watch=$!
	children=("$guest" "$watch")
	wait "$guest" || rc=$?
	kill "$watch" 2>/dev/null
	wait "$watch" 2>/dev/null
	children=()
	return $rc
}

# run_on_host NAME...: tests of the suite that run here, or start guests of their own
run_on_host()
{
	local name limit rc

	for name; do
		limit=$(time_limit "tests/$suite/$name.sh")
		rc=0
		: >"$logs/$suite-$name.log"
		VBLKD_LONG=$long VBLKD_BIN_DIR=$build/release/bin logged "$suite-$name" \
			timeout --kill-after=30 "$(seconds_left "${limit:-36000}")" bash "tests/$suite/$name.sh" || rc=$?
		case $rc in
		0) pass ;;
		77) skip "$name" "$(sed -n 's/^skip: //p' "$logs/$suite-$name.log" | tail -n 1)" ;;
		*) fail "$name (exit code $rc)" "$logs/$suite-$name.log" ;;
		esac
	done
}

# run_guest GROUP NAME...: a test that leaves the guest in disorder ends it,
# and the tests after it get a new one.
run_guest()
{
	local group=$1 out=$logs/kernel-$1 before rc
	local remaining=("${@:2}")
	local -A again=()

	rm -rf -- "$out"
	mkdir -p -- "$out/bin"
	cp -- "${guest_programs[@]/#/$build/release/bin/}" "$out/bin/" ||
		{ fail "programs are missing"; return; }
	while [ ${#remaining[@]} -gt 0 ]; do
		before="${#remaining[@]} ${#again[@]}"
		rm -f -- "$out/stood-still"
		: >"$out/results"
		rc=0
		guest_boot "$group" "${remaining[@]}" || rc=$?
		read_results "$out/results"
		if [ "${#remaining[@]} ${#again[@]}" = "$before" ]; then
			fail "guest of group '$group' (exit code $rc)" "$out/console.log"
			return
		fi
	done
}

suite_kernel()
{
	local name group
	local -A groups=()

	if [ "$(uname -m)" != x86_64 ]; then
		permitted="the guest is x86-64, this machine is not"
		skip all "$permitted"
		return
	fi
	need_build_packages
	need_packages e2fsprogs xfsprogs btrfs-progs fio dmsetup jq procps util-linux mount kmod passwd udev systemd \
		python3-minimal qemu-system-common
	built release "${guest_programs[@]}" || return
	logged vm-prepare tests/vm/prepare || { fail "no guest" "$logs/vm-prepare.log"; return; }
	while IFS= read -r name; do
		wanted "$name" || continue
		group=$(kernel_group "$name")
		groups[$group]="${groups[$group]-} $name"
	done < <(tests_in tests/kernel)
	for group in "${!groups[@]}"; do
		# shellcheck disable=SC2086 # names have no spaces
		case $group in
		host) run_on_host ${groups[$group]} ;;
		*) run_guest "$group" ${groups[$group]} ;;
		esac
	done
}

# ---- main ----

# wanted NAME: of the suite that is running
wanted()
{
	[ -z "${filters[$suite]-}" ] || grep -qxF -- "$1" <<<"${filters[$suite]}"
}

print_list()
{
	local name

	for suite in "${all_suites[@]}"; do
		msg "$suite"
		case $suite in
		build) printf '  %s\n' dev clang release install ;;
		unit | asan | tsan)
			cat tests/unit/*.cmake | sed -nE 's/^vblk_unit_test\(([a-z0-9_]+).*/  \1/p'
			;;
		lint)
			for name in tests/lint/*.sh; do
				name=${name##*/}
				[ "$name" = lib.sh ] || msg "  ${name%.sh}"
			done
			;;
		fuzz) fuzz_targets | sed 's/^/  /' ;;
		package) printf '  %s\n' deb rpm contents lintian in-guest ;;
		serve | kernel) tests_in "tests/$suite" | sed 's/^/  /' ;;
		esac
	done
}

add_suite()
{
	local name=${1%%:*}

	[[ " ${all_suites[*]} " == *" $name "* ]] || die_usage "unknown suite '$name'"
	[[ " ${suites[*]-} " == *" $name "* ]] || suites+=("$name")
	[[ $1 != *:* ]] || filters[$name]+="${filters[$name]:+$'\n'}${1#*:}"
}

parse_options()
{
	while [ $# -gt 0 ]; do
		case $1 in
		--help | -h) print_help; exit 0 ;;
		--list) print_list; exit 0 ;;
		--long) long=1 ;;
		--fuzz-seconds | --deadline)
			[[ ${2-} =~ ^[1-9][0-9]*$ ]] || die_usage "$1 needs a number"
			[ "$1" = --deadline ] && deadline_s=$2 || fuzz_seconds=$2
			shift
			;;
		-*) die_usage "unknown option '$1'" ;;
		*) add_suite "$1" ;;
		esac
		shift
	done
	[ ${#suites[@]} -gt 0 ] || suites=("${all_suites[@]}")
	[ -n "$fuzz_seconds" ] || fuzz_seconds=$([ -n "$long" ] && echo 600 || echo 30)
}

run_suite()
{
	local start=$SECONDS line

	suite=$1
	passed=0
	failed=0
	skipped=0
	permitted=
	msg "== $suite"
	"suite_$suite"
	if [ $((passed + failed)) -eq 0 ] && [ -z "$permitted" ]; then
		fail "nothing ran"
	fi
	line="$suite: $passed passed, $failed failed, $skipped skipped ($((SECONDS - start)) s)"
	msg "$line"
	summaries+=("$line")
	total_passed=$((total_passed + passed))
	total_failed=$((total_failed + failed))
	total_skipped=$((total_skipped + skipped))
}

main()
{
	parse_options "$@"
	mkdir -p -- "$logs" || exit 1
	exec 8>"$build/.run-lock"
	flock -n 8 || { msg "run.sh: another run uses $build: set VBLKD_BUILD_DIR" >&2; exit 1; }
	trap cleanup EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM HUP

	for suite in "${suites[@]}"; do
		run_suite "$suite" 8>&-
	done
	msg
	msg "Summary ($SECONDS s):"
	printf '  %s\n' "${summaries[@]}"
	if [ ${#skips[@]} -gt 0 ]; then
		msg "Skipped:"
		printf '  %s\n' "${skips[@]}"
	fi
	msg "$total_passed passed, $total_failed failed, $total_skipped skipped"
	[ "$total_failed" -eq 0 ]
}

main "$@"
