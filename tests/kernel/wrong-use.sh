#!/bin/bash
# SPDX-License-Identifier: MIT
# timeout: 240
# Every wrong use gets one clear line and its exit code, and leaves nothing.
# shellcheck source=tests/kernel/functions.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/functions.sh"

image=$(make_image 16M)
used=$(make_image 16M used.img)

# failed CODE REGEX ATTACH-ARGUMENTS...: with vblkctl and with vblkd
failed()
{
	local code=$1 regex=$2

	shift 2
	expect_error "$code" "$regex" vblkctl attach "$@"
	expect_error "$code" "$regex" timeout 60 vblkd "$@"
	[ -n "${in_use:-}" ] || [ -z "$(leftovers)" ] || check_nothing_left
}

failed 2 "unknown option '--qeues" --qeues=2 "$image"
failed 2 "unknown option '--quee" --quee=2 "$image"
expect_error 2 "unknown option '-z'" vblkd -z "$image"
failed 2 'queues' --queues=0 "$image"
failed 2 'queues' --queues=65 "$image"
failed 2 'queues' --queues=two "$image"
failed 2 'queue-size' --queue-size=100 "$image"
failed 2 'block-size' --block-size=513 "$image"
failed 2 'block-size' --block-size=8K "$image"
failed 2 'physical-block-size' --physical-block-size=3K "$image"
failed 2 'cache' --cache=none "$image"
failed 2 'discard' --discard=maybe "$image"
failed 2 'msg-timeout' --msg-timeout=1 "$image"
failed 2 'bounce-size' --bounce-size=3 "$image"
failed 2 'serial' --serial='too long for a virtio serial number' "$image"
failed 2 'serial' --serial= "$image"
failed 2 'name' --name= "$image"
failed 2 'name' --name=a/b "$image"
failed 2 'name' --name=.. "$image"
failed 2 'name' --name="$(printf '%064d' 0)" "$image"
failed 2 'name' --name=power "$image"
failed 2 'BACKEND' --name=x
failed 2 'only one BACKEND|one argument too many' "$image" "$used"
failed 2 'mem:' --name=x mem:0
failed 2 'mem:' --name=x mem:12Q
failed 2 'null:' --name=x null:

failed 1 'missing.*No such file|No such file.*missing|missing.*does not exist' --name=x "$work/missing"
: >"$work/empty"
failed 1 'empty' --name=x "$work/empty"
failed 1 'directory' --name=x "$work"
failed 1 'null|regular file|block device' --name=x /dev/null
truncate -s 100 -- "$work/tiny"
failed 1 'tiny' --name=x "$work/tiny"

# A read-only filesystem.
make_fs ext4 64M "$work/ext4"
truncate -s 8M -- "$work/ext4/disk.img"
mount -o remount,ro "$work/ext4"
failed 1 '[Rr]ead-only' --name=x "$work/ext4/disk.img"

# Not root.
chmod 755 "$work"
for command in "vblkctl attach $image" "vblkd $image" "vblkctl detach x"; do
	# shellcheck disable=SC2086 # words
	expect_error 1 'root' setpriv --reuid=65534 --regid=65534 --clear-groups $command
done

# A name, and an image, that are taken.
attach taken "$used"
in_use=1
failed 1 "'taken'.*(running|in use|exists)" --name=taken "$image"
failed 1 'used.img.*(lock|use)' --name=other "$used"
expect_error 1 'nothere' vblkctl detach nothere
expect_error 1 'nothere' vblkctl show nothere
expect_error 2 'NAME' vblkctl detach
expect_error 2 'dettach' vblkctl dettach taken
expect_error 2 'unknown option' vblkctl list --jsn
detach taken
check_nothing_left

# A VDUSE module without its driver.
if modprobe -r virtio_vdpa 2>/dev/null; then
	in_use=
	failed 1 'virtio_vdpa' --name=x "$image"
	modprobe virtio_vdpa
fi
attach after "$image"
detach after
