#!/bin/bash
# SPDX-License-Identifier: MIT
#
# paths.sh - nothing of the machine where it was written stands in the files:
# no path of the work tree, no home directory, no package mirror.

# shellcheck source=tests/lint/lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

git rev-parse --is-inside-work-tree >/dev/null 2>&1 || lint_skip "not a git work tree"

well_known='(^|\.)(debian|ubuntu|kernel|github|gitlab|pypi|python|golang|npmjs)\.(org|com|io)$'
well_known+='|^localhost$|^127\.'

# Hosts that this machine gets its packages from.
local_hosts()
{
	{
		cat /etc/apt/sources.list /etc/apt/sources.list.d/* /etc/apt/apt.conf.d/* \
			/etc/pip.conf 2>/dev/null || :
		env | grep -iE '^[a-z_]*(proxy|registry|index_url)=' || :
	} | grep -v '^[[:space:]]*#' | grep -oE '[a-z]+://[^/[:space:]",:]+' |
		sed 's|.*://||; s|.*@||' | sort -u | grep -vE "$well_known" || :
}

search()
{
	local why=$1 line

	shift
	while IFS= read -r line; do
		finding "$line: $why"
	done < <(git grep -nI --untracked "$@" -- ':!tests/lint/paths.sh' | cut -c 1-160)
}

# A short path such as /src would be found in many an innocent line.
[[ $lint_top != /*/* ]] || search "path of the work tree" -F "$lint_top"
search "a home directory" -E '/home/[a-z][a-z0-9_-]+/'
while IFS= read -r host; do
	[[ $host != *.* ]] || search "a host of this machine's configuration" -F "$host"
done < <(local_hosts)
lint_end
