#!/bin/bash
# SPDX-License-Identifier: MIT
# timeout: 300
# Statistics: known I/O gives exact counters, which a killed worker, a killed
# keeper and an upgrade do not reset; the histogram has as many requests as the
# counter; metrics are right by a strict reader; the table of --watch; log
# levels; and clients of the control socket that send rubbish, half a message,
# too much, or never read, while I/O goes on.
# shellcheck source=tests/kernel/functions.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/functions.sh"

requires_cmd fio jq python3

# counter FILTER: of GetStats
counter()
{
	vblkctl stats --json st | jq -r "$1"
}

# io RW COUNT [OPTION]...: that many requests of 4 KiB, none merged or split
io()
{
	fio --name=st --filename="$disk" --ioengine=libaio --direct=1 --bs=4k --iodepth=8 \
		--rw="$1" --number_ios="$2" --randrepeat=1 "${@:3}" >"$work/fio.log" 2>&1 ||
		fail "fio: $(tail -n 3 "$work/fio.log")"
}

has()
{
	[ "$(counter "$1")" = "$2" ]
}

# counts_to READS WRITES FLUSHES: beyond what probing the disk has read
counts_to()
{
	wait_until 10 has "(.total.requests.read // 0) - $reads0" "$1"
	assert_eq "$(counter '.total.requests.write // 0')" "$2" writes
	assert_eq "$(counter '.total.requests.flush // 0')" "$3" flushes
	assert_eq "$(counter "(.total.bytes.read // 0) - $bytes0")" $(($1 * 4096)) "bytes read"
	assert_eq "$(counter '.total.bytes.write // 0')" $(($2 * 4096)) "bytes written"
	assert_eq "$(counter '.total.errors | length')" 0 errors
	assert_eq "$(counter '[.latency.write[]?.count] | add // 0')" "$2" "writes in the histogram"
}

worker_changes()
{
	[ "$(state st worker_pid)" != "$1" ] && vblkctl stats --json st >/dev/null 2>&1
}

attach st --queues=1 "$(make_image 64M)"
echo none >"/sys/block/${disk##*/}/queue/scheduler"
echo 2 >"/sys/block/${disk##*/}/queue/nomerges"
reads0=$(counter '.total.requests.read // 0')
bytes0=$(counter '.total.bytes.read // 0')

io randread 300
counts_to 300 0 0
io randwrite 200
counts_to 300 200 0
for _ in {1..8}; do
	dd if=/dev/zero of="$disk" bs=4K count=1 oflag=direct conv=notrunc,fsync status=none
done
flushes=8
counts_to 300 208 $flushes
assert_eq "$(counter '.per_queue | length')" 1 queues
assert_ge "$(counter '.total.batches')" 1 batches
assert_le "$(counter '.total.interrupts')" "$(counter '.total.batches')" interrupts
assert_ge "$(counter '.total.kicks')" 16 kicks
assert_ge "$(counter '.total.inflight_max')" 2 "largest depth"
assert_eq "$(counter '.total.inflight')" 0 "in flight"

# Who serves changes; what was done does not.
worker=$(state st worker_pid)
kill -KILL "$worker"
wait_until 20 worker_changes "$worker"
counts_to 300 208 $flushes
io randread 100
counts_to 400 208 $flushes
assert_eq "$(counter .restarts)" 1 restarts
vblkctl upgrade st
counts_to 400 208 $flushes
worker=$(state st worker_pid)
kill -KILL "$(state st pid)"
wait_until 20 pid_is_gone "$(state st pid)"
vblkctl attach --name st --queues=1 "$work/disk.img"
counts_to 400 208 $flushes
io randwrite 50
counts_to 400 258 $flushes

# For people and for Prometheus.
table=$(vblkctl stats st)
printf '%s\n' "$table"
[[ $table =~ ^NAME.*r_p99.*st\ .*[0-9] ]] || fail "no table"
vblkctl metrics >"$work/metrics"
openmetrics-check <"$work/metrics" || fail "metrics are wrong"
grep -qxF 'vblkd_requests_total{device="st",queue="0",operation="write"} 258' "$work/metrics" ||
	fail "metrics lack the writes"
grep -qxF 'vblkd_request_duration_seconds_count{device="st",operation="write"} 258' \
	"$work/metrics" || fail "metrics lack the histogram"
grep -qxF 'vblkd_up{device="st"} 1' "$work/metrics" || fail "metrics lack the device"
vblkctl stats --watch=1 st >"$work/watch" &
watch=$!
wait_until 20 eval "[ \$(grep -c ^st '$work/watch') -ge 3 ]"
kill -INT $watch || fail "the watch has ended"
wait $watch || fail "--watch ended with $?"

expect_error 2 'LEVEL' vblkctl log-level st
expect_error 2 'LEVEL' vblkctl log-level st loud
expect_error 2 'interval' vblkctl stats --watch=0 st
expect_error 1 'no device' vblkctl stats nobody
expect_error 1 'no device' vblkctl metrics nobody
vblkctl log-level st debug
vblkctl log-level st info

# Clients that mean no good, and I/O that does not care.
cat >"$work/bad.py" <<'END'
import random, socket, sys, time
path, seconds = sys.argv[1], float(sys.argv[2])
rnd = random.Random(1)
call = b'{"method":"io.vblkd.Device.%s"}\0'
mess = [b'', b'\0', b'{', b'{}\0', b'[]\0', b'{"method":1}\0', b'{"method":"x"}\0', b'x' * 70000,
        b'[' * 65535 + b'\0', b'{"method":"io.vblkd.Device.GetSta', b'\xff\xfe\0',
        b'{"method":"io.vblkd.Device.GetStats","parameters":{"queue":-1}}\0',
        b'{"method":"io.vblkd.Device.GetStats","parameters":{"queue":1.5}}\0',
        b'{"method":"io.vblkd.Device.SetLogLevel","parameters":{"level":["x"]}}\0',
        b'{"method":"io.vblkd.Device.Resize","parameters":{"size_bytes":-1}}\0',
        b'{"method":"org.varlink.service.GetInterfaceDescription","parameters":{"interface":7}}\0',
        call % b'GetStats' * 500, call % b'GetStatus' * 500]
kept, cnt, end = [], 0, time.monotonic() + seconds
while time.monotonic() < end:
    s = socket.socket(socket.AF_UNIX)
    s.setblocking(False)
    try:
        s.connect(path)
        s.send(rnd.choice(mess))
        cnt += 1
    except OSError:
        time.sleep(0.001)
    kept.append(s)          # never read
    if len(kept) > 60:      # more than there are places
        kept.pop(rnd.randrange(60)).close()
print(cnt, 'bad clients')
END
python3 "$work/bad.py" "$RUN_DIR/st/control" 10 >"$work/bad.log" 2>&1 &
bad=$!
cleanup_fn "kill $bad 2>/dev/null"
worker=$(state st worker_pid)
fio --name=st --filename="$disk" --ioengine=libaio --direct=1 --bs=4k --iodepth=8 --rw=randwrite \
	--size=16M --time_based --runtime=8 --verify=crc32c --verify_state_save=0 \
	--serialize_overlap=1 --max_latency=5s >"$work/fio.log" 2>&1 ||
	fail "fio: $(tail -n 3 "$work/fio.log")"
wait $bad || fail "$(cat "$work/bad.log")"
cat "$work/bad.log"
assert_eq "$(state st worker_pid)" "$worker" "the worker's pid"
# And who means well is served again.
wait_until 10 vblkctl stats --json st
assert_eq "$(vblkctl stats --json st | jq '.total.errors | length')" 0 errors
assert_eq "$(vblkctl show --json st | jq -r .state)" ready state
detach st
check_nothing_left 15
