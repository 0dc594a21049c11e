#!/bin/bash
# SPDX-License-Identifier: MIT
# timeout: 3600
# SIGKILL of the worker, the keeper and both under verified I/O: the client comes back with what it
# had in flight and nothing is lost.
# shellcheck source=tests/serve/functions.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/functions.sh"

kills=${VBLKD_KILLS:-12}
[ -z "$long" ] || kills=${VBLKD_KILLS:-1000}
image=$(make_image 8M)

# restart: as systemd, or somebody, would do it
restart()
{
	vblkctl serve --socket "$work/kill.sock" --queues=2 "$image" >/dev/null 2>"$work/log"
}

serve kill --queues=2 "$image"
start_verify queues=2 depth=20
more_is_done kill 0
for ((i = 0; i < kills; i++)); do
	keeper=$(state kill pid)
	worker=$(state kill worker_pid)
	case $((i % 4)) in
	0 | 1)
		kill -KILL "$worker"
		wait_until 30 worker_is_new kill "$worker"
		;;
	2)
		# The worker ends by itself, and the socket is taken over.
		kill -KILL "$keeper"
		wait_until 30 pid_is_gone "$worker"
		restart
		;;
	3)
		kill -KILL "$keeper" "$worker"
		wait_until 30 pid_is_gone "$worker"
		restart
		;;
	esac
	more_is_done kill "$(writes_of kill)"
done
end_verify "$kills"
wait_until 10 is_live kill connected false
assert_eq "$(live kill state)" ready "state"
