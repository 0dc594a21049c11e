#!/bin/bash
# SPDX-License-Identifier: MIT
# timeout: 300
# A served image: what the client reads and writes is in the image, geometry and features are as
# asked for, list, show, stats, metrics and log-level know the device, detach ends it.
# shellcheck source=tests/serve/functions.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/functions.sh"

image=$(make_image 16M)
serve io --queues=2 --serial SERVED "$image"
assert_eq "$(stat -c %a "$sock")" 600 "mode of the socket"
assert_eq "$(client "$sock" info | jq '.capacity, .blk_size, .num_queues, .max_queues, .wce' | paste -sd' ')" \
	"32768 512 2 2 1" "configuration"
assert_eq "$(client "$sock" serial)" SERVED "serial"

# Bytes, both ways.
head -c 300000 /dev/urandom | head -c 299520 >"$work/data"
client "$sock" write 1048576 <"$work/data"
cmp -n 299520 -i 1048576:0 "$image" "$work/data"
client "$sock" read 1048576 299520 | cmp - "$work/data"
client "$sock" zero 1048576 65536
cmp -n 65536 -i 1048576:0 "$image" /dev/zero
cmp -n $((299520 - 65536)) -i $((1048576 + 65536)):65536 "$image" "$work/data"
blocks=$(stat -c %b "$image")
client "$sock" discard 1114112 131072
assert_le "$(stat -c %b "$image")" $((blocks - 256)) "blocks of the image after a discard"
assert_eq "$(live io poll)" adaptive "polling"
truncate -s 0 "$image"
truncate -s 16M "$image"
client "$sock" verify count=3000 queues=2

# What the tools see.
assert_eq "$(vblkctl list | awk 'NR > 1 { print $1, $2, $3, $4, $5 }')" "io $sock 16M 2 ready" "list"
assert_eq "$(vblkctl list --json | jq -r '.[0].socket')" "$sock" "list --json"
assert_eq "$(live io connected)" false "connected without a client"
vblkctl show "$sock" | grep "^socket: $sock$" >/dev/null
vblkctl stats io >/dev/null
assert_ge "$(vblkctl stats --json io | jq .total.requests.write)" 1000 "writes that were counted"
vblkctl metrics | grep '^vblkd_up{.*"io"' >/dev/null
vblkctl log-level io debug

# A client is seen, and in the way.
hold
assert_eq "$(live io connected)" true "connected with a client"
assert_eq "$(live io client_uid)" "$(id -u)" "user of the client"
expect_error 1 "a client is connected: pid $(live io client_pid) of user" vblkctl detach io
end_hold
wait_until 10 is_live io connected false
vblkctl detach io
check_gone io

# Read-only, and write-through.
serve ro --read-only "$image"
client "$sock" read 0 4096 >/dev/null
not client "$sock" write 0 <"$work/data" 2>/dev/null
vblkctl detach ro
serve wt --cache=writethrough "$image"
assert_eq "$(client "$sock" info | jq .wce)" 0 "write cache"
vblkctl detach wt

# Several side by side, each with its own client at work.
for i in 1 2 3; do
	serve "side$i" "$(make_image 8M "side$i.img")"
	client "$sock" verify count=500 "seed=$i" >"$work/side$i" &
	pids[i]=$!
done
for i in 1 2 3; do
	wait "${pids[i]}"
	assert_eq "$(client "$work/side$i.sock" serial)" "side$i" "serial"
done
