#!/bin/bash
# SPDX-License-Identifier: MIT
# timeout: 900
# group: many-cpus
# 1 to 64 queues: each costs a thread and the same memory; the driver uses as many
# as there are CPUs, and the others, which it never makes ready, harm nothing. I/O
# of all CPUs meets all queues, also after a kill of the worker and an upgrade.
# Prints lines SCALE with the figures. --long: also with 2 to 32 queues.
# shellcheck source=tests/kernel/functions.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/functions.sh"

requires_cmd jq fio
cpus=$(nproc)
[ "$cpus" -ge 4 ] || skip "needs 4 CPUs, this machine has $cpus"

# For each queue of 1024: iovecs, slots, record.
kb_per_queue=4608

# worker_of NAME FIELD: of its status
worker_of()
{
	awk -v f="$2:" '$1 == f { print $2 }' "/proc/$(state "$1" worker_pid)/status"
}

queue_threads()
{
	# Kernel threads may be on their way out.
	{ cat "/proc/$(state "$1" worker_pid)/task/"*/comm 2>/dev/null || :; } | grep -c '^q[0-9]'
}

# Memory is locked a moment after the device serves.
is_locked()
{
	[ "$(worker_of "$1" VmLck)" -gt 0 ]
}

# Queues that had requests.
used_queues()
{
	vblkctl stats --json "$1" | jq '[.per_queue[] | select([.requests[]?] | add // 0 > 0)] | length'
}

with_queues()
{
	local queues=$1 used start took_ms locked files

	start=${EPOCHREALTIME/./}
	attach "q$queues" --queues="$queues" "$image"
	took_ms=$(((${EPOCHREALTIME/./} - start) / 1000))
	used=$((queues < cpus ? queues : cpus))
	assert_eq "$(find "/sys/block/${disk##*/}/mq" -mindepth 1 -maxdepth 1 | wc -l)" "$used" "queues of the driver"
	assert_eq "$(queue_threads "q$queues")" "$queues" "queue threads"
	wait_until 20 is_locked "q$queues"
	locked=$(worker_of "q$queues" VmLck)
	files=$(find "/proc/$(state "q$queues" worker_pid)/fd" -type l | wc -l)
	printf 'SCALE queues: %d, of which the driver uses %d; locked_kb %d threads %d files %d; attach ms %d\n' \
		"$queues" "$used" "$locked" "$(worker_of "q$queues" Threads)" "$files" $took_ms
	[ "$queues" != 1 ] || locked_of_1=$locked
	assert_le "$locked" $((locked_of_1 + (queues - 1) * kb_per_queue)) "kB locked with $queues queues"
}

image=$(make_image 64M)
for queues in 1 ${long:+2 4 8 16 32}; do
	with_queues "$queues"
	detach "q$queues"
done
# The limit of whoever starts it is no limit of ours.
ulimit -Sn 100
with_queues 64
ulimit -Sn 1024

# Whoever starts it says where it runs.
cleanup_fn "vblkctl detach --force pinned"
taskset -c 1,2 vblkctl attach --name pinned --queues=2 "$(make_image 16M pinned.img)" >/dev/null
assert_eq "$(sed -n 's/^Cpus_allowed_list:\t//p' "/proc/$(state pinned worker_pid)/task/"*/status | sort -u)" 1-2 \
	"CPUs of all threads"
detach pinned

# ---- 64 queues at work ----

fio_on_all()
{
	fio --name=q --filename="$disk" --ioengine=io_uring --direct=1 --rw=randwrite --bs=4k --iodepth=8 \
		--size=1M --offset_increment=1M --numjobs="$cpus" --cpus_allowed="0-$((cpus - 1))" \
		--cpus_allowed_policy=split --thread --verify=crc32c --do_verify=1 --group_reporting "$@" \
		>"$work/fio" 2>&1 || { cat "$work/fio"; fail "I/O of all CPUs"; }
}

fio_on_all
assert_eq "$(used_queues q64)" "$cpus" "queues with requests"
assert_eq "$(vblkctl show --json q64 | jq '.per_queue | length')" 64 "queues in vblkctl show"
vblkctl stats q64 >/dev/null
vblkctl metrics >"$work/metrics"
grep -q 'queue="63"' "$work/metrics" || fail "no metrics of queue 63"

has_new_worker()
{
	[ "$(state q64 worker_pid)" != "$worker" ] && [ "$(state q64 state)" = ready ]
}

worker=$(state q64 worker_pid)
fio_on_all --loops=3 &
fio=$!
io_goes_on
kill -KILL "$worker"
wait $fio
wait_until 60 has_new_worker
assert_eq "$(queue_threads q64)" 64 "queue threads of the second worker"
worker=$(state q64 worker_pid)
vblkctl upgrade q64
has_new_worker || fail "the same worker after the upgrade"
fio_on_all
detach q64
