#!/bin/bash
# SPDX-License-Identifier: MIT
# group: host
# Disks as services of systemd, which boots in a guest of its own: started, and mounted by fstab;
# worker, keeper and both killed, and two keepers started at once, under verified load; a worker
# that hangs, which the watchdog replaces, and a backend that hangs, which it does not; upgrade;
# stop while the disk is in use; wrong configuration; detach; restart of the host under load.
# Then the image is clean, and a second boot finds the data.
#
# usage: tests/kernel/boot.sh [prepare|first|second]	the parts inside the guest
# shellcheck source=tests/kernel/functions.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/functions.sh"

NET_ADMIN=0000000000001000
NONE=0000000000000000

# ---- before systemd ----

mask()
{
	local unit

	for unit; do
		ln -sf /dev/null "/etc/systemd/system/$unit"
	done
}

# What this machine has for itself, and what takes long in the guest.
mask_others()
{
	mask dbus.service dbus.socket systemd-logind.service systemd-user-sessions.service \
		postgresql.service e2scrub_reap.service getty@tty1.service getty-static.service \
		systemd-timesyncd.service systemd-pstore.service systemd-firstboot.service \
		systemd-repart.service systemd-random-seed.service systemd-update-utmp.service \
		systemd-update-utmp-runlevel.service systemd-binfmt.service timers.target \
		proc-sys-fs-binfmt_misc.automount sys-fs-fuse-connections.mount \
		systemd-hwdb-update.service systemd-journal-catalog-update.service \
		systemd-sysusers.service systemd-machine-id-commit.service
}

# config NAME LINE...
config()
{
	printf '%s\n' '[device]' "${@:2}" >"/etc/vblkd/$1.conf"
}

prepare()
{
	cp -a -- /mnt/out/root/. /
	systemd-sysusers /usr/local/lib/sysusers.d/vblkd.conf
	mask_others
	mkdir -p /etc/vblkd /var/lib/vblkd /srv/db /srv/log
	config db 'backend = /var/lib/vblkd/db.img' 'serial = DB01' 'queues = 2'
	config build-log 'backend = /var/lib/vblkd/log.img' 'serial = LOG01' 'queues = 1'
	config stuck 'backend = fault:write=hang=60s#1:mem:8M' 'queues = 1'
	config wrong 'backend = null:1M' 'queue = 1'
	# The lines that vblkd(7) shows.
	cat >/etc/fstab <<-EOT
	/dev/sda /var/lib/vblkd ext4 defaults 0 2
	/dev/vblkd/db /srv/db ext4 nofail,x-systemd.after=vblkd@db.service 0 2
	/dev/disk/by-id/virtio-LOG01 /srv/log ext4 _netdev,x-systemd.after=vblkd@build-log.service 0 2
	EOT
	cat >/etc/systemd/system/load.service <<-EOT
	[Unit]
	RequiresMountsFor=/srv/db
	[Service]
	ExecStart=fio --name=load --directory=/srv/db --ioengine=libaio --direct=1 --iodepth=8 \
		--size=4M --rw=randwrite --bs=4k --verify=crc32c --verify_fatal=1 --verify_backlog=64 \
		--verify_state_save=0 --loops=1000000
	EOT
	cat >/etc/systemd/system/boot-test.service <<-EOT
	[Unit]
	After=multi-user.target
	[Service]
	ExecStart=/bin/bash $PWD/tests/kernel/boot.sh $1
	WorkingDirectory=$PWD
	StandardOutput=file:/dev/vport0p1
	StandardError=inherit
	[Install]
	WantedBy=multi-user.target
	EOT
	systemctl enable boot-test.service vblkd@db.service vblkd@build-log.service
}

# ---- below systemd ----

# show UNIT PROPERTY
show()
{
	systemctl show --value -p "$2" "$1"
}

has()
{
	[ "$(show "$1" "$2")" = "$3" ]
}

# mount_id DIR: changes when it is mounted anew
mount_id()
{
	findmnt -nro ID "$1"
}

# I/O goes on, and nobody has seen an error, or the filesystem vanish.
under_load()
{
	io_goes_on
	has load.service ActiveState active || fail "the load has ended: $(journalctl -n 20 -u load)"
	assert_eq "$(mount_id /srv/db)" "$mount_id" "the mount of /srv/db"
}

# serves NAME OLD_KEEPER OLD_WORKER: another keeper (or worker) does
serves()
{
	[ "$(state "$1" state)" = ready ] && [ "$(state "$1" pid)" != "$2" ] &&
		[ "$(state "$1" worker_pid)" != "$3" ] && [ "$(state "$1" worker_pid)" != 0 ] &&
		has "vblkd@$1" MainPID "$(state "$1" pid)" && has "vblkd@$1" ActiveState active
}

remember()
{
	keeper=$(state db pid)
	worker=$(state db worker_pid)
}

# status PID FIELD
status()
{
	awk -v f="$2:" '$1 == f { print $2 }' "/proc/$1/status"
}

# check_process PID PERMITTED
check_process()
{
	local uid

	uid=$(id -u vblkd)
	assert_eq "$(status "$1" Uid) $(status "$1" CapPrm) $(status "$1" CapEff) $(status "$1" CapBnd)" \
		"$uid $2 $2 $NET_ADMIN" "user and capabilities of $1"
	assert_eq "$(status "$1" CapInh) $(status "$1" CapAmb) $(status "$1" NoNewPrivs)" \
		"$NONE $NONE 1" "inheritable capabilities of $1"
	assert_eq "$(status "$1" Seccomp)" 2 "system call filters of $1"
	assert_eq "$(cat "/proc/$1/oom_score_adj")" -1000 "oom_score_adj of $1"
	assert_eq "$(awk '/^Max locked memory/ { print $4 }' "/proc/$1/limits")" unlimited \
		"limit of locked memory of $1"
	not [ "$(readlink "/proc/$1/ns/mnt")" = "$(readlink /proc/1/ns/mnt)" ] ||
		fail "$1 is in the mount namespace of the host"
}

check_started()
{
	local name

	for name in db build-log; do
		has "vblkd@$name" ActiveState active || fail "$(systemctl status "vblkd@$name")"
		has "vblkd@$name" MainPID "$(state "$name" pid)" || fail "$name: not the keeper's pid"
		check_process "$(state "$name" pid)" $NET_ADMIN
		check_process "$(state "$name" worker_pid)" $NONE
		assert_eq "$(stat -c '%a %U %G' "$RUN_DIR/$name" "$RUN_DIR/$name/control" \
			"$RUN_DIR/$name/state.json" | tr '\n' ' ')" \
			"750 vblkd vblkd 660 vblkd vblkd 640 vblkd vblkd " "modes in $RUN_DIR/$name"
	done
	assert_eq "$(stat -c '%a %U %G' $RUN_DIR)" "1770 root vblkd" "mode of $RUN_DIR"
	assert_eq "$(findmnt -nro SOURCE /srv/db)" "$disk" "what is mounted on /srv/db"
	assert_eq "$(findmnt -nro SOURCE /srv/log)" "$(readlink -f /dev/vblkd/build-log)" "/srv/log"
	# By the device's name, also where no line of fstab says it.
	[[ " $(show srv-db.mount After) " == *' blockdev@dev-vblkd-db.target '* ]] ||
		fail "/srv/db is not ordered after its device"
	assert_eq "$(sysfs queue/rotational) $(sysfs queue/scheduler)" \
		"$(cat /sys/block/sda/queue/rotational) [none] mq-deadline " "settings of $disk"
	assert_eq "$(cat /sys/class/vduse/db/msg_timeout)" 60 "message timeout"
}

killed()
{
	remember
	kill -KILL "$worker"
	wait_until 60 serves db - "$worker"
	under_load
	assert_eq "$(show vblkd@db NRestarts) $(state db pid)" "0 $keeper" "restarts by systemd"

	remember
	kill -KILL "$keeper"
	wait_until 60 serves db "$keeper" "$worker"
	under_load
	check_process "$(state db pid)" $NET_ADMIN
	check_process "$(state db worker_pid)" $NONE

	remember
	kill -KILL "$keeper" "$worker"
	wait_until 60 serves db "$keeper" "$worker"
	under_load
	assert_eq "$(show vblkd@db NRestarts)" 2 "restarts by systemd"
}

# Only one of them gets the lock. Where it is none of systemd's, that waits until it has gone.
two_at_once()
{
	local pids=() pid n

	remember
	kill -KILL "$keeper"
	for n in 1 2 3; do
		vblkd --config=/etc/vblkd/db.conf 2>"$work/at-once.$n" &
		pids+=($!)
	done
	wait_until 60 one_is_left "${pids[@]}"
	under_load
	grep -h 'is running already' "$work"/at-once.? || fail "nobody was refused"
	for pid in "${pids[@]}"; do
		! kill -KILL "$pid" 2>/dev/null || printf 'pid %s of them served\n' "$pid"
	done
	wait_until 60 serves db "$keeper" "$worker"
	under_load
}

# one_is_left PID...: and serves, or systemd's does
one_is_left()
{
	local pid cnt=0

	for pid; do
		pid_is_gone "$pid" || cnt=$((cnt + 1))
	done
	[ "$(state db state)" = ready ] || return 1
	pid_is_gone "$(state db pid)" && return 1
	! has vblkd@db MainPID "$(state db pid)" || [ $cnt = 0 ] || return 1
	[ $cnt -le 1 ]
}

# A worker that is stopped answers nobody, one whose backend hangs answers.
watched()
{
	local stuck_pids writer

	systemctl start vblkd@stuck
	stuck_pids="$(state stuck pid) $(state stuck worker_pid)"
	dd if=/dev/zero of=/dev/vblkd/stuck bs=4k count=1 oflag=direct status=none &
	writer=$!
	remember
	kill -STOP "$worker"
	wait_until 90 serves db "$keeper" "$worker"
	under_load
	journalctl -o cat -u vblkd@db | grep 'control thread of the worker does not answer'
	journalctl -o cat -u vblkd@db | grep -i 'watchdog timeout'
	# More than the watchdog has patience for.
	wait $writer
	assert_eq "$(state stuck pid) $(state stuck worker_pid) $(show vblkd@stuck NRestarts)" \
		"$stuck_pids 0" "a daemon whose backend hung"
	journalctl -o cat -u vblkd@stuck | grep 'does not finish its I/O'
	# Taken away by hand it stays away.
	vblkctl detach stuck
	wait_until 60 has vblkd@stuck ActiveState inactive
	not [ -e $RUN_DIR/stuck/state.json ]
}

upgraded()
{
	local restarts

	restarts=$(show vblkd@db NRestarts)
	remember
	vblkctl upgrade db
	under_load
	assert_eq "$(show vblkd@db MainPID) $(show vblkd@db NRestarts)" "$keeper $restarts" \
		"the service after an upgrade"
	not [ "$(state db worker_pid)" = "$worker" ] || fail "the worker is the old one"
	check_process "$keeper" $NET_ADMIN
	check_process "$(state db worker_pid)" $NONE
	# As the packages do it.
	/usr/local/libexec/vblkd/maintain upgraded
	under_load
	assert_eq "$(show vblkd@db MainPID) $(state db upgrades)" "$keeper 2" "after another one"
	not /usr/local/libexec/vblkd/maintain may-remove 2>"$work/remove"
	grep "'db' ($disk, mounted on /srv/db.*: systemctl disable --now vblkd@db$" "$work/remove" ||
		fail "$(cat "$work/remove")"
}

log_has()
{
	journalctl -o cat -u "$1" | grep -q "$2"
}

stopped_in_use()
{
	remember
	systemctl stop --no-block vblkd@db
	wait_until 30 log_has vblkd@db 'cannot stop yet'
	under_load
	assert_eq "$(state db pid) $(state db worker_pid)" "$keeper $worker" "a daemon that was stopped"
	systemctl stop load
	umount /srv/db
	wait_until 60 has vblkd@db ActiveState inactive
	not [ -e /dev/vduse/db ] || fail "the device is still there"
	wait_until 30 test ! -L /dev/vblkd/db
	systemctl start vblkd@db srv-db.mount load
	disk=$(readlink -f /dev/vblkd/db)
	mount_id=$(mount_id /srv/db)
	under_load

	# Longer than systemd waits.
	mkdir -p /run/systemd/system/vblkd@build-log.service.d
	printf '[Service]\nTimeoutStopSec=3s\n' >/run/systemd/system/vblkd@build-log.service.d/stop.conf
	systemctl daemon-reload
	keeper=$(state build-log pid)
	worker=$(state build-log worker_pid)
	systemctl stop vblkd@build-log || :
	has vblkd@build-log ActiveState failed
	not pid_is_gone "$keeper" || fail "the keeper was killed"
	not pid_is_gone "$worker" || fail "the worker was killed"
	dd if=/dev/zero of=/srv/log/file bs=64k count=8 conv=fsync status=none
	umount /srv/log
	wait_until 60 pid_is_gone "$keeper"
	systemctl start vblkd@build-log srv-log.mount
}

wrong()
{
	not systemctl start vblkd@wrong
	wait_until 30 has vblkd@wrong ActiveState failed
	assert_eq "$(show vblkd@wrong NRestarts)" 0 "tries with a wrong configuration"
	journalctl -o cat -u vblkd@wrong | grep '/etc/vblkd/wrong.conf:3: '
}

# The boot does not wait for those that may fail.
mounted_by_fstab()
{
	mountpoint -q /srv/db && mountpoint -q /srv/log
}

first()
{
	# Nothing of the test's: the order at the end is that of the units alone.
	cd /
	wait_until 300 mounted_by_fstab
	disk=$(readlink -f /dev/vblkd/db)
	mount_id=$(mount_id /srv/db)
	check_started
	systemctl start load
	under_load
	killed
	two_at_once
	upgraded
	watched
	stopped_in_use
	wrong
	head -c 8M /dev/urandom >/srv/db/precious
	cksum </srv/db/precious >/var/lib/vblkd/cksum
	under_load
	# From here on this is stopped like all else, and the guest ends by itself.
	trap '' TERM
	trap - EXIT
	printf '<1>reboot now\n' >/dev/kmsg
	systemctl reboot
	exit 0
}

second()
{
	wait_until 300 mounted_by_fstab
	disk=$(readlink -f /dev/vblkd/db)
	check_started
	assert_eq "$(cksum </srv/db/precious)" "$(cat /var/lib/vblkd/cksum)" "what was written before"
	[ -s /srv/log/file ] || fail "a file is gone"
}

end_guest()
{
	local rc=$?

	trap - EXIT ERR
	[ $rc = 0 ] || journalctl -b -n 150 --no-pager -o short-monotonic
	sync /var/lib/vblkd
	sh /run/vblkd-vm/init finish $rc
}

# ---- outside ----

# run STAGE [OPTION...]
run()
{
	local rc=0

	tests/vm/run --mem 2048 --timeout 1500 --no-modules --systemd --drive "$work/drive.img" \
		--out "$work/out" --log "$work/log" --append "systemd.getty_auto=no systemd.show_status=0" \
		"${@:2}" -- bash tests/kernel/boot.sh prepare "$1" || rc=$?
	[ $rc = 0 ] || { tail -n 30 "$work/log/console.log"; fail "$1 boot: exit code $rc"; }
}

# image NAME: taken from the drive, as it was left, it needs no repair
check_image()
{
	debugfs -R "dump /$1 $work/$1" "$work/drive.img" 2>/dev/null
	if dumpe2fs -h "$work/$1" 2>/dev/null | grep -q needs_recovery; then
		tail -n 80 "$work/log/console.log"
		fail "$1 was not unmounted"
	fi
	e2fsck -fn "$work/$1" || fail "$1 needs repair"
}

case ${1-} in
prepare)
	prepare "$2"
	exit 0
	;;
first | second)
	trap end_guest EXIT
	"$1"
	exit 0
	;;
esac
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.."
[ -x /lib/systemd/systemd ] || skip "systemd is not installed"
requires_cmd fio debugfs udevadm
mkdir -p "$work/out/root" "$work/data"
DESTDIR=$work/out/root cmake --install "$VBLKD_BIN_DIR/.." >"$work/install.log"
for name in db log; do
	truncate -s 48M "$work/data/$name.img"
	mkfs.ext4 -q -F "$work/data/$name.img"
done
truncate -s 256M "$work/drive.img"
mkfs.ext4 -q -F -d "$work/data" "$work/drive.img"
run first --reboots
e2fsck -fn "$work/drive.img" || fail "the drive was not unmounted"
check_image db.img
check_image log.img
run second
