#!/bin/bash
# SPDX-License-Identifier: MIT
#
# quickstart-demo.sh - the demonstration of quickstart.sh, on a kernel that has
# VDUSE: image -> disk -> filesystem -> files -> image, and a check from outside.
# VBLKD_BIN_DIR names the folder of vblkctl and vblkd.

set -euo pipefail

bin=${VBLKD_BIN_DIR:?set it to the folder of vblkctl and vblkd}
export PATH="$bin:$PATH:/usr/sbin:/sbin"
name=quickstart-$$
dir=$(mktemp -d "${TMPDIR:-/tmp}/vblkd-quickstart.XXXXXX")

cleanup() {
	mountpoint -q "$dir/mnt" && umount "$dir/mnt"
	vblkctl detach --force "$name" >/dev/null 2>&1 || true
	rm -rf "$dir"
}
trap cleanup EXIT

say() { printf '\n==> %s\n' "$*"; }
run() {
	printf '# %s\n' "$*"
	"$@"
}
sums() { (cd "$1" && find . -type f -exec sha256sum {} + | sort -k 2); }

image=$dir/disk.img
mkdir "$dir/mnt" "$dir/files"

say "An empty image file of 256 MiB"
run truncate -s 256M "$image"

say "vblkd makes it a disk of this host (kernel $(uname -r))"
run vblkctl attach --name "$name" --serial QUICKSTART "$image" | tee "$dir/node"
node=$(tail -n 1 "$dir/node")
[ -b "$node" ] || { echo "there is no disk at '$node'" >&2; exit 1; }
run vblkctl list
run lsblk -o NAME,SIZE,TYPE,SERIAL,LOG-SEC,PHY-SEC,DISC-MAX "$node"

say "A filesystem on it, and 200 files in that"
run mkfs.ext4 -q "$node"
run mount "$node" "$dir/mnt"
for i in $(seq 200); do
	head -c $((i * 1000)) /dev/urandom >"$dir/files/file-$i"
done
run cp -r "$dir/files" "$dir/mnt/"
sync -f "$dir/mnt"
echo 3 >/proc/sys/vm/drop_caches 2>/dev/null || true

say "Reading them back through the disk"
diff <(sums "$dir/files") <(sums "$dir/mnt/files")
echo "all 200 files are as they were written"
run df -h "$dir/mnt"

say "The disk is taken away"
run umount "$dir/mnt"
run vblkctl detach "$name"
[ ! -b "$node" ] || { echo "'$node' is still there" >&2; exit 1; }
run vblkctl list

say "What the image file holds, seen from outside, without vblkd"
run e2fsck -fn "$image"
run mount -o ro,loop "$image" "$dir/mnt"
diff <(sums "$dir/files") <(sums "$dir/mnt/files")
umount "$dir/mnt"

say "Done: an image file was a disk of this host, took an ext4 filesystem and 200 files,"
echo "    gave them back unchanged, was detached with nothing left behind, and the image"
echo "    holds the same filesystem and files when looked at without vblkd."
