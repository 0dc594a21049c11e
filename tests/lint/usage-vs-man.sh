#!/bin/bash
# SPDX-License-Identifier: MIT
#
# usage-vs-man.sh - --help and the man page name the same options and commands.
#
# usage: usage-vs-man.sh BUILD_DIR

build=${1:-${VBLKD_BUILD_DIR:-build}/dev}
build=$(realpath -- "$build")

# shellcheck source=tests/lint/lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

lint_needs mandoc

# Man pages may quote options of other programs: those, and only those, are
# named here.
foreign='--bind|--now'

vblkd=$build/bin/vblkd
vblkctl=$build/bin/vblkctl
work=$(mktemp -d)
trap 'rm -rf -- "$work"' EXIT

options_in()
{
	grep -oE -- '(^|[^A-Za-z0-9-])--[a-z][a-z0-9-]*' | grep -oE -- '--[a-z0-9-]+' | sort -u
}

# Wide lines and no backspaces: no word is broken or doubled.
man_text()
{
	mandoc -T ascii -O width=900 "$1" | sed 's/.\x08//g'
}

# Command names: the first word of the indented lines below "Commands:".
commands_in()
{
	awk '/^Commands:?$/ { on = 1; next } /^[^ \t]/ { on = 0 }
	     on && /^ +[a-z]/ { print $1 }'
}

help_of()
{
	"$@" --help 2>"$work/stderr" || finding "'${*##*/} --help' fails"
	[ ! -s "$work/stderr" ] || finding "'${*##*/} --help' writes to stderr"
}

# missing PROGRAM: options of its --help that its man page has not
missing()
{
	local option

	while IFS= read -r option; do
		finding "man/$1.8: --help has $option, the man page has not"
	done < <(comm -23 "$work/$1.help" "$work/$1.man")
}

# stray PROGRAM: options of its man page that no --help has
stray()
{
	local option

	while IFS= read -r option; do
		[[ $option =~ ^($foreign)$ ]] ||
			finding "man/$1.8: has $option, which no --help knows"
	done < <(sort -u "$work/vblkd.help" "$work/vblkctl.help" | comm -13 - "$work/$1.man")
}

check_commands()
{
	local command

	[ -s "$work/commands" ] || finding "vblkctl --help lists no commands"
	while IFS= read -r command; do
		grep -qE "(^|[^a-z])$command([^a-z]|$)" "$work/vblkctl.txt" ||
			finding "man/vblkctl.8: nothing about 'vblkctl $command'"
	done <"$work/commands"
}

for program in "$vblkd" "$vblkctl"; do
	[ -x "$program" ] || { finding "${program##*/} has not been built"; lint_end; }
	page=man/${program##*/}.8
	[ -f "$page" ] || { finding "$page is missing"; lint_end; }
	man_text "$page" >"$work/${program##*/}.txt"
	options_in <"$work/${program##*/}.txt" >"$work/${program##*/}.man" || :
done

help_of "$vblkd" >"$work/text"
options_in <"$work/text" >"$work/vblkd.help"
help_of "$vblkctl" >"$work/text"
commands_in <"$work/text" >"$work/commands"
while IFS= read -r command; do
	[ "$command" = help ] || help_of "$vblkctl" "$command" >>"$work/text"
done <"$work/commands"
options_in <"$work/text" >"$work/vblkctl.help"

# Every option is a key of the configuration file, but those that begin or end there.
keys()
{
	local option

	mandoc -T ascii -O width=900 man/vblkd.conf.5 | sed 's/.\x08//g' >"$work/conf.txt"
	while IFS= read -r option; do
		[[ $option =~ ^--(help|version|config|check-config)$ ]] ||
			grep -qE -- "(^|[^a-z-])${option#--}([^a-z-]|$)" "$work/conf.txt" ||
			finding "man/vblkd.conf.5: nothing about the key '${option#--}'"
	done <"$work/vblkd.help"
}

keys
missing vblkd
missing vblkctl
stray vblkd
stray vblkctl
check_commands
lint_end
