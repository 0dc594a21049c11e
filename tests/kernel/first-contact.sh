#!/bin/bash
# SPDX-License-Identifier: MIT
# timeout: 240
# What somebody meets who does not know vblkd yet: nothing typed, typing mistakes, no root. Each
# answer is at most five lines and says what to do next; no-modules has the kernels without VDUSE.
# shellcheck source=tests/kernel/functions.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/functions.sh"

image=$(make_image 16M)
requires_cmd setpriv
# Everybody may look at it: a missing right must not be what is complained of.
chmod 755 "$work"

# answers CODE REGEX COMMAND...: the exit code, and at most five lines, of which one matches
answers()
{
	local code=$1 regex=$2 rc=0 lines

	shift 2
	"$@" >"$work/answer" 2>&1 </dev/null || rc=$?
	mapfile -t lines <"$work/answer"
	printf '[%s] %s\n' "$rc" "$*"
	printf '\t%s\n' "${lines[@]}"
	[ "$rc" = "$code" ] || fail_at_caller "exit code $rc, not $code: $*"
	[ ${#lines[@]} -ge 1 ] || fail_at_caller "no answer: $*"
	[ ${#lines[@]} -le 5 ] || fail_at_caller "${#lines[@]} lines: $*"
	grep -qE -- "$regex" "$work/answer" ||
		fail_at_caller "no line matches '$regex': $*"
}

as_nobody()
{
	setpriv --reuid=65534 --regid=65534 --clear-groups "$@"
}

# Nothing typed: what to type.
answers 2 'vblkctl attach' vblkctl
answers 2 'vblkctl doctor' vblkctl
answers 2 'vblkctl --help' vblkctl
answers 2 'no BACKEND given: name an image file' vblkd
answers 2 'attach needs a BACKEND: an image file' vblkctl attach
answers 2 'detach needs a NAME.*vblkctl help detach' vblkctl detach
answers 2 'show needs a NAME' vblkctl show

# A typing mistake: the right word.
answers 2 "'attac'; did you mean 'attach'" vblkctl attac "$image"
answers 2 "'ls'; did you mean 'list'" vblkctl ls
answers 2 "'docter'; did you mean 'doctor'" vblkctl docter
answers 2 "unknown command 'frobnicate'.*vblkctl --help" vblkctl frobnicate
answers 2 "unknown command 'frobnicate'.*vblkctl --help" vblkctl help frobnicate
answers 2 "'--halp'; did you mean '--help'" vblkctl --halp
answers 2 "'-h'; did you mean '--help'" vblkctl -h
answers 2 "'-h'; did you mean '--help'" vblkd -h
answers 2 "'--jsn'; did you mean '--json'" vblkctl list --jsn
answers 2 "'--froce'; did you mean '--force'" vblkctl detach --froce db
answers 2 "'--qeues'; did you mean '--queues'" vblkctl attach --qeues=2 "$image"
answers 2 "'--sreial'; did you mean '--serial'" vblkd --sreial X "$image"
answers 2 "unknown option '--frobnicate'.*--help" vblkctl attach --frobnicate "$image"
answers 1 "disk.imgg.*[Nn]o such file|[Nn]o such file.*disk.imgg|disk.imgg.*does not exist" \
	vblkctl attach "${image}g"

attach database "$image"
answers 1 "no device named 'datbse'; did you mean 'database'" vblkctl show datbse
answers 1 "no device named 'datbse'; did you mean 'database'" vblkctl detach datbse
answers 1 "no device named 'other'.*vblkctl list" vblkctl detach other
answers 1 "no device of vblkd is /dev/nothere.*vblkctl list" vblkctl show /dev/nothere
# An image that is a disk already: which one.
answers 1 "disk.img.*(lock|use)" vblkctl attach --name other "$image"
answers 1 "'database'.*(running|exists)" vblkctl attach --name database "$image"

# Without root: how to get it, and what can be seen without.
answers 1 'attach needs root.*sudo' as_nobody vblkctl attach "$image"
answers 1 'root.*sudo' as_nobody vblkctl detach database
answers 1 'root.*sudo' as_nobody vblkctl resize database
answers 1 'root.*sudo' as_nobody vblkctl upgrade database
answers 1 'root.*sudo' as_nobody vblkd "$image"
answers 0 'only root can see.*sudo' as_nobody vblkctl list
answers 2 'vblkctl attach' as_nobody vblkctl
detach database
check_nothing_left 15
