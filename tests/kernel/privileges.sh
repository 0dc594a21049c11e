#!/bin/bash
# SPDX-License-Identifier: MIT
# timeout: 240
# What each process holds, from /proc, as the table in vblkd(8) has it: user and groups, all five
# sets of capabilities, no_new_privs, system call filters, limits, locked memory; and whose the
# files are. At the start, after a worker's restart, after an upgrade; as user vblkd and as root.
# shellcheck source=tests/kernel/functions.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/functions.sh"

NET_ADMIN=0000000000001000
NONE=0000000000000000

# status PID FIELD
status()
{
	awk -v f="$2:" '$1 == f { print $2 }' "/proc/$1/status"
}

# what_threads PID: what its threads hold, each different line once. One awk: programs start
# slowly in the guest.
what_threads()
{
	awk 'function show() { if (line != "") print line; line = "" }
		FNR == 1 { show() }
		/^(Uid|Gid):/ { line = line " " $1 $2 "," $3 "," $4 "," $5 }
		/^(Groups|CapInh|CapPrm|CapEff|CapBnd|CapAmb|NoNewPrivs|Seccomp|Seccomp_filters):/ {
			line = line " " $1 $2 }
		END { show() }' "/proc/$1/task"/*/status | sort -u
}

# check_process PID PERMITTED FILTERS: every thread of it
check_process()
{
	local others

	# Root's groups stay with root.
	others=$(status "$1" Groups)
	[ "$uid" = 0 ] || assert_eq "$others" "" "other groups of $1"
	assert_eq "$(what_threads "$1")" " Uid:$uid,$uid,$uid,$uid Gid:$gid,$gid,$gid,$gid Groups:$others\
 CapInh:$NONE CapPrm:$2 CapEff:$2 CapBnd:$NET_ADMIN CapAmb:$NONE NoNewPrivs:1 Seccomp:${3% *} Seccomp_filters:${3#* }" \
		"threads of $1"
	assert_eq "$(awk '/^Max core file size/ { print $5, $6 }' "/proc/$1/limits")" "0 0" \
		"core limit of $1"
	assert_eq "$(awk '/^Max locked memory/ { print $4, $5 }' "/proc/$1/limits")" \
		"unlimited unlimited" "limit of locked memory of $1"
	assert_eq "$(awk '/^Max realtime priority/ { print $4, $5 }' "/proc/$1/limits")" "1 1" \
		"limit of real-time priority of $1"
	assert_eq "$(cat "/proc/$1/oom_score_adj")" -1000 "oom_score_adj of $1"
	# Not dumpable: nobody of the same user may trace it or read its memory.
	assert_eq "$(stat -c %U "/proc/$1/mem")" root "owner of /proc/$1/mem"
}

# holds PID: files of the host that it has open, each once
holds()
{
	find "/proc/$1/fd" -printf '%l\n' | grep '^/' | sort -u | tr '\n' ' '
}

# check NAME: all processes and files of it
check()
{
	keeper=$(state "$1" pid)
	worker=$(state "$1" worker_pid)
	not [ "$keeper" = "$worker" ] || fail "keeper and worker are one process"
	check_process "$keeper" $NET_ADMIN "2 1"
	check_process "$worker" $NONE "2 2"
	assert_eq "$(holds "$keeper")" \
		"/dev/null /dev/vduse/control /proc/swaps /proc/sys/vm/min_free_kbytes $RUN_DIR/$1 $RUN_DIR/$1/lock $image " "files of the keeper"
	assert_eq "$(holds "$worker")" "/dev/null /dev/vduse/$1 $RUN_DIR/$1/worker $image " "files of the worker"
	assert_eq "$(stat -c '%a %u %g' "$RUN_DIR/$1" "$RUN_DIR/$1"/{control,state.json,inflight,lock} |
		tr '\n' ' ')" "750 $uid $gid 660 $uid $gid 640 $uid $gid 600 $uid $gid 600 $uid $gid " \
		"modes and owners of the run directory, socket, state, record, lock"
	assert_eq "$(stat -c '%a %u' "$VDUSE_DIR/$1")" "600 $uid" "/dev/vduse/$1"
	assert_eq "$(stat -c '%u' "$disk")" "$uid" "owner of $disk"
	# All that is private and can be written: nothing of it may be swapped out.
	for pid in "$keeper" "$worker"; do
		wait_until 10 is_locked "$pid"
	done
}

is_locked()
{
	[ "$(status "$1" VmLck)" -ge 1000 ] || return 1
	! awk '/^[0-9a-f]+-/ { map = $0 } /^Rss:/ { rss = $2 }
		/^VmFlags:/ && map ~ / rw-p / && rss && !/ lo( |$)/ { print map }' "/proc/$1/smaps" |
		grep .
}

worker_is_new()
{
	local now

	now=$(state "$1" worker_pid)
	[ "$now" != 0 ] && [ "$now" != "$2" ] && [ "$(state "$1" state)" = ready ]
}

image=$(make_image 16M)
chmod 600 "$image"
users=(root)
! getent passwd vblkd >/dev/null || users=(vblkd root)
# Restart and upgrade as the user that is more of a change; the same code does it for root.
for user in "${users[@]}"; do
	uid=$(id -u "$user")
	gid=$(id -g "$user")
	# vblkd is what it takes by itself.
	options=()
	[ "$user" = vblkd ] || options=(--user="$user")
	attach priv --queues=2 "${options[@]}" "$image"
	check priv
	if [ "$user" = root ] && [ ${#users[@]} = 2 ]; then
		detach priv
		continue
	fi
	kill -KILL "$worker"
	wait_until 30 worker_is_new priv "$worker"
	dd if="$disk" of=/dev/null bs=4k count=1 iflag=direct status=none
	check priv
	# What the new program has it has from the old one, and not more.
	old=$worker
	vblkctl upgrade priv
	wait_until 30 worker_is_new priv "$old"
	check priv
	detach priv
done
check_nothing_left 15

# Members of the group may look, others may not.
if [ "${users[0]}" = vblkd ]; then
	attach priv --queues=2 "$image"
	as=(setpriv --reuid=nobody --regid=nogroup)
	"${as[@]}" --groups=vblkd vblkctl show priv | grep -q '^state: ready'
	"${as[@]}" --groups=vblkd vblkctl list | grep -q '^priv .* ready'
	"${as[@]}" --clear-groups vblkctl list 2>&1 | grep -q '^priv .* unknown'
	seen=$("${as[@]}" --clear-groups vblkctl show priv 2>&1 || :)
	not grep '^state: ready' <<<"$seen"
	detach priv
fi

# For debugging: nothing is filtered, and it is said.
vblkd --name priv --queues=2 --seccomp=off "$image" 2>"$work/log" &
wait_until 30 test -e "$RUN_DIR/priv/state.json"
wait_until 60 is_ready priv
user=${users[0]}
uid=$(id -u "$user")
gid=$(id -g "$user")
disk=$(state priv node)
for pid in "$(state priv pid)" "$(state priv worker_pid)"; do
	assert_eq "$(status "$pid" Seccomp)" 0 "seccomp of $pid with --seccomp=off"
done
grep -q 'system calls are not restricted' "$work/log"
detach priv
