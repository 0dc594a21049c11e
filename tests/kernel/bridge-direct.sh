#!/bin/bash
# SPDX-License-Identifier: MIT
# timeout: 600
# --direct-rings: the server of vhost-user:PATH on the kernel's rings. What is refused; who serves;
# the driver unbound and bound; worker, server and both killed under verified load; a detach
# while the server is gone; an upgrade; the bytes of the disk are those of the server's image.
# shellcheck source=tests/kernel/bridge.inc
. "$(dirname -- "${BASH_SOURCE[0]}")/bridge.inc"

requires_cmd vhu-serve jq fio

dev=direct
kills=$(kills_of 4 60)

start_server()
{
	vhu-serve "$sock" "$image" 2 1024 >"$work/server.log" 2>&1 &
	server_pid=$!
	wait_until 60 server_listens
}

is_direct()
{
	shows .rings server
}

served_by_worker()
{
	vblkctl show --json $dev | jq '[.per_queue[].requests | add] | add'
}

attach_direct()
{
	attach $dev --queues=2 --direct-rings "vhost-user:$sock"
	wait_until 60 is_direct
}

# ---- what is refused ----

start_server
expect_error 1 'leave out --read-only' vblkctl attach --name $dev --queues=2 --direct-rings \
	--read-only "vhost-user:$sock"
if command -v qemu-storage-daemon >/dev/null; then
	end_server KILL
	(
		umask 0
		exec qemu-storage-daemon --blockdev "file,node-name=disk,filename=$image" \
			--export "vhost-user-blk,id=e,node-name=disk,writable=on,num-queues=2,addr.type=unix,addr.path=$sock"
	) >"$work/qsd.log" 2>&1 &
	server_pid=$!
	wait_until 60 server_listens
	expect_error 1 'INFLIGHT_SHMFD.*leave out --direct-rings' vblkctl attach --name $dev \
		--queues=2 --direct-rings "vhost-user:$sock"
	end_server KILL
	start_server
fi
check_nothing_left

# ---- who serves ----

attach_direct
grep -q 'vduse-domain' "/proc/$server_pid/maps" || fail "the server lacks the driver's memory"
check_data_is_not_mapped
before=$(served_by_worker)
fill "$disk" 4M $((32 << 20))
sync
assert_eq "$(served_by_worker)" "$before" "requests that the worker served"
for round in 1 2; do
	rebind "$work/data$round" 1M
	wait_until 60 is_direct
	dd if="$disk" bs=128K count=8 iflag=direct status=none | cmp - "$work/data$round"
done
vblkctl upgrade $dev
wait_until 60 is_direct
dd if="$disk" bs=128K count=8 iflag=direct status=none | cmp - "$work/data2"
cmp -n $((1 << 20)) "$image" "$work/data2"

# ---- killed: the worker, the server, both ----

harm worker "$kills" --delay-ms 400

for what in server both; do
	kill_under_load $what $((kills * 3))
done
wait_until 60 is_direct

# ---- a detach ----

# Of a server that has died with requests, only another one can say which.
kill -STOP "$server_pid"
dd if="$disk" of=/dev/null bs=4K count=1 iflag=direct status=none &
reader=$!
pause
end_server KILL
# By force, since it is in use; that is said as well.
! vblkctl detach --timeout=2 --force $dev 2>"$work/refused" || fail "detached without its server"
grep -q 'has not given the rings back' "$work/refused" || { cat "$work/refused"; fail "why"; }
start_server
wait "$reader"
detach $dev
end_server KILL
check_nothing_left
