# shellcheck shell=bash
# SPDX-License-Identifier: MIT
#
# lib.sh - what the lint scripts have in common. Sourced, never run.
#
# Each script checks one thing, prints one line a finding as FILE:LINE: TEXT,
# and exits with 0 (clean), 1 (findings) or 77 (cannot check, with the reason).

set -euo pipefail

lint_top=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.." && pwd)
cd -- "$lint_top"
lint_findings=0

lint_skip()
{
	echo "skipped: $*"
	exit 77
}

lint_needs()
{
	local cmd

	for cmd; do
		command -v "$cmd" >/dev/null || lint_skip "$cmd is not installed"
	done
}

finding()
{
	printf '%s\n' "$*"
	lint_findings=$((lint_findings + 1))
}

lint_end()
{
	if [ "$lint_findings" -gt 0 ]; then
		echo "$lint_findings findings"
		exit 1
	fi
	echo "clean"
}

# lint_files PATTERN...: the files of the project that match, whether or not
# they are committed yet; without git, all that are there.
lint_files()
{
	if git rev-parse --is-inside-work-tree >/dev/null 2>&1; then
		git ls-files --cached --others --exclude-standard -- "$@" |
			while IFS= read -r file; do
				[ ! -f "$file" ] || printf '%s\n' "$file"
			done
	else
		local pattern

		for pattern; do
			find . -path './build*' -prune -o -type f -path "./$pattern" -print
		done | sed 's|^\./||' | sort -u
	fi
}
