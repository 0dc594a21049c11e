#!/bin/bash
# SPDX-License-Identifier: MIT
#
# shell.sh - shellcheck on all shell scripts.

# shellcheck source=tests/lint/lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

lint_needs shellcheck

shell_scripts()
{
	local file first

	while IFS= read -r file; do
		case $file in
		*.sh) printf '%s\n' "$file"; continue ;;
		*.c | *.h | *.md | *.txt | *.cmake | tests/fuzz/corpus/*) continue ;;
		esac
		first=
		IFS= read -r first <"$file" 2>/dev/null || :
		[[ ! $first =~ ^#!.*(/| )(ba|da|busybox\ )?sh ]] || printf '%s\n' "$file"
	done < <(lint_files '*')
}

mapfile -t scripts < <(shell_scripts 2>/dev/null)
# SC2015: A && B || C is used with B that cannot fail, or where C may run.
# SC2016: code for another shell. SC2119, SC2120: optional arguments. SC1091: a
# file which is there only at run time. SC2187: busybox's shell is checked as
# dash. SC2317: functions called by a trap or by name.
shellcheck -x --source-path=. --exclude=SC1091,SC2015,SC2016,SC2119,SC2120,SC2187,SC2317 "${scripts[@]}" || finding "shellcheck is not content"
echo "${#scripts[@]} scripts"
lint_end
