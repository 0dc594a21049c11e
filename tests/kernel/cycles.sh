#!/bin/bash
# SPDX-License-Identifier: MIT
# timeout: 400
# Many attach/detach cycles leave nothing behind, and memory does not grow.
# shellcheck source=tests/kernel/functions.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/functions.sh"

count=${long:+1000}
count=${count:-50}

# kernel_kb: memory the kernel cannot give back
kernel_kb()
{
	awk '/^(SUnreclaim|KernelStack|PageTables|Percpu|VmallocUsed):/ { n += $2 }
	     END { print n }' /proc/meminfo
}

image=$(make_image 16M)
for i in $(seq "$count"); do
	attach cycle --queues=2 "$image"
	[ $((i % 10)) -ne 1 ] || fill "$disk" 1M
	detach cycle
	cleanups=("${cleanups[0]}")
	[ -z "$(leftovers)" ] || check_nothing_left
	[ "$i" -ne 10 ] || before=$(kernel_kb)
done
printf 'kernel memory after 10 cycles %d kB, after %d: %d kB\n' "$before" "$count" "$(kernel_kb)"
assert_le "$(kernel_kb)" $((before + 16 * 1024)) "kernel memory in kB"
# The lock of the image is gone with its holder.
flock -n -x "$image" true
