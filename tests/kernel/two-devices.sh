#!/bin/bash
# SPDX-License-Identifier: MIT
# Two disks at once are two disks; taking one away does not touch the other. One
# that is bound again under another name is shown under that name.
# shellcheck source=tests/kernel/functions.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/functions.sh"

one=$(make_image 32M one.img)
two=$(make_image 32M two.img)
attach one "$one"
disk_one=$disk
attach two --direct --umem=on "$two"
disk_two=$disk
if [ -e "/proc/$(state two pid)/autogroup" ]; then
	assert_eq "$(awk '{ print $3 }' "/proc/$(state two pid)/autogroup")" 1 "nice of the session"
fi
if [ -d /sys/kernel/mm/transparent_hugepage ]; then
	assert_ge "$(kib_of "$(state two worker_pid)" memfd:vblk-umem ShmemPmdMapped)" 2048 "KiB in huge pages"
fi
not [ "$disk_one" = "$disk_two" ] || fail "both are $disk_one"
assert_eq "$(vblkctl list --json | jq -r 'map(.name) | sort | join(" ")')" "one two" "list"

head -c 16M /dev/urandom >"$work/a"
head -c 16M /dev/urandom >"$work/b"
dd if="$work/a" of="$disk_one" bs=256K oflag=direct status=none &
writer=$!
dd if="$work/b" of="$disk_two" bs=256K oflag=direct status=none
wait $writer
cmp -n $((16 << 20)) "$work/a" "$disk_one"
cmp -n $((16 << 20)) "$work/b" "$disk_two"

# Writes to the second while the first is taken away.
dd if="$work/a" of="$disk_two" bs=16K oflag=direct status=none &
writer=$!
detach one
wait $writer
cmp -n $((16 << 20)) "$work/a" "$disk_two"

# The name of the first is free now.
driver=/sys/bus/vdpa/drivers/virtio_vdpa
printf 'two\n' >$driver/unbind
assert_eq "$(vblkctl show --json two | jq -r .node)" "" "node of a disk that is unbound"
printf 'two\n' >$driver/bind
wait_until 20 test -b "$disk_one"
assert_eq "$(vblkctl show --json two | jq -r .node)" "$disk_one" "node after another bind"
assert_eq "$(vblkctl show --json "$disk_one" | jq -r .name)" two "name of that node"
worker=$(state two worker_pid)
kill -KILL "$worker"
has_new_worker()
{
	[ "$(state two worker_pid)" != "$worker" ] && [ "$(state two state)" = ready ]
}
wait_until 30 has_new_worker
assert_eq "$(state two node)" "$disk_one" "node in the state file"
cmp -n $((16 << 20)) "$work/a" "$disk_one"
detach two
cmp -n $((16 << 20)) "$work/a" "$one"
cmp -n $((16 << 20)) "$work/a" "$two"
