#!/bin/bash
# SPDX-License-Identifier: MIT
# timeout: 300
# SIGKILL of the worker under load: no I/O error, and all data right.
# shellcheck source=tests/kernel/functions.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/functions.sh"

requires_cmd fio
count=${long:+200}
count=${count:-8}

io_count()
{
	awk '{ print $1 + $5 }' "/sys/block/${disk##*/}/stat"
}

has_moved()
{
	[ "$(io_count)" -gt "$seen" ]
}

has_new_worker()
{
	local pid

	pid=$(state kw worker_pid)
	[ "$pid" != "$victim" ] && [ "$pid" != 0 ]
}

start_fio()
{
	fio --name=kw --filename="$disk" --ioengine=libaio --direct=1 --iodepth=32 --size=8M \
		--rw=randwrite --bssplit=4k/70:64k/30 --serialize_overlap=1 --verify=crc32c \
		--verify_fatal=1 --verify_backlog=64 --verify_state_save=0 --loops=10 \
		>"$work/fio.log" 2>&1 &
	fio_pid=$!
	cleanup_fn "kill $fio_pid 2>/dev/null"
}

end_fio()
{
	wait "$fio_pid" || { cat "$work/fio.log"; fail "fio found an error"; }
	not grep -qE 'verify: bad|err= *[1-9]|error' "$work/fio.log" ||
		fail "$(tail -n 5 "$work/fio.log")"
}

# The next kill comes when I/O goes on, or when fio has ended and starts anew.
under_load()
{
	if ! kill -0 "$fio_pid" 2>/dev/null; then
		end_fio
		start_fio
	fi
	has_moved
}

# try QUEUES OPTION...
try()
{
	local i

	printf 'kill-worker %s\n' "$*"
	attach kw --queues="$1" "${@:2}" "$image"
	start_fio
	for i in $(seq "$count"); do
		seen=$(io_count)
		wait_until 60 under_load
		victim=$(state kw worker_pid)
		kill -KILL "$victim"
		wait_until 30 has_new_worker
	done
	end_fio
	assert_ge "$(state kw restarts)" "$count" "restarts"
	detach kw
}

image=$(make_image 32M)
try 1
try 2
make_fs ext4 128M "$work/ext4"
image=$work/ext4/disk.img
truncate -s 32M -- "$image"
try 2 --direct
