#!/bin/bash
# SPDX-License-Identifier: MIT
#
# messages.sh - each message of the sources stands in vblkd-messages(7) with what
# to do, and nothing else does. It prints the line to add for a new message.

# shellcheck source=tests/lint/lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

lint_needs python3
exec python3 tests/lint/messages.py
