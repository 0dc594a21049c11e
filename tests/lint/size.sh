#!/bin/bash
# SPDX-License-Identifier: MIT
#
# size.sh - no file above 800 lines, no function above 100.

# shellcheck source=tests/lint/lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

file_max=800
function_max=100

# In this layout a function, and nothing else, has its braces in column 1.
long_functions()
{
	awk -v max=$function_max '
		/^[A-Za-z_].*\(/ { name = $0; sub(/\(.*/, "", name); sub(/.*[ *]/, "", name) }
		/^(\{|START_TEST)/ { start = FNR }
		/^\}/ && start {
			len = FNR - start + 1
			if (len > max)
				printf "%s:%d: %s has %d lines, at most %d\n",
				       FILENAME, start, name, len, max
			start = 0
		}' "$1"
}

while IFS= read -r file; do
	lines=$(wc -l <"$file")
	[ "$lines" -le $file_max ] ||
		finding "$file:$file_max: has $lines lines, at most $file_max"
	while IFS= read -r line; do
		finding "$line"
	done < <(long_functions "$file")
done < <(lint_files '*.c' '*.h')
lint_end
