#!/bin/bash
# SPDX-License-Identifier: MIT
# timeout: 600
# vblkctl upgrade under verified I/O: same keeper, another worker and program; the client loses its
# connection, comes back and finds all that it wrote. Size and socket stay. Killed in the middle; refused
# for a program that cannot take over, and while the backend does not answer.
# shellcheck source=tests/serve/functions.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/functions.sh"

image=$(make_image 8M)
mkdir "$work/bin"
cp -- "$(command -v vblkd)" "$(command -v vblkctl)" "$work/bin/"
PATH=$work/bin:$PATH
rounds=3
[ -z "$long" ] || rounds=50

# replace COMMAND...: what the daemon finds in the place of its program
replace()
{
	"$@" >"$work/bin/new"
	chmod 755 "$work/bin/new"
	mv -f -- "$work/bin/new" "$work/bin/vblkd"
}

serve_again()
{
	vblkctl serve --socket "$sock" --queues=2 --socket-mode=660 "$image"
}

cp -- "$(command -v vblkd)" "$work/good"
serve up --queues=2 --socket-mode=660 "$image"
keeper=$(state up pid)
start_verify queues=2 depth=20
more_is_done up 100

for ((i = 1; i <= rounds; i++)); do
	worker=$(state up worker_pid)
	replace cat "$work/good"
	vblkctl upgrade up
	assert_eq "$(live up pid)" "$keeper" "the keeper"
	assert_eq "$(live up upgrades)" "$i" "upgrades"
	not [ "$(live up worker_pid)" = "$worker" ]
	more_is_done up "$(writes_of up)"
	[ "$i" != 1 ] || vblkctl resize up 12M
	assert_eq "$(live up size_bytes)" $((12 << 20)) "size"
done
assert_eq "$(live up restarts)" 0 "restarts"
assert_eq "$(stat -c %a "$sock")" 660 "mode of the socket"

# What cannot take over changes nothing.
worker=$(state up worker_pid)
replace printf '#!/bin/sh\nexit 0\n'
expect_error 1 'is no vblkd that can take over' vblkctl upgrade up
assert_eq "$(live up worker_pid)" "$worker" "the worker"
more_is_done up "$(writes_of up)"

# One that is told of a feature which it does not know: clients that have it would not come back.
cat >"$work/older" <<-EOF
	#!/bin/bash
	jq -c '.serve.features += 1099511627776' "/proc/self/fd/\${1##*=}" >"$work/record"
	exec {fd}<"$work/record"
	exec "$work/good" "\${1%=*}=\$fd" "\${@:2}"
EOF
replace cat "$work/older"
expect_error 1 'does not offer all that clients were offered' vblkctl upgrade up
assert_eq "$(live up worker_pid)" "$worker" "the worker"
more_is_done up "$(writes_of up)"
replace cat "$work/good"

# Killed after it, and in the middle of it: the next daemon goes on.
kill -KILL "$worker"
wait_until 30 worker_is_new up "$worker"
more_is_done up "$(writes_of up)"
for delay in 0.005 0.02 0.04; do
	for victim in worker_pid pid; do
		pid=$(state up $victim)
		worker=$(state up worker_pid)
		vblkctl upgrade up >"$work/upgraded" 2>&1 &
		upgrade_pid=$!
		read -rt "$delay" -u "$never" || :
		# It may have been replaced by then.
		kill -KILL "$pid" 2>/dev/null || :
		wait "$upgrade_pid" || :
		[ $victim != pid ] || wait_until 30 serve_again
		wait_until 30 worker_is_new up "$worker"
		more_is_done up "$(writes_of up)"
	done
done
vblkctl upgrade up
more_is_done up "$(writes_of up)"
end_verify $((rounds + 8))
vblkctl detach up
check_gone up

# Not begun while what is in flight would not end.
serve stuck --queues=1 "fault:write=hang=5s:mem:8M"
head -c 4096 /dev/urandom >"$work/data"
client "$sock" write 0 <"$work/data" &
client_pid=$!
cleanup_fn "kill -KILL $client_pid"

is_refused()
{
	! vblkctl upgrade stuck 2>"$work/refused" && grep -q 'the backend does not answer' "$work/refused"
}

wait_until 5 is_refused
wait "$client_pid"
