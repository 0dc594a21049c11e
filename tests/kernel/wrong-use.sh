#!/bin/bash
# SPDX-License-Identifier: MIT
# timeout: 240
# Every wrong use gets one clear line and its exit code, and leaves nothing.
# shellcheck source=tests/kernel/functions.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/functions.sh"

image=$(make_image 16M)
used=$(make_image 16M used.img)

# usage REGEX ARGUMENTS...: of vblkd, which vblkctl attach hands them to
usage()
{
	expect_error 2 "$1" vblkd "${@:2}"
}

# failed REGEX ARGUMENTS...: with vblkctl and with vblkd
failed()
{
	expect_error 1 "$1" vblkctl attach "${@:2}"
	expect_error 1 "$1" vblkd "${@:2}"
}

usage "unknown option '--qeues" --qeues=2 "$image"
expect_error 2 "unknown option '--qeues" vblkctl attach --qeues=2 "$image"
usage "unknown option '--quee" --quee=2 "$image"
usage "unknown option '-z'" -z "$image"
usage 'queues' --queues=0 "$image"
usage 'queues' --queues=65 "$image"
usage 'queues' --queues=two "$image"
usage 'queue-size' --queue-size=100 "$image"
usage 'block-size' --block-size=513 "$image"
usage 'block-size' --block-size=8K "$image"
usage 'physical-block-size' --physical-block-size=3K "$image"
usage 'cache' --cache=none "$image"
usage 'discard' --discard=maybe "$image"
usage 'msg-timeout' --msg-timeout=1 "$image"
usage 'bounce-size' --bounce-size=3 "$image"
usage 'serial' --serial='too long for a virtio serial number' "$image"
usage 'serial' --serial= "$image"
usage 'name' --name= "$image"
usage 'name' --name=a/b "$image"
usage 'name' --name=.. "$image"
usage 'name' --name="$(printf '%064d' 0)" "$image"
usage 'name' --name=power "$image"
usage 'name' --name=bind "$image"
usage 'BACKEND' --name=x
usage 'only one BACKEND|one argument too many' "$image" "$used"
failed 'mem:' --name=x mem:0
usage 'mem:' --name=x mem:12Q
usage 'null:' --name=x null:
usage "fault.*'wrte=eio'|wrte" --name=x "fault:wrte=eio:$image"
usage 'names no backend' --name=x fault:eio
usage 'delay' --name=x "fault:eio:fault:delay=soon:$image"

check_nothing_left

failed 'missing.*No such file|No such file.*missing|missing.*does not exist' --name=x "$work/missing"
: >"$work/empty"
failed 'empty' --name=x "$work/empty"
failed 'directory' --name=x "$work"
failed 'null|regular file|block device' --name=x /dev/null
truncate -s 100 -- "$work/tiny"
failed 'tiny' --name=x "$work/tiny"

# A read-only filesystem.
make_fs ext4 64M "$work/ext4"
truncate -s 8M -- "$work/ext4/disk.img"
mount -o remount,ro "$work/ext4"
failed '[Rr]ead-only' --name=x "$work/ext4/disk.img"

check_nothing_left

# Not root.
chmod 755 "$work"
for command in "vblkctl attach $image" "vblkd $image" "vblkctl detach x"; do
	# shellcheck disable=SC2086 # words
	expect_error 1 'root' setpriv --reuid=65534 --regid=65534 --clear-groups $command
done

# A name, and an image, that are taken.
attach taken "$used"
failed "'taken'.*(running|in use|exists)" --name=taken "$image"
failed 'used.img.*(lock|use)' --name=other "$used"
expect_error 1 'nothere' vblkctl detach nothere
expect_error 1 'nothere' vblkctl show nothere
expect_error 2 'NAME' vblkctl detach
expect_error 2 'dtach' vblkctl dtach taken
expect_error 2 'unknown option' vblkctl list --jsn
detach taken
check_nothing_left

# A VDUSE module without its driver.
if modprobe -r virtio_vdpa 2>/dev/null; then
	failed 'virtio_vdpa' --name=x "$image"
	modprobe virtio_vdpa
fi
attach after "$image"
detach after
