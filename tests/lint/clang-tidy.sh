#!/bin/bash
# SPDX-License-Identifier: MIT
#
# clang-tidy.sh - static analysis with clang-tidy; the checks are in .clang-tidy.
#
# usage: clang-tidy.sh BUILD_DIR

build=${1:-${VBLKD_BUILD_DIR:-build}/dev}
build=$(realpath -- "$build")

# shellcheck source=tests/lint/lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

lint_needs clang-tidy
[ -f "$build/compile_commands.json" ] || lint_skip "$build has no compile_commands.json"

mapfile -t files < <(lint_files 'src/*.c' 'vdpa-tools/*.c' |
	while IFS= read -r file; do
		! grep -qF "/$file\"" "$build/compile_commands.json" || printf '%s\n' "$file"
	done)
# Without the path that leads to a finding: run clang-tidy on the file for that.
while IFS= read -r line; do
	finding "${line#"$lint_top"/}"
done < <(printf '%s\0' "${files[@]}" |
	xargs -0 -n 4 -P 2 clang-tidy --quiet -p "$build" 2>/dev/null |
	grep -E ': (error|warning): ' | sort -u)
lint_end
