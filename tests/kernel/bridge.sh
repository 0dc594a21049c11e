#!/bin/bash
# SPDX-License-Identifier: MIT
# timeout: 450
# The disk of another program: qemu-storage-daemon's vhost-user-blk export as the backend. What
# it says of itself shows at the kernel's disk; data is not mapped in the daemon; a filesystem and
# verified I/O; worker, server and both killed under load; other sizes of the server; the
# driver unbound and bound; an upgrade; the bytes of the disk are those of its image at the end.
# shellcheck source=tests/kernel/bridge.inc
. "$(dirname -- "${BASH_SOURCE[0]}")/bridge.inc"

requires_cmd qemu-storage-daemon jq fio

dev=bridge
kills=$(kills_of 6 60)

# start_server [EXPORT_OPTION]...; any user may connect, whatever user the daemon has
start_server()
{
	(
		umask 0
		exec qemu-storage-daemon \
			--blockdev "file,node-name=disk,filename=$image,discard=unmap" \
			--export "vhost-user-blk,id=e,node-name=disk,writable=${writable:-on},num-queues=2,addr.type=unix,addr.path=$sock"
	) >"$work/server.log" 2>&1 &
	server_pid=$!
	poll 60 server_listens || { cat "$work/server.log"; fail "the server does not listen"; }
}

# A client that dies after its last kick and before that was heard is the end of this server, too
# (QEMU's util/vhost-user-server.c: "assert(!server->wait_idle)"), once in a hundred kills or so.
# Whoever runs it has it started again.
harm_client()
{
	start_harm "$@"
	while kill -0 "$lin_pid" 2>/dev/null; do
		if ! kill -0 "$server_pid" 2>/dev/null; then
			grep -q "wait_idle' failed" "$work/server.log" ||
				{ cat "$work/server.log"; fail "the server has ended"; }
			printf '\t%s\n' "the server has ended, too"
			rm -f -- "$sock"
			start_server
		fi
		pause
	done
	end_harm
}

has_mib()
{
	[ "$(sysfs size)" -eq $(($1 * 2048)) ]
}

queue_dirs()
{
	find "/sys/block/${disk##*/}/mq" -mindepth 1 -maxdepth 1 -type d | wc -l
}

# ---- what cannot be attached ----

expect_error 1 'no such socket' vblkctl attach --name $dev "vhost-user:$sock"
start_server
expect_error 1 '2 queues.*--queues 2' vblkctl attach --name $dev --queues=3 "vhost-user:$sock"
if getent passwd vblkd >/dev/null; then
	chmod 600 "$sock"
	expect_error 1 'no permission to connect' vblkctl attach --name $dev --queues=2 \
		"vhost-user:$sock"
	chmod 666 "$sock"
fi
check_nothing_left

# ---- what it is ----

attach $dev --queues=2 --serial=BRIDGE-1 "vhost-user:$sock"
assert_eq "$(sysfs size)" 131072 "sectors"
assert_eq "$(sysfs serial)" BRIDGE-1 "serial"
assert_eq "$(vblkctl show --json $dev | jq -r .backend_type)" vhost-user "type of the backend"
assert_eq "$(sysfs queue/write_cache)" "write back" "cache"
assert_eq "$(queue_dirs)" 2 "queues"
assert_ge "$(sysfs queue/discard_max_bytes)" 4096 "discard"

# The server has memory of ours and nothing of the kernel's.
grep -q memfd:vblk-umem "/proc/$server_pid/maps" || fail "the server lacks the driver's memory"
! grep -i vduse "/proc/$server_pid/maps" || fail "the server has memory of the kernel's"

# ---- whose data it is ----

assert_ge "$(kib_of "$server_pid" memfd:vblk-umem Size)" 65536 "KiB of it in the server"
check_data_is_not_mapped
detach $dev
# That it would show: a disk whose daemon copies, and one without memory of ours.
attach $dev --umem=on mem:64M
assert_ge "$(kib_of "$(state $dev worker_pid)" memfd:vblk-umem Size)" 65536 "KiB in a daemon that copies"
detach $dev
attach $dev --queues=2 --umem=off "vhost-user:$sock"
assert_eq "$(vblkctl show --json $dev | jq .data_mapped)" true "the kernel's memory is mapped"
assert_ge "$(kib_of "$(state $dev worker_pid)" vduse Size)" 65536 "KiB of the kernel's"
detach $dev
attach $dev --queues=2 "vhost-user:$sock"

# ---- a filesystem, and its image ----

make_tree "$work/tree"
mkfs.ext4 -q -F "$disk"
mounted "$disk" "$work/mnt"
cp -a "$work/tree" "$work/mnt/"
sync -f "$work/mnt"
umount "$work/mnt"
blkdiscard -f -o 60M -l 2M "$disk"
detach $dev
end_server TERM
e2fsck -fn "$image" >"$work/fsck.log" 2>&1 || { cat "$work/fsck.log"; fail "e2fsck"; }
mounted "$image" "$work/mnt2" loop,ro
same_tree "$work/tree" "$work/mnt2/tree"
umount "$work/mnt2"

# ---- killed: the bridge, the server, both ----

start_server
attach $dev --queues=2 "vhost-user:$sock"
harm_client worker "$kills" --delay-ms 400
check_data_is_not_mapped
# As a service manager does: its server may have ended, too.
harm_client both,keeper "$kills" --delay-ms 400 --revive "
	for try in 1 2 3 4 5 6 7 8 9 10; do
		vblkctl attach --name $dev --queues=2 vhost-user:$sock && exit
		sleep 1
	done
	exit 1"
check_data_is_not_mapped

for what in server both; do
	kill_under_load $what $((kills * 5))
done

# ---- another size ----

# This server tells another size only when it starts; the disk grows by itself.
restart_server_with()
{
	end_server TERM
	truncate -s "$1M" "$image"
	start_server
}

start_fio
restart_server_with 96
wait_until 60 has_mib 96
# A smaller one does not cut anything off unasked.
restart_server_with 80
expect_error 1 'would cut' vblkctl resize $dev
assert_eq "$(sysfs size)" $((96 * 2048)) "sectors, when the server has fewer"
vblkctl resize --force $dev
assert_eq "$(sysfs size)" $((80 * 2048)) "sectors"
end_fio
# Another one while there is no worker to hear of it.
kill -STOP "$(state $dev pid)"
kill -KILL "$(state $dev worker_pid)"
restart_server_with 128
kill -CONT "$(state $dev pid)"
wait_until 60 has_mib 128

# ---- another driver, another program ----

fill "$disk" 4M $((96 << 20))
sync
for round in 1 2; do
	rebind "$work/data$round" 4M
done
vblkctl upgrade $dev
dd if="$disk" bs=128K count=32 iflag=direct status=none | cmp - "$work/data2"
check_data_is_not_mapped
detach $dev
end_server TERM
cmp -n $((4 << 20)) "$image" "$work/data2"

# ---- a server that only reads, and what is said of one that is gone ----

writable=off
start_server
vblkd --name $dev --queues=1 "vhost-user:$sock" 2>"$work/vblkd.log" &
vblkd=$!
cleanup_fn "kill -KILL $vblkd"
wait_until 60 find_disk $dev
assert_eq "$(sysfs ro)" 1 "read-only"
wait_until 60 shows .server_connected true
end_server TERM
wait_until 60 grep -q "server is gone, and requests wait for it: 'vhost-user:$sock'" "$work/vblkd.log"
wait_until 60 shows .server_connected false
assert_eq "$(state $dev server_connected)" false "in its state file"
shows .state "no server" || fail "the state, without one"
vblkctl show $dev | grep -E "^server_error: 'vhost-user:$sock': .*(no such socket|nobody listens)"
start_server
wait_until 60 grep -q "server is back" "$work/vblkd.log"
shows .server_connected true || fail "the server is back"
shows .state ready || fail "the state, with a server"
shows .server_error null || fail "an error of a server that is there"
detach $dev
wait "$vblkd"
end_server TERM
check_nothing_left
