# shellcheck shell=bash
# SPDX-License-Identifier: MIT
#
# functions.sh - what the tests of served disks have in common, on top of those of the kernel tests.
#
# No root, no guest, no VDUSE: the real daemon, on sockets and in a run directory of the test's own,
# and a client in Python (vhu.py) that shares no code with us.

# shellcheck source=tests/kernel/functions.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/../kernel/functions.sh"

requires_cmd python3 jq
# What else a PATH may have starts it by way of scripts.
python=$(command -v /usr/bin/python3 python3 | head -n 1)
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
export VBLKD_RUN_DIR=$work/run
# shellcheck disable=SC2034 # of functions.sh
RUN_DIR=$VBLKD_RUN_DIR
unset NOTIFY_SOCKET LISTEN_PID LISTEN_FDS
sock= # set by serve

# client SOCKET COMMAND...
client()
{
	"$python" "$here/client.py" "$@"
}

# serve NAME [OPTION]... BACKEND: in the background; sets $sock
serve()
{
	local name=$1

	shift
	cleanup_fn "vblkctl detach --force $name"
	sock=$(vblkctl serve --socket "$work/$name.sock" "$@")
	[ "$sock" = "$work/$name.sock" ] || fail_at_caller "serve printed '$sock'"
	[ -S "$sock" ] || fail_at_caller "$sock is no socket"
}

# start_verify [OPTION=VALUE]...: a client of $sock that works, and comes back, until end_verify
start_verify()
{
	"$python" "$here/client.py" "$sock" verify reconnect=1 "$@" >"$work/verified" 2>&1 &
	verify_pid=$!
	cleanup_fn "kill -KILL $verify_pid"
}

# more_is_done NAME WRITES: since it had done so many, with a client that is well
more_is_done()
{
	local end=$((SECONDS + 60))

	until [ "$(writes_of "$1")" -gt "$2" ]; do
		kill -0 "$verify_pid" 2>/dev/null || fail_at_caller "the client: $(cat "$work/verified")"
		[ $SECONDS -le $end ] || fail_at_caller "nothing was written for 60 s"
		pause
	done
}

# end_verify [RECONNECTS]: and check that all was right; it came back at least so often
end_verify()
{
	kill -TERM "$verify_pid"
	wait "$verify_pid" || fail_at_caller "the client: $(cat "$work/verified")"
	assert_ge "$(sed -n 's/.* \([0-9]*\) reconnects$/\1/p' "$work/verified")" "${1:-0}" "reconnects"
}

# writes_of NAME: that it has done; 0 while it cannot say
writes_of()
{
	local cnt

	cnt=$(vblkctl stats --json "$1" 2>/dev/null | jq ".total.requests.write // 0") || :
	printf '%s' "${cnt:-0}"
}

# live NAME FIELD: as the daemon says it now
live()
{
	vblkctl show --json "$1" | jq -r ".$2"
}

is_live()
{
	[ "$(live "$1" "$2")" = "$3" ]
}

# worker_is_new NAME OLD_PID
worker_is_new()
{
	local now

	now=$(state "$1" worker_pid)
	[ "$now" != 0 ] && [ "$now" != "$2" ] && [ "$(state "$1" state)" = ready ]
}

# check_gone NAME: nothing is left of it
check_gone()
{
	poll 15 not test -e "$RUN_DIR/$1" || fail_at_caller "the run directory is still there"
	not test -e "$work/$1.sock" || fail_at_caller "the socket is still there"
}

# hold: a client of $sock that stays until end_hold
hold()
{
	coproc HOLD { client "$sock" hold; }
	# shellcheck disable=SC2153 # of the coprocess
	hold_pid=$HOLD_PID
	cleanup_fn "kill $hold_pid"
	hold_says connected
}

# hold_says LINE: is what it says next
hold_says()
{
	local line

	read -rt 20 -u "${HOLD[0]}" line || fail_at_caller "the client says nothing"
	[ "$line" = "$1" ] || fail_at_caller "the client says '$line', not '$1'"
}

end_hold()
{
	local fd=${HOLD[1]}

	exec {fd}>&-
	wait "$hold_pid"
}
