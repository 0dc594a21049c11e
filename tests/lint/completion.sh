#!/bin/bash
# SPDX-License-Identifier: MIT
#
# completion.sh - the completions of bash and zsh offer every command and option
# of --help, and something for every value that is not free text.
#
# usage: completion.sh BUILD_DIR

build=${1:-${VBLKD_BUILD_DIR:-build}/dev}
build=$(realpath -- "$build")

# shellcheck source=tests/lint/lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

# What --help calls values for which nothing can be offered.
free='N|NUMBER|TEXT|NAME|SECONDS|SEC|MS|BYTES|SIZE|COUNT|USER|ADDRESS|FD'

[ -x "$build/bin/vblkctl" ] && [ -x "$build/bin/vblkd" ] ||
	{ finding "vblkctl and vblkd have not been built"; lint_end; }
work=$(mktemp -d)
trap 'rm -rf -- "$work"' EXIT
mkdir -- "$work/bin" "$work/files"
: >"$work/files/disk.img"
: >"$work/files/disk 2.img"
ln -s -- "$build/bin/vblkd" "$work/bin/vblkd"

# Of devices only the list is asked for, and this host has none.
cat >"$work/bin/vblkctl" <<-END
	#!/bin/sh
	[ "\$*" != list ] || { printf 'NAME  NODE\nalpha  /dev/vda\nbeta.2  -\n'; exit; }
	exec '$build/bin/vblkctl' "\$@"
END
chmod 755 -- "$work/bin/vblkctl"
PATH=$work/bin:$PATH

# ---- what is asked ----

# Lines "LINE<tab>WANTED...": completed at the end of LINE, all of these must be
# offered, "_" standing for a blank; "=" means nothing else, "?" anything.
cases=$work/cases

# options_of PROGRAM ARG...: lines "--option[ VALUE]" of its --help
options_of()
{
	"$@" --help | sed -nE 's/^ +(--[a-z][a-z0-9-]*)(\[?[= ]([^] ]+))?.*/\1 \3/p'
}

commands=$("$build/bin/vblkctl" --help |
	awk '/^Commands:/ { on = 1; next } /^$/ { on = 0 } on { print $1 }')
[ -n "$commands" ] || finding "vblkctl --help lists no commands"

# case_options LINE PROGRAM ARG...: every option, and values of those that have any
case_options()
{
	local line=$1 option value

	shift
	options_of "$@" >"$work/options"
	printf '%s --\t' "$line"
	awk '{ printf "%s ", $1 }' "$work/options"
	echo
	while read -r option value; do
		case $value in
		'') ;;
		*'|'*) printf '%s %s=\t= %s\n' "$line" "$option" "${value//|/ }" ;;
		*) [[ $value =~ ^($free)$ ]] || printf '%s %s=\t?\n' "$line" "$option" ;;
		esac
	done <"$work/options"
}

{
	printf 'vblkctl \t= %s help\n' "${commands//$'\n'/ }"
	printf 'vblkctl help \t= %s help\n' "${commands//$'\n'/ }"
	for command in $commands; do
		case_options "vblkctl $command" "$build/bin/vblkctl" "$command"
		printf 'vblkctl %s \t%s\n' "$command" "$(case $("$build/bin/vblkctl" "$command" --help |
			head -n 1) in
		*\ NAME* | *\[NAME*) echo '= alpha beta.2' ;;
		*\ BACKEND*) echo 'mem: null: disk.img' ;;
		esac)"
	done
	case_options vblkd "$build/bin/vblkd"
	"$build/bin/vblkd" --help | grep -q -- --detached ||
		case_options 'vblkctl attach' "$build/bin/vblkd" | sed 's/--version//'
	cat <<-'END'
		vblkctl --	= --help --version
		vblkctl de	= detach
		vblkctl detach a	= alpha
		vblkctl detach --force --timeout 5 b	= beta.2
		vblkctl detach --timeout=5 	= alpha beta.2
		vblkctl detach alpha 	=
		vblkctl detach --f	= --force
		vblkctl resize alpha 	=
		vblkctl resize --force 	= alpha beta.2
		vblkctl nonsense 	=
		vblkctl attach --cache=	= writeback writethrough
		vblkctl attach --cache=writeb	= writeback
		vblkctl attach --cache 	= writeback writethrough
		vblkctl attach --cache=writeback --umem=o	= on off
		vblkctl attach --cache=writeback d	= disk.img disk_2.img
		vblkctl attach --name x m	= mem:
		vblkctl attach --name 	=
		vblkctl attach mem:	=
		vblkctl attach file:d	= disk.img disk_2.img
		vblkctl attach disk.img 	=
		vblkd --log-level=	= error warning notice info debug
		vblkd --log-level=debug --read-only di	= disk.img disk_2.img
		vblkd --versi	= --version
		vblkctl attach --versi	=
	END
} >"$cases"

# judge SHELL LINE WANTED OFFERED-FILE
judge()
{
	local shell=$1 line=$2 offered=$4 word words
	local -A had=()

	mapfile -t words <"$offered"
	for word in "${words[@]}"; do
		word=${word%=}
		had[${word// /_}]=1
	done
	case $3 in
	'?')
		[ ${#words[@]} -gt 0 ] || finding "$shell: nothing offered after '$line'"
		return
		;;
	esac
	for word in ${3#=}; do
		[ -n "${had[$word]-}" ] || finding "$shell: '$word' not offered after '$line'"
		unset "had[$word]"
	done
	[[ $3 != =* ]] || for word in "${!had[@]}"; do
		# When no argument can follow, zsh has options to offer.
		[[ $shell$line$word == zsh*\ --* ]] || finding "$shell: '$word' offered after '$line'"
	done
}

# ---- bash ----

# complete_bash LINE: what the function leaves in COMPREPLY, one a line
complete_bash()
{
	bash -c '
		cd -- "$2" || exit
		. "$1"
		IFS=" " read -ra COMP_WORDS < <(sed "s/[=:]/ & /g" <<<"$3")
		[[ $3 != *" " ]] || COMP_WORDS+=("")
		COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
		"_${COMP_WORDS[0]}" "${COMP_WORDS[0]}" "${COMP_WORDS[COMP_CWORD]}" ""
		[ ${#COMPREPLY[@]} = 0 ] || printf "%s\n" "${COMPREPLY[@]}"
		' - "$lint_top/packaging/vblkctl.bash" "$work/files" "$1"
}

lines=0
while IFS=$'\t' read -r line wanted; do
	complete_bash "$line" >"$work/offered" 2>"$work/stderr" ||
		finding "bash: completion of '$line' fails"
	[ ! -s "$work/stderr" ] || finding "bash: after '$line': $(head -n 1 "$work/stderr")"
	judge bash "$line" "$wanted" "$work/offered"
	lines=$((lines + 1))
done <"$cases"
echo "bash: $lines lines"

# ---- zsh ----

if command -v zsh >/dev/null; then
	zsh -n packaging/_vblkctl || finding "zsh: packaging/_vblkctl has a syntax error"
	mkdir -- "$work/answers"
	zsh -f tests/lint/completion.zsh "$lint_top/packaging" "$work/files" "$cases" "$work/answers" \
		2>&1 | tail -n 5
	lines=0
	while IFS=$'\t' read -r line wanted; do
		lines=$((lines + 1))
		[ -e "$work/answers/$lines" ] || { finding "zsh: no answer after '$line'"; continue; }
		judge zsh "$line" "$wanted" "$work/answers/$lines"
	done <"$cases"
	echo "zsh: $lines lines"
else
	echo "zsh is not installed, its completion was not tried"
fi
lint_end
