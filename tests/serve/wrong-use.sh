#!/bin/bash
# SPDX-License-Identifier: MIT
# timeout: 300
# Each mistake: one line, its exit code, nothing left.
# shellcheck source=tests/serve/functions.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/functions.sh"

image=$(make_image 8M)
long_name=$(printf 'x%.0s' {1..120})
expect_error 2 'serve needs a socket' vblkctl serve "$image"
expect_error 2 'needs a BACKEND' vblkctl serve
expect_error 2 "'umem' is of use for disks of this host only" vblkctl serve --socket "$work/w.sock" --umem=on "$image"
expect_error 2 "'bounce-size'" vblkd --socket "$work/w.sock" --bounce-size=2M "$image"
expect_error 2 "'socket-mode' is of use with a socket only" vblkd --socket-mode=0600 "$image"
expect_error 2 "did you mean '--socket'" vblkctl serve --sokcet "$work/w.sock" "$image"
expect_error 2 'fit' vblkctl serve --socket "/$long_name" "$image"
expect_error 1 'cannot make the socket.*No such file' vblkctl serve --socket "$work/none/w.sock" "$image"
: >"$work/w.sock"
expect_error 1 'is no socket' vblkctl serve --socket "$work/w.sock" "$image"
assert_eq "$(stat -c %F "$work/w.sock")" "regular empty file" "the file"
rm "$work/w.sock"
expect_error 1 'does not exist' vblkctl serve --socket "$work/w.sock" /nonexistent
not test -e "$work/w.sock"
assert_eq "$(find "$RUN_DIR" -mindepth 1 2>/dev/null)" "" "run directory"

serve one "$image"
expect_error 1 "in use by another process" vblkctl serve --socket "$work/two.sock" "$image"
expect_error 1 'somebody listens' vblkctl serve --name two --socket "$work/one.sock" mem:8M
expect_error 1 "named 'one' is running already" vblkctl serve --name one --socket "$work/two.sock" mem:8M
expect_error 1 'no device named' vblkctl detach nobody
client "$sock" verify count=50
vblkctl detach one
check_gone one
# A file that a killed daemon left behind is in nobody's way.
serve one mem:8M
pids=("$(state one pid)" "$(state one worker_pid)")
kill -KILL "${pids[@]}"
wait_until 10 pid_is_gone "${pids[0]}"
wait_until 10 pid_is_gone "${pids[1]}"
[ -S "$work/one.sock" ] || fail "no socket was left behind"
serve one mem:8M
client "$sock" verify count=50
