#!/bin/bash
# SPDX-License-Identifier: MIT
# timeout: 300
# A resize reaches the client, at once and after a worker was killed; the image grows; cutting off
# is refused without --force.
# shellcheck source=tests/serve/functions.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/functions.sh"

image=$(make_image 8M)
serve size "$image"
hold
hold_says "capacity $((8 << 20))"
assert_eq "$(vblkctl resize size 16M)" "size: the disk is 16M now (was 8M)" "resize"
hold_says "capacity $((16 << 20))"
assert_eq "$(stat -c %s "$image")" $((16 << 20)) "size of the image"
expect_error 1 'would cut off' vblkctl resize size 12M
vblkctl resize --force size 12M
hold_says "capacity $((12 << 20))"
end_hold

# The size that was decided holds for the next worker.
worker=$(state size worker_pid)
kill -KILL "$worker"
wait_until 20 worker_is_new size "$worker"
assert_eq "$(client "$sock" info | jq .capacity)" $((12 << 11)) "capacity after a restart"
