#!/bin/bash
# SPDX-License-Identifier: MIT
# The packages on a system with disks: an upgrade under verified load lets no I/O
# fail and leaves the same process on the new program; one that cannot take over
# leaves the device as it was; a removal is refused while there is a device; what
# is the administrator's stays after a purge.
#
# usage: tests/package/in-guest.sh DIR [deb|rpm]
#
# Inside the guest, whose root is thrown away. DIR has old.deb, new.deb (a higher
# revision), broken.deb (higher still, no working vblkd) and old.rpm.

if [ $# = 1 ]; then
	bash "$0" "$1" deb || exit
	exec bash "$0" "$1" rpm
fi
# shellcheck source=tests/kernel/functions.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/../kernel/functions.sh"

packages=$1
kind=$2
requires_cmd fio jq
[ -n "${VBLKD_VM-}" ] || fail "this installs and removes packages: only inside the guest"

# ---- package managers ----

# Triggers (of man-db) take minutes in the guest and are nothing of ours. The
# database is a new one: that of the machine is large and slow to read.
deb()
{
	dpkg --admindir="$work/dpkg" --force-depends --no-triggers "$@"
}

rpm_()
{
	rpm --force-debian --dbpath "$work/rpm" "$@"
}

install_package()
{
	case $kind in
	deb) deb -i "$packages/$1.deb" ;;
	# The same version once more is an upgrade too, for the scripts as well.
	rpm) rpm_ -U --nodeps --force "$packages/old.rpm" ;;
	esac >"$work/install.log" 2>&1 || { cat "$work/install.log"; fail "cannot install $1"; }
	grep -E "^(Setting up|vblk|db)" "$work/install.log" || :
}

remove_package()
{
	case $kind in
	deb) deb -r vblkd ;;
	rpm) rpm_ -e vblkd ;;
	esac
}

is_installed()
{
	case $kind in
	deb) [ "$(dpkg-query --admindir="$work/dpkg" -W -f='${db:Status-Status}' vblkd)" = installed ] ;;
	rpm) rpm_ -q vblkd ;;
	esac
}

# removal_refused REGEX: and the package is there as before
removal_refused()
{
	! remove_package >"$work/remove.log" 2>&1 || fail "the package was removed"
	grep -E '^vblkd: ' "$work/remove.log"
	grep -qE "$1" "$work/remove.log" || fail "no line '$1' in: $(cat "$work/remove.log")"
	is_installed || fail "the package is not installed any more"
	vblkctl list >"$work/list"
}

# ---- load ----

start_fio()
{
	fio --name=up --filename="$disk" --ioengine=libaio --direct=1 --iodepth=16 --size=8M \
		--rw=randwrite --bssplit=4k/70:64k/30 --serialize_overlap=1 --verify=crc32c \
		--verify_fatal=1 --verify_backlog=64 --verify_state_save=0 --loops=100000 \
		>"$work/fio.log" 2>&1 &
	fio_pid=$!
	cleanup_fn "kill $fio_pid 2>/dev/null"
	io_goes_on
}

end_fio()
{
	io_goes_on
	kill -0 "$fio_pid" || { cat "$work/fio.log"; fail "fio has ended"; }
	kill -INT "$fio_pid"
	wait "$fio_pid" || :
	not grep -qE 'verify: bad|err= *[1-9]|error' "$work/fio.log" ||
		fail "$(grep -E 'verify|err|error' "$work/fio.log" | head -n 5)"
}

# ---- the test ----

# The packages of the host's system are not those of the guest.
[ -d "$work/dpkg" ] || mkdir -p -- "$work"/dpkg/{info,updates,triggers,parts} "$work/rpm"
: >"$work/dpkg/status"
: >"$work/dpkg/available"

not [ -e /usr/sbin/vblkd ] || fail "vblkd is installed on this machine"
install_package old
old_version=$(vblkd --version)
old_version=${old_version#vblkd }
for file in /usr/lib/modules-load.d/vblkd.conf /usr/share/man/man8/vblkd.8* \
	/usr/share/bash-completion/completions/vblkctl; do
	[ -s "$file" ] || fail "$file is not there"
done
[ -d /etc/vblkd ] || fail "/etc/vblkd is not there"
vblkctl list >"$work/list"
getent passwd vblkd || fail "there is no system user"

attach db --queues=2 "$(make_image 32M)"
keeper=$(state db pid)
worker=$(state db worker_pid)
start_fio

install_package new
io_goes_on
version=$(vblkctl show db | sed -n 's/^version: //p')
assert_eq "$version" "$(vblkd --version | sed 's/^vblkd //')" "version of the device"
if [ "$kind" = deb ]; then
	not [ "$version" = "$old_version" ] || fail "the version is the old one"
	grep -q "^db: upgraded, vblkd $old_version -> $version$" "$work/install.log" ||
		fail "the upgrade says nothing of the device"
fi
assert_eq "$(state db upgrades)" 1 "upgrades"
assert_eq "$(state db restarts)" 0 "restarts"
assert_eq "$(state db pid)" "$keeper" "the keeper's pid"
not [ "$(state db worker_pid)" = "$worker" ] || fail "the worker is the old one"

if [ "$kind" = deb ]; then
	install_package broken
	grep -q "^vblkd: device 'db' still runs the old program" "$work/install.log" ||
		fail "nothing told of a device that was not upgraded"
	io_goes_on
	assert_eq "$(state db pid) $(state db upgrades)" "$keeper 1" "the daemon"
	install_package new
	assert_eq "$(state db upgrades)" 2 "upgrades"
fi

removal_refused "^vblkd: device 'db' \($disk.*vblkctl detach db$"
io_goes_on
end_fio
removal_refused "^vblkd: device 'db' \($disk"
mkfs.ext4 -q "$disk"
mkdir -- "$work/mnt"
mount -- "$disk" "$work/mnt"
cleanup_fn "umount '$work/mnt'"
removal_refused "mounted on $work/mnt"
umount -- "$work/mnt"
detach db

printf '[device]\nbackend = null:1M\n' >/etc/vblkd/kept.conf
remove_package
not [ -e /usr/sbin/vblkd ] || fail "vblkd is still there"
[ -s /etc/vblkd/kept.conf ] || fail "a configuration went with the removal"
if [ "$kind" = deb ]; then
	deb -P vblkd
	[ -s /etc/vblkd/kept.conf ] || fail "a configuration went with the purge"
fi
if [ "$kind" = rpm ]; then
	not is_installed || fail "the package is still installed"
fi
getent passwd vblkd >/dev/null || fail "the system user went with the package"
check_nothing_left
