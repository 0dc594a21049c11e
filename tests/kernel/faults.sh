#!/bin/bash
# SPDX-License-Identifier: MIT
# timeout: 300
# What goes wrong in a backend (fault:RULES:BACKEND) reaches the requests that
# it is about, with the errno that virtio-blk has for it, and no others; delays
# and another order lose nothing; a request that never ends is named, holds up
# nothing else of the host, and is done again once by the next worker; the
# driver can be unbound with such requests outstanding.
# shellcheck source=tests/kernel/functions.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/functions.sh"

requires_cmd fio jq dd blkdiscard

driver=/sys/bus/vdpa/drivers/virtio_vdpa

# fio_verify OFFSET SIZE DEPTH: random I/O on $disk, all of it verified
fio_verify()
{
	fio --name=verify --filename="$disk" --ioengine=libaio --direct=1 --rw=randrw \
		--offset="$1" --size="$2" --iodepth="$3" --bssplit=4k/60:32k/40 --verify=crc32c \
		--verify_fatal=1 --verify_state_save=0 --serialize_overlap=1 --randseed=5 \
		>"$work/fio.log" 2>&1 || {
		tail -n 30 "$work/fio.log"
		return 1
	}
	! grep -qE 'err= *[1-9]|verify: bad' "$work/fio.log"
}

# fails WORDS COMMAND...: it fails and says so
fails()
{
	local words=$1

	shift
	if "$@" 2>"$work/fails"; then
		fail "worked: $*"
	fi
	grep -qF "$words" "$work/fails" || fail "no '$words' from $*: $(cat "$work/fails")"
}

# read_at/write_at OFFSET BYTES: one request
read_at()
{
	dd if="$disk" of=/dev/null bs="$2" count=1 skip="$1" iflag=direct,skip_bytes status=none
}

write_at()
{
	dd if=/dev/urandom of="$disk" bs="$2" count=1 seek="$1" oflag=direct,seek_bytes \
		conv=notrunc status=none
}

in_flight()
{
	local reads writes

	read -r reads writes <"/sys/block/${disk##*/}/inflight"
	[ $((reads + writes)) -ge 1 ]
}

M=$((1 << 20))

# ---- errors ----

rules=read=eio@1M+64K,write=enospc@2M+64K,write=eopnotsupp@3M+64K,write=eagain@4M+64K
rules+=,discard=eio@5M+64K,short@6M+64K,write=eio@7M+64K#1
attach errors --queues=2 "fault:$rules:$(make_image 32M)"
fio_verify 8M 8M 16 &
verifier=$!
fails 'Input/output error' read_at $M 4096
write_at $M 4096
fails 'Input/output error' write_at $((2 * M)) 4096
read_at $((2 * M)) 4096
fails 'Operation not supported' write_at $((3 * M)) 4096
fails 'Input/output error' write_at $((4 * M + 60 * 1024)) 4096
fails 'Input/output error' blkdiscard -f -o $((5 * M)) -l 65536 "$disk"
blkdiscard -f -o $((5 * M + 65536)) -l 65536 "$disk"
fails 'Input/output error' read_at $((6 * M)) 65536
fails 'Input/output error' write_at $((7 * M)) 4096
write_at $((7 * M)) 4096
wait $verifier || fail "I/O beside the faults"
vblkctl show --json errors | jq -e '[.per_queue[].errors.write] | add >= 3' >/dev/null ||
	fail "the errors are not counted"
assert_eq "$(vblkctl show --json errors | jq -r .backend_type)" fault "type of the backend"
detach errors

# ---- delays and another order ----

attach late --queues=2 "fault:delay=0ms-5ms%30,reorder=8,seed=3:mem:16M"
fio_verify 0 8M 32 || fail "delayed and reordered I/O"
detach late

# ---- a request that never ends ----

attach hung --queues=1 "fault:write=hang@8M+4K#1:$work/disk.img"
head -c 4096 /dev/urandom >"$work/data"
dd if="$work/data" of="$disk" bs=4K seek=2048 oflag=direct conv=notrunc status=none &
writer=$!
wait_until 30 in_flight

# Rounds of questions, at least three and until the request counts as stuck. vblkctl gives the daemon
# a second to answer each; the rest of the time is that of starting a program in the guest.
names_it()
{
	vblkctl show --json hung | jq -e '.state == "stuck" and .stuck == 1 and
		(.stuck_requests[0] | .operation == "write" and .offset_bytes == 8388608 and
		.length_bytes == 4096 and .age_ms >= 5000)'
}
slowest_ms=0
rounds=0
until names_it >/dev/null && [ $rounds -ge 3 ]; do
	for question in "show hung" "show --json hung" list; do
		began=${EPOCHREALTIME//[.,]/}
		# shellcheck disable=SC2086 # words
		vblkctl $question >"$work/answer"
		took_ms=$(((${EPOCHREALTIME//[.,]/} - began) / 1000))
		! grep -q 'not answering' "$work/answer" || fail "$question: not answering"
		[ $took_ms -le $slowest_ms ] || slowest_ms=$took_ms
	done
	rounds=$((rounds + 1))
	[ $rounds -le 200 ] || fail "show does not name the request"
done
printf 'slowest vblkctl of %d: %d ms\n' $((3 * rounds)) $slowest_ms
assert_le $slowest_ms 5000 "milliseconds of the slowest vblkctl"
vblkctl show hung | grep '^stuck' || fail "show does not name the request"
vblkctl list | grep -E '^hung .* stuck ' || fail "list does not say that it is stuck"

# Refused with what it waits for; other I/O of the disk, and other devices, go on.
rc=0
vblkctl detach --force --timeout 2 hung 2>"$work/refused" || rc=$?
cat "$work/refused"
assert_eq $rc 1 "exit code of the detach"
grep -q 'has not ended.*write of 4K at 8M on queue 0 for' "$work/refused" ||
	fail "the refusal does not name the request"
fio_verify 16M 2M 8 || fail "I/O beside the hanging request"
hung_disk=$disk
attach other mem:16M
detach other
disk=$hung_disk

# The next worker does the request again, once.
kill -KILL "$(state hung worker_pid)"
wait $writer || fail "the write failed"
cmp -i $((8 * M)):0 -n 4096 "$work/disk.img" "$work/data"
assert_eq "$(vblkctl show --json hung | jq .stuck)" 0 "stuck requests"
detach hung
cmp -i $((8 * M)):0 -n 4096 "$work/disk.img" "$work/data"

# ---- the driver goes while requests are outstanding ----

bound()
{
	compgen -G '/sys/bus/vdpa/devices/reset/virtio*/block/vd*' >/dev/null
}

attach reset --msg-timeout=5 "fault:read=delay=3s@8M+4K,read=hang=7s@9M+4K:$work/disk.img"
for offset in 8 9; do
	read_at $((offset * M)) 4096 2>"$work/read.err" &
	reader=$!
	wait_until 30 in_flight
	began=${EPOCHREALTIME//[.,]/}
	echo reset >$driver/unbind
	printf 'unbound in %d ms\n' $(((${EPOCHREALTIME//[.,]/} - began) / 1000))
	wait $reader || cat "$work/read.err"
	wait_until 20 not bound
	echo reset >$driver/bind
	wait_until 20 bound
	path=$(compgen -G '/sys/bus/vdpa/devices/reset/virtio*/block/vd*')
	disk=/dev/${path##*/}
	wait_until 20 test -b "$disk"
	fio_verify 16M 1M 8 || fail "the device is not usable after the reset"
	vblkctl show --json reset | jq -e '.broken == false and .inflight == 0' >/dev/null ||
		fail "not sound after the reset"
done
detach reset
check_nothing_left
