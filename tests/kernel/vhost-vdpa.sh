#!/bin/bash
# SPDX-License-Identifier: MIT
# A device that vhost_vdpa took first still becomes a disk.
# shellcheck source=tests/kernel/functions.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/functions.sh"

requires_module vhost_vdpa
cleanup_fn 'modprobe -r vhost_vdpa; modprobe virtio_vdpa'
# The driver that was loaded first is asked first.
modprobe -r virtio_vdpa
modprobe vhost_vdpa
modprobe virtio_vdpa
image=$(make_image 16M)
attach vhost "$image"
fill "$disk" 1M
assert_eq "$(basename "$(readlink /sys/bus/vdpa/devices/vhost/driver)")" virtio_vdpa "driver"
detach vhost
check_nothing_left
