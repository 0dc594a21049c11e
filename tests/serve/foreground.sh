#!/bin/bash
# SPDX-License-Identifier: MIT
# timeout: 300
# vblkd itself in the foreground: readiness, SIGTERM with and without a client, the socket's file,
# and who is not root.
# shellcheck source=tests/serve/functions.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/functions.sh"

image=$(make_image 8M)

# start NAME [COMMAND]...: in the background, until it is ready. Sets $pid
start()
{
	local name=$1

	shift
	"$@" vblkd --socket "$work/$name.sock" "$image" 2>"$work/$name.log" &
	pid=$!
	cleanup_fn "kill -KILL $pid"
	wait_until 20 grep -q " serves $image" "$work/$name.log"
	sock=$work/$name.sock
}

start fg
client "$sock" verify count=200
kill -TERM "$pid"
wait "$pid"
check_gone fg
truncate -s 0 "$image"
truncate -s 8M "$image"

# A client does not keep it, and what it had begun is done: it can go on with the next one.
start fg
start_verify depth=20
more_is_done fg 100
kill -TERM "$pid"
wait "$pid"
check_gone fg
start fg
more_is_done fg "$(writes_of fg)"
end_verify 1
kill -TERM "$pid"
wait "$pid"
check_gone fg

# Also without root, in a run directory of the user's.
if [ "$(id -u)" = 0 ]; then
	chmod 755 "$work"
	mkdir -p "$work/user/bin"
	cp -- "$(command -v vblkd)" "$(command -v vblkctl)" "$work/user/bin/"
	cp -- "$here"/*.py "$work/user/"
	truncate -s 8M "$work/user/disk.img"
	chown -R nobody "$work/user"
	as=(env -u VBLKD_RUN_DIR "XDG_RUNTIME_DIR=$work/user" "PATH=$work/user/bin:/usr/bin:/bin"
	    setpriv --reuid=nobody --regid=nogroup --clear-groups)
	cleanup_fn "${as[*]@Q} vblkctl detach --force u"
	assert_eq "$("${as[@]}" vblkctl serve --socket "$work/user/u.sock" "$work/user/disk.img")" \
		"$work/user/u.sock" "what serve prints"
	"${as[@]}" "$python" "$work/user/client.py" "$work/user/u.sock" verify count=200
	assert_eq "$("${as[@]}" vblkctl list | awk 'NR > 1 { print $1, $5 }')" "u ready" "list"
	pid=$("${as[@]}" vblkctl show --json u | jq .pid)
	assert_eq "$(stat -c %U "/proc/$pid/maps")" root "owner of a process that cannot be traced"
	assert_eq "$(awk '/^(Uid|CapEff|CapPrm|NoNewPrivs|Seccomp):/ { print $2 }' "/proc/$pid/status" | paste -sd' ')" \
		"$(id -u nobody) 0000000000000000 0000000000000000 1 2" "user, capabilities, filter"
	"${as[@]}" vblkctl resize u 9M
	"${as[@]}" vblkctl upgrade u
	assert_eq "$("${as[@]}" "$python" "$work/user/client.py" "$work/user/u.sock" info | jq .capacity)" 18432 "sectors"
	"${as[@]}" vblkctl detach u
	not test -e "$work/user/vblkd/u"
	not test -e "$work/user/u.sock"
fi
