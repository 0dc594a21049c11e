#!/bin/bash
# SPDX-License-Identifier: MIT
# group: no-modules
# On a kernel without the modules the message names them and the package.
# shellcheck source=tests/kernel/functions.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/functions.sh"

image=$(make_image 16M)
[ ! -e $VDUSE_DIR/control ] || skip "the modules are loaded"

expect_error 1 'modprobe.*vduse.*linux-image' vblkctl attach --name x "$image"
expect_error 1 'modprobe.*vduse.*linux-image' vblkd --name x "$image"
vblkctl list >"$work/list"
[ ! -e $RUN_DIR/x ] || fail "$RUN_DIR/x is left"

modprobe vduse
expect_error 1 'virtio_vdpa' vblkctl attach --name x "$image"
modprobe virtio_blk
modprobe virtio_vdpa
attach x "$image"
fill "$disk" 64K
detach x
check_nothing_left
