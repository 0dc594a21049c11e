#!/bin/bash
# SPDX-License-Identifier: MIT
# timeout: 400
# The keeper is killed, then keeper and worker together, under verified load:
# 'vblkctl attach' of the same name, or vblkd started by hand, takes the device
# over, and the I/O goes on. With other options it says why it does not, and a
# device that somebody else made with the name is left alone.
# shellcheck source=tests/kernel/kill.inc
. "$(dirname -- "${BASH_SOURCE[0]}")/kill.inc"

rounds=$(kills_of 3 60)
dev=over
image=$(make_image 32M)
options=(--name over --queues=2 --serial=OVER1)

attach over "${options[@]:2}" "$image"
node=$disk

# By hand, in the foreground: somebody else waits until it serves.
cat >"$work/by-hand" <<-EOF
vblkd ${options[*]} $image >>$work/by-hand.log 2>&1 </dev/null &
until grep -q '"state": "ready"' $RUN_DIR/over/state.json 2>/dev/null &&
	grep -q "\"pid\": \$!," $RUN_DIR/over/state.json; do
	kill -0 \$! || exit 1
done
EOF
cleanup_fn "cat $work/by-hand.log"

printf 'taken over by vblkctl attach\n'
harm keeper "$rounds" --revive "vblkctl attach ${options[*]} $image >/dev/null"
harm both "$rounds" --revive "vblkctl attach ${options[*]} $image >/dev/null"
printf 'taken over by hand\n'
harm keeper,both "$rounds" --revive ". $work/by-hand"
gap_figures "keeper killed, or keeper and worker"

# Wrong options: it is said which, and the orphan serves on.
keeper=$(state over pid)
kill -KILL "$keeper"
wait_until 10 pid_is_gone "$keeper"
expect_error 1 "'over' is an orphan.*--queues" \
	vblkctl attach --name over --queues=1 --serial=OVER1 "$image"
dd if="$disk" of=/dev/null bs=4K count=1 iflag=direct status=none
kill -KILL "$(state over worker_pid)"
vblkctl list | grep -q '^over .*orphan' || fail "list does not show the orphan: $(vblkctl list)"
attach over "${options[@]:2}" "$image"
assert_eq "$disk" "$node" "node after both were killed"
dd if="$disk" of=/dev/null bs=4K count=1 iflag=direct status=none
cp -a -- "$RUN_DIR/over" "$work/record"
detach over

# A device that somebody else made with the name is not taken for the record's.
elsewhere()
{
	VBLKD_RUN_DIR=$work/elsewhere vblkctl "$@"
}
mkdir -- "$work/elsewhere"
cleanup_fn 'elsewhere detach --force over'
disk=$(elsewhere attach --name over "$(make_image 16M other.img)")
cleanup_fn "rm -rf '$RUN_DIR/over'"
cp -a -- "$work/record" "$RUN_DIR/over"
rm -f -- "$RUN_DIR/over/control"
expect_error 1 "a VDUSE device named 'over' exists that vblkd did not make.*earlier one" \
	vblkctl attach "${options[@]}" "$image"
dd if="$disk" of=/dev/null bs=4K count=1 iflag=direct status=none
assert_eq "$(jq -r .restarts "$work/elsewhere/over/state.json")" 0 \
	"restarts of the other device"
elsewhere detach over
rm -rf -- "$RUN_DIR/over"
check_nothing_left
