#!/bin/bash
# SPDX-License-Identifier: MIT
# Size, serial, block sizes, limits and flags of the disk are as asked.
# shellcheck source=tests/kernel/functions.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/functions.sh"

# expect ATTRIBUTE VALUE: below /sys/block
expect()
{
	assert_eq "$(sysfs "$1")" "$2" "$1"
}

image=$(make_image 40M)
attach geo --serial=SER-01_x --block-size=512 --physical-block-size=4K --queues=2 \
	--queue-size=128 "$image"
assert_eq "$(blockdev --getsize64 "$disk")" $((40 * 1024 * 1024)) "size"
expect size $((40 * 2048))
expect serial SER-01_x
expect ro 0
expect queue/logical_block_size 512
expect queue/physical_block_size 4096
expect queue/write_cache "write back"
expect queue/discard_granularity 4096
assert_ge "$(sysfs queue/discard_max_bytes)" $((1024 * 1024)) "discard_max_bytes"
assert_eq "$(find "/sys/block/${disk##*/}/mq" -mindepth 1 -maxdepth 1 -type d | wc -l)" 2 "queues"
assert_eq "$(lsblk -bdnro SIZE,RO,LOG-SEC,PHY-SEC "$disk")" "41943040 0 512 4096" "lsblk"
assert_eq "$(state geo size_bytes)" 41943040 "size_bytes"
assert_eq "$(vblkctl show --json geo | jq -r .node)" "$disk" "node in show --json"
assert_eq "$(vblkctl list --json | jq -r '.[].name')" geo "name in list --json"
vblkctl list | grep -qE '^geo +'"$disk"' ' || fail "list does not show the device"
detach geo

# Larger blocks, and every block size there is.
for size in 512 1K 2K 4K; do
	attach geo --block-size=$size --physical-block-size=16K "$image"
	expect queue/logical_block_size "$(numfmt --from=iec $size)"
	expect queue/physical_block_size 16384
	expect serial geo
	detach geo
done

# The rest behind the last whole block cannot be reached, and is not touched.
truncate -s $((8 * 1024 * 1024 + 512 + 100)) -- "$image"
printf 'the end' | dd of="$image" bs=1 seek=$((8 * 1024 * 1024 + 512 + 93)) conv=notrunc status=none
attach geo --block-size=512 "$image"
expect size $((8 * 2048 + 1))
fill "$disk" 512 $((8 * 1024 * 1024))
detach geo
attach geo --block-size=4K "$image"
expect size $((8 * 2048))
detach geo
assert_eq "$(stat -c %s "$image")" $((8 * 1024 * 1024 + 612)) "size of the image"
assert_eq "$(tail -c 7 "$image")" "the end" "end of the image"

for backend in mem:16M null:1T; do
	attach geo $backend
	expect size $(($(numfmt --from=iec "${backend#*:}") / 512))
	detach geo
done
