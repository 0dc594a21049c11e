#!/bin/bash
# SPDX-License-Identifier: MIT
# timeout: 240
# A driver of our own behind vhost_vdpa: one that keeps the rules in ways that
# Linux never does, then one that breaks each of them.
# shellcheck source=tests/kernel/functions.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/functions.sh"

requires_module vhost_vdpa loop
requires_cmd hostile-driver
cleanup_fn 'modprobe -r vhost_vdpa'
bus=/sys/bus/vdpa

# to_driver DRIVER: the device goes over to it
to_driver()
{
	printf hostile >"$bus/devices/hostile/driver/unbind"
	printf '%s' "$1" >"$bus/devices/hostile/driver_override"
	printf hostile >"$bus/drivers/$1/bind"
}

# an ordinary disk, whoever drove the device before
check_disk()
{
	wait_until 20 find_disk hostile
	find_disk hostile
	fill "$disk" 256K $((8 << 20))
	mkfs.ext4 -q -F "$disk"
	fsck.ext4 -f -n "$disk" >/dev/null
}

# round BACKEND [OPTION]...
round()
{
	local node

	# debug: the number of complaints is limited otherwise, and each is looked at here
	vblkd --name hostile --log-level=debug --queues=2 --queue-size=64 "${@:2}" "$1" 2>"$work/log" &
	vblkd_pid=$!
	wait_until 30 grep -q '/dev/vd. serves' "$work/log"
	check_disk
	worker=$(state hostile worker_pid)
	to_driver vhost_vdpa
	wait_until 20 compgen -G '/dev/vhost-vdpa-*'
	node=$(compgen -G '/dev/vhost-vdpa-*')
	hostile-driver "$node" "$RUN_DIR/hostile/control" "$work/log" ${ATTACK:+"$ATTACK"} ||
		fail "hostile-driver; the log: $(tail -n 5 "$work/log")"
	vblkctl show hostile >"$work/show"
	grep -q "$worker" "$work/show" || fail "the worker is another: $(cat "$work/show")"
	to_driver virtio_vdpa
	check_disk
	assert_eq "$(state hostile worker_pid)" "$worker" "worker"
	assert_eq "$(grep -c "worker process" "$work/log" || :)" 0 "messages of a dead worker"
	vblkctl detach hostile
	wait "$vblkd_pid"
	check_nothing_left
}

image=$(make_image 64M)
cleanup_fn 'vblkctl detach --force hostile'
# All that completes at once, in the page cache or in memory.
round "$image" --indirect=on
# All that takes time, and memory of our own that only virtio_vdpa knows of.
make_loop "$image"
round "$loop" --indirect=on --direct --umem=on
