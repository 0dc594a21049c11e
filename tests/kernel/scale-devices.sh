#!/bin/bash
# SPDX-License-Identifier: MIT
# timeout: 900
# Many devices at once (8, 64 with --long): the last comes as quickly as the first,
# each has the same memory, threads and open files, none does anything while it has
# no I/O, and all serve, also when one is killed or taken away. Prints lines SCALE
# with the figures.
# shellcheck source=tests/kernel/functions.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/functions.sh"

requires_cmd jq fio
count=${VBLKD_DEVICES:-${long:+64}}
count=${count:-8}
idle_s=${long:+60}
idle_s=${idle_s:-12}

us()
{
	printf '%s' "${EPOCHREALTIME/./}"
}

# of PID FIELD: of its status
of()
{
	awk -v f="$2:" '$1 == f { print $2 }' "/proc/$1/status"
}

pss_kb()
{
	awk '$1 == "Pss:" { print $2 }' "/proc/$1/smaps_rollup"
}

# Its own threads, without those that the kernel adds for io_uring.
threads_of()
{
	{ cat "/proc/$1/task/"*/comm 2>/dev/null || :; } | grep -cv '^iou-'
}

open_files_of()
{
	find "/proc/$1/fd" -type l | wc -l
}

# What the kernel cannot give back.
kernel_kb()
{
	awk '/^(SUnreclaim|KernelStack|PageTables|Percpu):/ { n += $2 } END { print n }' /proc/meminfo
}

# figures NAME: of keeper and worker: memory in kB, threads, open files
figures()
{
	local name=$1 keeper worker

	keeper=$(state "$name" pid)
	worker=$(state "$name" worker_pid)
	printf 'pss_kb %d locked_kb %d threads %d files %d\n' \
		$(($(pss_kb "$keeper") + $(pss_kb "$worker"))) \
		$(($(of "$keeper" VmLck) + $(of "$worker" VmLck))) \
		$(($(threads_of "$keeper") + $(threads_of "$worker"))) \
		$(($(open_files_of "$keeper") + $(open_files_of "$worker")))
}

field()
{
	awk -v f="$2" '{ for (i = 1; i < NF; i += 2) if ($i == f) print $(i + 1) }' <<<"$1"
}

# switches: "OURS KERNEL": of all threads of all daemons, and of those that io_uring adds,
# of which the kernel wakes each every five seconds
switches()
{
	# shellcheck disable=SC2046 # patterns and words
	{ cat $(our_pids | sed 's|.*|/proc/&/task/[0-9]*/status|') 2>/dev/null || :; } |
		awk '$1 == "Name:" { kernel = $2 ~ /^iou-/ }
			/ctxt_switches/ { n[kernel] += $2 } END { print n[0] + 0, n[1] + 0 }'
}

# median_ms NUMBERS: of microseconds, one a line
median_ms()
{
	sort -n | awk '{ a[NR] = $1 } END { printf "%d", a[int((NR + 1) / 2)] / 1000 }'
}

attach_one()
{
	local start

	make_image 16M "d$1.img" >/dev/null
	start=$(us)
	attach "d$1" --queues=1 "$work/d$1.img"
	echo $(($(us) - start)) >>"$work/attach"
	disks+=("$disk")
}

disks=()
attach_one 1
first=$(figures d1)
kernel_before=$(kernel_kb)
for i in $(seq 2 "$count"); do
	attach_one "$i"
done
kernel_each=$((($(kernel_kb) - kernel_before) / (count - 1)))
last=$(figures "d$count")
early=$(sed -n 2,4p "$work/attach" | median_ms)
late=$(tail -n 3 "$work/attach" | median_ms)
printf 'SCALE devices: first %s; last of %d %s; kernel_kb %d each; attach ms %d, then %d\n' \
	"$first" "$count" "$last" "$kernel_each" "$early" "$late"
assert_eq "$(vblkctl list --json | jq length)" "$count" "devices in the list"
for name in threads files; do
	assert_eq "$(field "$last" $name)" "$(field "$first" $name)" "$name of the last device"
done
for name in pss_kb locked_kb; do
	assert_le "$(field "$last" $name)" $(($(field "$first" $name) + 1024)) "$name of the last device"
done
# The machine may have become busier: only growth with the number would be many times.
assert_le "$late" $((early * 4 + 2000)) "ms to attach the last ones"

# A node is looked at when it appears, then nobody does anything.
quiet()
{
	local before

	before=$(switches)
	sleep 2
	[ "$(switches | cut -d' ' -f1)" = "${before% *}" ]
}
wait_until 60 quiet
read -r ours kernels < <(switches)
sleep "$idle_s"
read -r ours_then kernels_then < <(switches)
printf 'SCALE idle: %d devices, %d s: %d wake-ups of the daemons, %d of the kernel%s threads for them\n' "$count" \
	"$idle_s" $((ours_then - ours)) $((kernels_then - kernels)) "'s"
assert_eq $((ours_then - ours)) 0 "wake-ups of idle devices"
# One queue each, and the readings take a while themselves.
assert_le $((kernels_then - kernels)) $((count * (idle_s / 5 + 3))) "wake-ups of kernel threads"

# All serve at once, one of them with a killed worker, another goes away.
jobs=()
for i in "${!disks[@]}"; do
	[ "$i" = 1 ] || jobs+=(--name="d$((i + 1))" --filename="${disks[i]}")
done
worker=$(state d1 worker_pid)
fio --ioengine=io_uring --direct=1 --rw=randwrite --bs=4k --iodepth=4 --size=1M --thread \
	--verify=crc32c --do_verify=1 --group_reporting "${jobs[@]}" >"$work/fio" 2>&1 &
fio=$!
kill -KILL "$worker"
detach d2
wait $fio || { cat "$work/fio"; fail "I/O on $((count - 1)) devices"; }
has_new_worker()
{
	[ "$(state d1 worker_pid)" != "$worker" ] && [ "$(state d1 state)" = ready ]
}
wait_until 30 has_new_worker

for i in $(seq "$count"); do
	[ "$i" != 2 ] || continue
	start=$(us)
	detach "d$i"
	echo $(($(us) - start)) >>"$work/detach"
done
printf 'SCALE detach: ms %d with all the others there, %d at the end\n' \
	"$(head -n 3 "$work/detach" | median_ms)" "$(tail -n 3 "$work/detach" | median_ms)"
cleanups=("${cleanups[0]}")
