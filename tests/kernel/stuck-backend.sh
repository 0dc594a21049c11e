#!/bin/bash
# SPDX-License-Identifier: MIT
# timeout: 240
# A backend that hangs holds up nothing but its own I/O: the daemon answers, a
# detach is refused with the reason (the kernel would wait in it, with locks of
# the whole host), other devices come and go, and when the backend comes back
# so does the I/O.
# shellcheck source=tests/kernel/functions.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/functions.sh"

requires_cmd dmsetup dd jq
requires_module dm-mod

writes_in_flight()
{
	awk '{ print $2 }' "/sys/block/${disk##*/}/inflight"
}

is_in_flight()
{
	[ "$(writes_in_flight)" -gt 0 ]
}

# refused REGEX COMMAND...: fails, and its last line says why (--force warns first)
refused()
{
	local regex=$1 rc=0

	shift
	"$@" 2>"$work/refused" || rc=$?
	cat "$work/refused"
	assert_eq "$rc" 1 "exit code of $*"
	tail -n 1 "$work/refused" | grep -qE "$regex" || fail "the message does not match '$regex'"
}

make_loop "$(make_image 32M)"
dmsetup create vblkd-stuck --table "0 65536 linear $loop 0"
cleanup_fn 'dmsetup remove --retry vblkd-stuck'
dmsetup mknodes
attach stuck --direct --queues=1 /dev/mapper/vblkd-stuck
cleanup_fn 'dmsetup resume vblkd-stuck'

dmsetup suspend --noflush vblkd-stuck
head -c 65536 /dev/urandom >"$work/data"
dd if="$work/data" of="$disk" bs=64K oflag=direct status=none &
writer=$!
wait_until 30 is_in_flight

# The daemon answers, and says that it holds a request; soon also which one, and since when.
[ "$(vblkctl show --json stuck | jq -r .inflight)" -ge 1 ] || fail "no request in flight is shown"
shows_stuck()
{
	vblkctl show --json stuck | jq -e '.state == "stuck" and .stuck == 1 and
		(.stuck_requests | length) == 1 and (.stuck_requests[0] |
		.operation == "write" and .queue == 0 and .offset_bytes == 0 and
		.length_bytes == 65536 and .age_ms >= 5000)'
}
wait_until 30 shows_stuck
vblkctl show stuck | tee "$work/show"
grep -qE '^stuck_request: queue 0, write of 65536 bytes \(64K\) at 0, for [0-9.]+ s, since 20' \
	"$work/show" || fail "show does not name the request"
vblkctl list | grep -E '^stuck .* stuck ' || fail "list does not say that it is stuck"

# Even with --force: pulling the disk away would have to wait for the request.
started=$SECONDS
refused "'stuck'.*a request has not ended.*write of 64K at 0 on queue 0 for" vblkctl detach --force --timeout 5 stuck
assert_le $((SECONDS - started)) 30 "seconds until the refusal"
expect_error 1 "open in dd" vblkctl detach stuck

# Nothing else of the host is held up.
attach other mem:16M
detach other

# SIGKILL of the worker: its successor waits for the old I/O, and the keeper says so.
victim=$(state stuck worker_pid)
kill -KILL "$victim"
refused "'stuck'" vblkctl detach --force --timeout 5 stuck

dmsetup resume vblkd-stuck
wait $writer || fail "the write failed"
disk=$(state stuck node)
dd if="$disk" of="$work/read" bs=64K count=1 iflag=direct status=none
cmp -- "$work/data" "$work/read"
poll 10 vblkctl detach stuck || fail "cannot be detached"
check_nothing_left
