#!/bin/bash
# SPDX-License-Identifier: MIT
# timeout: 300
# As activation.sh, with systemd's own tool: it listens, and becomes the daemon at the first
# connection, which waits meanwhile.
# shellcheck source=tests/serve/functions.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/functions.sh"

requires_cmd systemd-socket-activate

image=$(make_image 8M)

# activate NAME [SOCKET]...: $sock, which is $work/NAME.sock, and others; sets $pid
activate()
{
	local name=$1 listen=() path

	for path in "$work/$name.sock" "${@:2}"; do
		listen+=(-l "$path")
	done
	systemd-socket-activate -E VBLKD_RUN_DIR "${listen[@]}" vblkd "$image" 2>"$work/$name.log" &
	pid=$!
	cleanup_fn "kill -KILL $pid"
	sock=$work/$name.sock
	wait_until 20 grep -q "^Listening on $sock " "$work/$name.log"
}

activate act
not test -e "$RUN_DIR/act"
client "$sock" verify count=500
assert_eq "$(state act pid)" "$pid" "the daemon"
assert_eq "$(state act socket)" "$sock" "socket"
vblkctl upgrade act
assert_eq "$(client "$sock" serial)" act "serial after an upgrade"
kill -TERM "$pid"
wait "$pid"
[ -S "$sock" ] || fail "the socket is gone"
not test -e "$RUN_DIR/act"

activate two "$work/other.sock"
"$python" -c 'import socket, sys; socket.socket(socket.AF_UNIX).connect(sys.argv[1])' "$sock"
wait_until 20 pid_is_gone "$pid"
not wait "$pid"
grep -q 'systemd passed 2 sockets on' "$work/two.log" || fail "$(cat "$work/two.log")"
