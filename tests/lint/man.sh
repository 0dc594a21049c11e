#!/bin/bash
# SPDX-License-Identifier: MIT
#
# man.sh - the man pages have no syntax error.

# shellcheck source=tests/lint/lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

lint_needs mandoc
mapfile -t pages < <(lint_files 'man/*.[1-8]')
[ ${#pages[@]} -gt 0 ] || finding "there are no man pages"

# The level below "warning" is a matter of taste, and so is the order of
# sections: EXAMPLES come early here.
taste='sections out of conventional order|unusual Xr order'
for page in "${pages[@]}"; do
	while IFS= read -r line; do
		finding "${line#mandoc: }"
	done < <(mandoc -T lint -W warning "$page" | grep -vE "$taste")
done
lint_end
