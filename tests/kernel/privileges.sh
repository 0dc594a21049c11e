#!/bin/bash
# SPDX-License-Identifier: MIT
# Who holds what: the worker nothing, the keeper CAP_NET_ADMIN, nobody dumps core.
# shellcheck source=tests/kernel/functions.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/functions.sh"

NET_ADMIN=0000000000001000
NONE=0000000000000000

# status PID FIELD
status()
{
	awk -v f="$2:" '$1 == f { print $2 }' "/proc/$1/status"
}

image=$(make_image 16M)
attach priv --queues=2 "$image"
keeper=$(state priv pid)
worker=$(state priv worker_pid)
not [ "$keeper" = "$worker" ] || fail "keeper and worker are one process"

for set in CapEff CapPrm CapInh CapAmb; do
	for task in "/proc/$worker/task"/*; do
		assert_eq "$(awk -v f="$set:" '$1 == f { print $2 }' "$task/status")" $NONE "worker $set"
	done
done
assert_eq "$(status "$keeper" CapEff)" $NET_ADMIN "keeper CapEff"
assert_eq "$(status "$keeper" CapPrm)" $NET_ADMIN "keeper CapPrm"
assert_eq "$(status "$keeper" CapBnd)" $NET_ADMIN "keeper CapBnd"
assert_eq "$(status "$keeper" CapInh)" $NONE "keeper CapInh"
assert_eq "$(status "$keeper" CapAmb)" $NONE "keeper CapAmb"
for pid in "$keeper" "$worker"; do
	assert_eq "$(status "$pid" NoNewPrivs)" 1 "NoNewPrivs of $pid"
	assert_eq "$(awk '/^Max core file size/ { print $5, $6 }' "/proc/$pid/limits")" "0 0" \
		"core limit of $pid"
	assert_eq "$(cat "/proc/$pid/oom_score_adj")" -1000 "oom_score_adj of $pid"
done
# Every thread of the worker has two filters (the keeper's and its own) and can add none.
for task in "/proc/$worker/task"/*; do
	assert_eq "$(awk '/^Seccomp:/ { print $2 } /^Seccomp_filters:/ { print $2 }' "$task/status" |
		tr '\n' ' ')" "2 2 " "seccomp of thread ${task##*/} of the worker"
done
assert_eq "$(status "$keeper" Seccomp)" 2 "seccomp of the keeper"
assert_eq "$(status "$keeper" Seccomp_filters)" 1 "filters of the keeper"
# All that is private and can be written: nothing of it may be swapped out.
for pid in "$keeper" "$worker"; do
	assert_ge "$(status "$pid" VmLck)" 1000 "locked memory of $pid in kB"
	unlocked=$(awk '/^[0-9a-f]+-/ { map = $0 } /^Rss:/ { rss = $2 }
		/^VmFlags:/ && map ~ / rw-p / && rss && !/ lo( |$)/ { print map }' "/proc/$pid/smaps")
	assert_eq "$unlocked" "" "memory of $pid that is not locked"
done
assert_eq "$(stat -c '%a %U' "$RUN_DIR/priv" "$RUN_DIR/priv/control" | tr '\n' ' ')" \
	"700 root 600 root " "modes of the run directory and socket"
detach priv
