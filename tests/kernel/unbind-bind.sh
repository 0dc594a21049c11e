#!/bin/bash
# SPDX-License-Identifier: MIT
# The driver may be unbound and bound again: the same data is there after it.
# shellcheck source=tests/kernel/functions.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/functions.sh"

driver=/sys/bus/vdpa/drivers/virtio_vdpa
image=$(make_image 16M)
attach rebind --queues=2 "$image"
head -c 4M /dev/urandom >"$work/data"
dd if="$work/data" of="$disk" bs=256K oflag=direct status=none

for i in 1 2 3 4 5; do
	echo rebind >$driver/unbind
	wait_until 20 test ! -e "/sys/block/${disk##*/}"
	echo rebind >$driver/bind
	wait_until 20 compgen -G '/sys/bus/vdpa/devices/rebind/virtio*/block/vd*'
	path=$(compgen -G '/sys/bus/vdpa/devices/rebind/virtio*/block/vd*')
	disk=/dev/${path##*/}
	wait_until 20 test -b "$disk"
	cmp -n $((4 << 20)) "$work/data" "$disk"
	fill "$disk" 64K $((8 << 20))
done
detach rebind
cmp -n $((4 << 20)) "$work/data" "$image"
