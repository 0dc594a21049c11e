#!/bin/bash
# SPDX-License-Identifier: MIT
# timeout: 600
# A served disk whose backend is another one, under verified I/O: sizes that the server tells are
# taken unasked, but for what they would cut off; either worker killed.
# shellcheck source=tests/serve/functions.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/functions.sh"

image=$(make_image 8M)
serve store --queues=2 "$image"
serve chain --queues=2 "vhost-user:$sock"
start_verify queues=2 depth=20
more_is_done chain 0

# has_mib N: so large is the disk in front
has_mib()
{
	is_live chain size_bytes $(($1 << 20))
}

vblkctl resize store 16M
wait_until 30 has_mib 16
# The disk keeps what is not there any more until somebody says so.
vblkctl resize --force store 12M
expect_error 1 'would cut off' vblkctl resize chain
has_mib 16
vblkctl resize --force chain
has_mib 12
# Told while there is nobody to hear of it.
worker=$(state chain worker_pid)
kill -STOP "$(state chain pid)"
kill -KILL "$worker"
vblkctl resize store 20M
kill -CONT "$(state chain pid)"
wait_until 30 has_mib 20

for name in store chain store; do
	worker=$(state "$name" worker_pid)
	kill -KILL "$worker"
	wait_until 30 worker_is_new "$name" "$worker"
	more_is_done chain "$(writes_of chain)"
done
end_verify 2
