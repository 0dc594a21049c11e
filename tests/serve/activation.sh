#!/bin/bash
# SPDX-License-Identifier: MIT
# timeout: 300
# A socket that systemd passes on: its name becomes the device's, it stays when the daemon ends, and
# a client that connects meanwhile is served by the next one.
# shellcheck source=tests/serve/functions.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/functions.sh"

image=$(make_image 8M)

# The socket unit: listens, and starts the service for each line of standard input.
"$python" - "$work/act.sock" vblkd "$image" 2>"$work/log" <<'END' &
import os, socket, sys
path, command = sys.argv[1], sys.argv[2:]
sock = socket.socket(socket.AF_UNIX)
sock.bind(path)
sock.listen(8)
for _ in range(2):
    pid = os.fork()
    if pid == 0:
        if sock.fileno() != 3:
            os.dup2(sock.fileno(), 3)
        os.set_inheritable(3, True)
        os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1")
        os.execvp(command[0], command)
    if os.waitpid(pid, 0)[1]:
        sys.exit("the daemon failed")
END
unit_pid=$!
cleanup_fn "kill $unit_pid"

state_is_ready()
{
	[ "$(state act state)" = ready ]
}

is_another()
{
	state_is_ready && [ "$(state act pid)" != "$1" ]
}

cleanup_fn "vblkctl detach --force act"
wait_until 20 state_is_ready
first=$(state act pid)
sock=$(state act socket)
assert_eq "$sock" "$work/act.sock" "socket"
start_verify depth=20
more_is_done act 100
kill -TERM "$first"
wait_until 30 is_another "$first"
second=$(state act pid)
more_is_done act "$(writes_of act)"
end_verify 1
kill -TERM "$second"
wait "$unit_pid"
[ -S "$work/act.sock" ] || fail "the socket is gone"
not test -e "$RUN_DIR/act"
