#!/bin/bash
# SPDX-License-Identifier: MIT
# timeout: 120
# Secure erase, where the backend can, here another server: it is on offer, erases its bytes and
# nothing beside them, and is refused beyond the end. A backend that cannot is not said to.
# shellcheck source=tests/serve/functions.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/functions.sh"

requires_cmd vhu-serve

server_sock=$work/server.sock

is_listening()
{
	grep -q " $server_sock\$" /proc/net/unix
}

# can_erase: the client of $sock is told so
can_erase()
{
	client "$sock" info | jq -e '(.features / 65536 | floor) % 2 == 1' >/dev/null
}

vhu-serve "$server_sock" mem:2M 2 1024 erase &
server_pid=$!
cleanup_fn "kill -KILL $server_pid"
wait_until 20 is_listening
serve erase --queues=2 "vhost-user:$server_sock"
can_erase
head -c 2M /dev/urandom >"$work/data"
client "$sock" write 0 <"$work/data"
client "$sock" erase $((1 << 20)) 65536
not client "$sock" erase $((2 << 20)) 65536 2>/dev/null
head -c 65536 /dev/zero | dd of="$work/data" bs=64K seek=16 conv=notrunc status=none
client "$sock" read 0 $((2 << 20)) | cmp - "$work/data"
vblkctl detach erase

serve plain mem:2M
not can_erase
not client "$sock" erase 0 65536 2>/dev/null
