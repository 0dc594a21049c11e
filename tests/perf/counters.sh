# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154,SC2209 # variables go from file to file
# SPDX-License-Identifier: MIT
#
# counters.sh - what the kernel counts. Sourced, never run.
#
# Uses @disks and $daemon_pids of targets.sh.

# Requests that the drivers of the disks got, merged ones taken apart.
disk_requests()
{
	local disk files=()

	for disk in "${disks[@]}"; do
		files+=("/sys/block/${disk##*/}/stat")
	done
	awk '{ n += $1 + $2 + $5 + $6 + $16 } END { print n + 0 }' "${files[@]}"
}

# Of all threads of the daemon: switches, and nanoseconds on a CPU.
daemon_counters()
{
	local pid

	for pid in "${daemon_pids[@]}"; do
		cat "/proc/$pid/task/"*/status 2>/dev/null |
			awk '/ctxt_switches/ { n += $2 } END { print "switches", n + 0 }'
		cat "/proc/$pid/task/"*/schedstat 2>/dev/null |
			awk '{ n += $1 } END { print "ns", n + 0 }'
	done | awk '{ sum[$1] += $2 } END { print sum["switches"] + 0, sum["ns"] + 0 }'
}

system_switches()
{
	awk '/^ctxt/ { print $2 }' /proc/stat
}

# Nanoseconds that tasks ran, of all CPUs.
system_cpu_ns()
{
	awk '/^cpu/ { n += $8 } END { printf "%d", n }' /proc/schedstat
}

# Requests of this guest to the host for files: where there are some, the clock
# of a guest with --icount went on while it waited for them.
host_requests()
{
	[ -n "${VBLKD_VM:-}" ] || { echo 0; return; }
	awk '/virtio[0-9]+-requests/ { for (i = 2; $i ~ /^[0-9]+$/; i++) n += $i } END { print n + 0 }' \
		/proc/interrupts
}

# Interrupts and batches, which only vblkd counts itself.
vblkd_counters()
{
	local name

	for name in "${names[@]}"; do
		PATH=$vblkctl_in:$PATH vblkctl show --json "$name"
	done | awk '/"interrupts"/ { irqs += $2 } /"batches"/ { n += $2 } END { print irqs + 0, n + 0 }'
}

# counters_read: "requests daemon-switches daemon-ns system-switches interrupts batches"
counters_read()
{
	local own="0 0"

	[ "$target_base" != vblkd ] || own=$(vblkd_counters)
	echo "$(disk_requests) $(daemon_counters) $(system_switches) $own"
}

# Memory of the daemon in KiB: "resident locked"
daemon_memory()
{
	local pid

	for pid in "${daemon_pids[@]}"; do
		cat "/proc/$pid/status" 2>/dev/null
	done | awk '/^VmRSS/ { rss += $2 } /^VmLck/ { lock += $2 } END { print rss + 0, lock + 0 }'
}

daemon_threads()
{
	local pid

	for pid in "${daemon_pids[@]}"; do
		compgen -G "/proc/$pid/task/*" || :
	done | sed 's|.*/||'
}

# trace_on, trace_off: system calls of the daemon, one a line in the trace.
tracing=/sys/kernel/tracing

trace_on()
{
	echo 8192 >$tracing/buffer_size_kb
	daemon_threads >$tracing/set_event_pid
	: >$tracing/trace
	echo 1 >$tracing/events/raw_syscalls/sys_enter/enable
}

trace_off()
{
	echo 0 >$tracing/events/raw_syscalls/sys_enter/enable
	echo >$tracing/set_event_pid
}

# Counts of what was traced: "io_uring_enter inject_irq reads_and_writes other".
# The numbers are those of x86-64; elsewhere all but io_uring_enter is "other".
# INJECT_IRQ is _IOW(0x81, 0x17, __u32).
trace_sums()
{
	awk '
	match($0, /sys_enter: NR [0-9]+/) {
		nr = substr($0, RSTART + 14, RLENGTH - 14) + 0
		if (nr == 426)
			enter++
		else if (nr == 16 && $0 ~ /\([0-9a-f]+, 40048117,/)
			inject++
		else if (nr == 0 || nr == 1 || nr == 17 || nr == 18 || nr == 19 || nr == 20 ||
			 nr == 295 || nr == 296 || nr == 327 || nr == 328)
			rw++
		else
			other++
	}
	END { print enter + 0, inject + 0, rw + 0, other + 0 }' $tracing/trace
}
