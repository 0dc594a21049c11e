#!/bin/bash
# SPDX-License-Identifier: MIT
# timeout: 400
# Under verified load: worker and keeper are stopped for up to two seconds and go
# on; a stopped worker is killed; the worker dies while its keeper is stopped.
# And the worker is killed ten times in a row, each time in the first 50 ms of
# its life: I/O comes back, and soon.
# shellcheck source=tests/kernel/kill.inc
. "$(dirname -- "${BASH_SOURCE[0]}")/kill.inc"

rounds=$(kills_of 10 60)
dev=stop
image=$(make_image 32M)
attach stop --queues=2 "$image"

# Nothing is done again by a successor here: writes may overlap.
harm stop-worker,stop-keeper $(((rounds + 1) / 2)) --overlap
harm stop-kill,stop-keeper-kill $(((rounds + 1) / 2))
gap_figures "after SIGCONT or SIGKILL"

: >"$gaps"
harm early $((rounds / 2)) --burst 10
gap_figures "10 kills in a row"

detach stop
