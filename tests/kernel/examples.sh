#!/bin/bash
# SPDX-License-Identifier: MIT
# timeout: 450
# Each example of README.md and of the man pages is run, and prints what the page says; those that
# are not are in examples.skip with the reason.
# shellcheck source=tests/kernel/functions.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/functions.sh"

top=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.." && pwd)
# It uses paths as readers have them, such as /mnt and /var/lib/images.
[ "$(cat /proc/sys/kernel/hostname)" = vblkd-guest ] || skip "this is no guest of tests/vm"
requires_cmd awk losetup mkfs.ext4 resize2fs
requires_module loop ext4
cd "$top"
mapfile -t examples < <(awk -f tests/tools/examples.awk README.md man/*.[1-8])
[ ${#examples[@]} -gt 20 ] || fail "only ${#examples[@]} lines of examples found"

# ---- what stands around an example ----

ours='^ *vblkd .*'	# in the foreground, so started aside and ended when the disk is there

# A volume of 64M that lvextend can make larger, as /dev/vg0/NAME.
make_volume()
{
	truncate -s 64M -- "$work/$1.volume"
	make_loop "$work/$1.volume"
	mkdir -p /dev/vg0
	ln -sf "$loop" "/dev/vg0/$1"
}

# For examples: as that of LVM, for the volumes above.
# shellcheck disable=SC2317 # called by examples
lvextend()
{
	truncate -s "$2" -- "$work/${3##*/}.volume"
	losetup -c "$(readlink "/dev/vg0/${3##*/}")"
}

# There is no udev in the guest.
make_links()
{
	local sys serial

	mkdir -p /dev/disk/by-id
	for sys in /sys/block/vd*; do
		[ -e "$sys/serial" ] || continue
		serial=$(cat "$sys/serial")
		[ -z "$serial" ] || ln -sf "/dev/${sys##*/}" "/dev/disk/by-id/virtio-$serial"
	done
}

# What the reader has before the first line.
prepare()
{
	local commands=$1 backend=$work/home/disk.img

	rm -rf -- "${work:?}/home" /var/lib/images
	mkdir -p "$work/home" /var/lib/images /etc/vblkd /mnt
	truncate -s 64M "$work/home/disk.img" /var/lib/images/db.img
	printf '[device]\nbackend = /var/lib/images/db.img\n' >/etc/vblkd/db.conf
	cd "$work/home"
	# An example that goes on where a disk "db" is in use already.
	[[ ! $commands =~ (attach|vblkd) && $commands =~ [[:space:]]db($|[[:space:]]) ]] || return 0
	[[ ! $commands =~ lvextend ]] || backend=/dev/vg0/db
	vblkctl attach --name db "$backend" >"$work/node"
	[[ $commands =~ detach ]] || {
		mkfs.ext4 -q "$(cat "$work/node")"
		mount "$(cat "$work/node")" /mnt
	}
}

tidy_up()
{
	local name

	cd "$top"
	! mountpoint -q /mnt || umount /mnt
	for name in "$RUN_DIR"/*; do
		[ ! -e "$name" ] || vblkctl detach --force "${name##*/}"
	done
	check_nothing_left 30
}

# ---- running them ----

# fits LINE PATTERN: numbers, sizes, nodes and paths may be others, and spaces more or less
fits()
{
	local regex

	regex=$(sed -E 's/[][\\.*^$+?(){}|]/\\&/g; s|/dev/vd[a-z]|/dev/vd[a-z]|g; s|/[a-z/]*disk\\.img|/[^ ]*disk\\.img|g
		s/[0-9]+[KMGT]?/[0-9.]+[KMGT]?/g; s/ +/ +/g' <<<"$2")
	[[ $1 =~ ^$regex$ ]]
}

# As a login makes it.
export XDG_RUNTIME_DIR=$work/run-user
mkdir -m 0700 -- "$XDG_RUNTIME_DIR"

in_foreground()
{
	local pid

	eval "exec $1" &
	pid=$!
	poll 60 eval 'vblkctl list | grep -q " ready "' || fail "'$1' makes no disk"
	kill -TERM $pid
	wait $pid
}

# What goes on until somebody has seen enough.
in_terminal()
{
	local pid

	eval "exec $1" >"$work/watched" &
	pid=$!
	poll 60 test -s "$work/watched" || fail "'$1' prints nothing"
	kill -INT $pid 2>/dev/null || fail "'$1' ended by itself"
	kill -TERM $pid 2>/dev/null || :
	wait $pid || :
	cat "$work/watched"
}

# run_command TEXT: its output in $work/output. In this shell: a later line may use a variable.
run_command()
{
	printf '# %s\n' "$1"
	if [[ $1 =~ $ours && ! $1 =~ --check-config ]]; then
		in_foreground "$1" >"$work/output"
	elif [[ $1 =~ --watch ]]; then
		in_terminal "$1" >"$work/output"
	else
		eval "$1" >"$work/output" </dev/null
	fi
	cat "$work/output"
	make_links
}

# check_output EXPECTED...: what the page shows, if it shows anything
check_output()
{
	local lines i=0 line

	[ $# -gt 0 ] || return 0
	mapfile -t lines <"$work/output"
	for line; do
		fits "${lines[i]-}" "$line" ||
			fail "$where: it prints '${lines[i]-}', the page says '$line'"
		i=$((i + 1))
	done
}

check_config()
{
	printf '%s\n' "$@" >"$work/example.conf"
	vblkd --check-config "$work/example.conf"
}

# Those in examples.skip, with a mark for each that was met.
declare -A skipped met
while IFS=$'\t' read -r text reason; do
	[ -n "$reason" ] || fail "examples.skip: no reason: $text"
	skipped[$text]=$reason
done < <(grep -v '^#' tests/kernel/examples.skip)

# The lines of the block so far
kinds=() texts=()
run_block()
{
	local i expected=()

	[ ${#texts[@]} -gt 0 ] || return 0
	if [ -n "${skipped[${texts[0]}]-}" ]; then
		met[${texts[0]}]=1
		printf '== %s: not run: %s\n' "$where" "${skipped[${texts[0]}]}"
		return 0
	fi
	printf '== %s\n' "$where"
	if [ "${kinds[0]}" = config ]; then
		check_config "${texts[@]}"
		return 0
	fi
	prepare "$(printf '%s\n' "${texts[@]}")"
	for ((i = 0; i < ${#texts[@]}; i++)); do
		if [ "${kinds[i]}" = output ]; then
			expected+=("${texts[i]}")
			continue
		fi
		check_output "${expected[@]}"
		expected=()
		run_command "${texts[i]}"
	done
	check_output "${expected[@]}"
	tidy_up
}

make_volume db
make_volume fast
where=
count=0
for line in "${examples[@]}" "block end"; do
	if [ "${line%% *}" = block ]; then
		run_block
		where=${line#block }
		kinds=() texts=()
		count=$((count + 1))
	else
		kinds+=("${line%% *}")
		texts+=("${line#* }")
	fi
done
for text in "${!skipped[@]}"; do
	[ -n "${met[$text]-}" ] || fail "examples.skip: there is no such example: $text"
done
printf '%d examples\n' $((count - 1))
