#!/bin/bash
# SPDX-License-Identifier: MIT
#
# format.sh - clang-format would change nothing.

# shellcheck source=tests/lint/lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

# Other versions format differently.
tool=clang-format-14
command -v $tool >/dev/null || tool=clang-format
lint_needs $tool
$tool --version | grep -q 'version 14' ||
	lint_skip "the layout is that of clang-format 14, this is $($tool --version)"

while IFS= read -r file; do
	$tool --dry-run -Werror "$file" >/dev/null 2>&1 ||
		finding "$file: not formatted, run: $tool -i $file"
done < <(lint_files '*.c' '*.h')
lint_end
