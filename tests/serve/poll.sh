#!/bin/bash
# SPDX-License-Identifier: MIT
# timeout: 300
# --poll=on with two queues: requests are seen without kicks, and an idle server sleeps after its
# second. While the queues spin the disk grows, the worker is killed, and the daemon is stopped and
# started again, with all that was written in its place.
# shellcheck source=tests/serve/functions.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/functions.sh"

[ "$(nproc)" -gt 1 ] || skip "on a single CPU nothing spins"

image=$(make_image 8M)

served()
{
	serve poll --queues=2 --poll=on "$image"
	assert_eq "$(live poll poll)" on "polling"
}

served
client "$sock" spin "$(state poll worker_pid)"

start_verify queues=2 depth=8 sparing=1
more_is_done poll 100
vblkctl resize poll 12M
is_live poll size_bytes $((12 << 20))
more_is_done poll "$(writes_of poll)"
worker=$(state poll worker_pid)
kill -KILL "$worker"
wait_until 30 worker_is_new poll "$worker"
more_is_done poll "$(writes_of poll)"
vblkctl detach --force poll
check_gone poll
served
more_is_done poll 100
end_verify 2
counts=$(sed -n 's/^verified \([0-9]*\) requests, \([0-9]*\) kicks, .*/\1 \2/p' "$work/verified")
assert_le "$((${counts#* } * 10))" "${counts% *}" "ten times the kicks, against the requests"
vblkctl detach poll
check_gone poll
