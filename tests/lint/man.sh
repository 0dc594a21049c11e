#!/bin/bash
# SPDX-License-Identifier: MIT
#
# man.sh - the man pages have no syntax error, and groff can set them on a
# terminal of 80 columns (what lintian looks at, too).

# shellcheck source=tests/lint/lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

lint_needs mandoc groff man
mapfile -t pages < <(lint_files 'man/*.[1-8]')
[ ${#pages[@]} -gt 0 ] || finding "there are no man pages"

# The level below "warning" is a matter of taste, and so is the order of
# sections: EXAMPLES come early here.
taste='sections out of conventional order|unusual Xr order'
for page in "${pages[@]}"; do
	while IFS= read -r line; do
		finding "${line#mandoc: }"
	done < <(mandoc -T lint -W warning "$page" | grep -vE "$taste")
	while IFS= read -r line; do
		finding "$page:${line#troff: <standard input>:}"
	done < <(LC_ALL=C.UTF-8 MANROFFSEQ='' MANWIDTH=80 \
		man --warnings -E UTF-8 -l -Tutf8 -Z "$page" 2>&1 >/dev/null)
done
lint_end
