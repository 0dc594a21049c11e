#!/bin/bash
# SPDX-License-Identifier: MIT
# timeout: 300
# Clients that break the protocol, send wrong descriptors or take their memory away cost themselves
# their connection: the same worker serves the next one, and leaks nothing.
# shellcheck source=tests/serve/functions.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/functions.sh"

descriptors()
{
	find "/proc/$1/fd" -mindepth 1 2>/dev/null | wc -l
}

# settled_descriptors PID: those of a tool that has just looked are gone
settled_descriptors()
{
	local cnt last=

	until cnt=$(descriptors "$1") && [ "$cnt" = "$last" ]; do
		last=$cnt
		sleep 0.3
	done
	printf '%s' "$cnt"
}

has_descriptors()
{
	[ "$(descriptors "$1")" = "$2" ]
}

serve hostile --log-level=debug mem:8M
worker=$(state hostile worker_pid)
client "$sock" info >/dev/null
wait_until 10 is_live hostile connected false
before=$(settled_descriptors "$worker")
client "$sock" hostile
wait_until 20 is_live hostile connected false
assert_eq "$(state hostile worker_pid)" "$worker" "the worker"
poll 10 has_descriptors "$worker" "$before" ||
	fail "the worker had $before open files, and has $(descriptors "$worker")"

# Connections that say nothing, or come while another one is served.
hold
"$python" - "$sock" <<'END'
import socket, sys
socks = [socket.socket(socket.AF_UNIX) for _ in range(10)]
for s in socks:
    s.settimeout(10)
    s.connect(sys.argv[1])
END
end_hold
client "$sock" verify count=200
assert_eq "$(state hostile worker_pid)" "$worker" "the worker"
