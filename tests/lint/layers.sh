#!/bin/bash
# SPDX-License-Identifier: MIT
#
# layers.sh - check the include lines and the link lists against layers.txt.

# shellcheck source=tests/lint/lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

table=tests/lint/layers.txt
declare -A may_use=()		# module -> " module module "
declare -A header_paths=()	# prefix -> " path path "
declare -A uses=()		# module -> " module module " as included

read_table()
{
	local kind name rest

	while read -r kind name rest; do
		case $kind in
		'' | '#'*) ;;
		module) may_use[${name%:}]=" $rest " ;;
		header) header_paths[${name%:}]=" $rest " ;;
		*) finding "$table: unknown word '$kind'" ;;
		esac
	done <"$table"
}

module_of()
{
	case $1 in
	src/*/*) module=${1#src/}; module=${module%%/*} ;;
	include/vblk/*/*) module=${1#include/vblk/}; module=${module%%/*} ;;
	vdpa-tools/*) module=vdpa-tools ;;
	esac
}

check_own_include()
{
	local at=$1 file=$2 header=$3 other

	case $header in
	vblk/*/*) other=${header#vblk/}; other=${other%%/*} ;;
	*/*)
		finding "$at: \"$header\": only headers of the own folder and of include/"
		return
		;;
	*)
		[ -f "${file%/*}/$header" ] ||
			finding "$at: \"$header\" is not in ${file%/*}: private headers stay private"
		return
		;;
	esac
	[ "$other" != "$module" ] || return 0
	[[ ${uses[$module]-} == *" $other "* ]] || uses[$module]="${uses[$module]- } $other "
	[[ ${may_use[$module]} == *" $other "* ]] ||
		finding "$at: $module may not include \"$header\" (see $table)"
}

check_third_party()
{
	local at=$1 file=$2 header=$3 prefix path

	for prefix in "${!header_paths[@]}"; do
		[[ $header == "$prefix"* ]] || continue
		for path in ${header_paths[$prefix]}; do
			[[ $file != "$path"* ]] || continue 2
		done
		finding "$at: <$header> belongs to${header_paths[$prefix]% } only (see $table)"
	done
}

check_file()
{
	local file=$1 line text header
	local pattern='^[[:space:]]*#[[:space:]]*include[[:space:]]*([<"])([^">]+)'

	module_of "$file"
	if [ -z "${may_use[$module]+x}" ]; then
		finding "$file: module '$module' is not in $table"
		return
	fi
	while IFS=: read -r line text; do
		[[ $text =~ $pattern ]] || continue
		header=${BASH_REMATCH[2]}
		if [ "${BASH_REMATCH[1]}" = '"' ]; then
			check_own_include "$file:$line" "$file" "$header"
		else
			check_third_party "$file:$line" "$file" "$header"
		fi
	done < <(grep -nE '^[[:space:]]*#[[:space:]]*include' "$file")
}

# Linked modules must be allowed, and what is included must be linked.
check_link_list()
{
	local file=$1 linked other

	module_of "$file"
	linked=" $(sed 's/#.*//' "$file" | grep -oE '\bvblk_[a-z_]+' | sed 's/^vblk_//' |
		sort -u | tr '\n' ' ') "
	for other in $linked; do
		case $other in
		module | options | "$module") continue ;;
		esac
		[[ ${may_use[$module]-} == *" $other "* ]] ||
			finding "$file: $module may not link vblk_$other (see $table)"
	done
	for other in ${uses[$module]-}; do
		[[ $linked == *" $other "* ]] ||
			finding "$file: $module includes \"vblk/$other/...\" but does not link vblk_$other"
	done
}

read_table
while IFS= read -r file; do
	check_file "$file"
done < <(lint_files 'src/*/*.[ch]' 'include/vblk/*/*.h' 'vdpa-tools/*.[ch]')
for file in src/*/CMakeLists.txt vdpa-tools/CMakeLists.txt; do
	[ ! -f "$file" ] || check_link_list "$file"
done
lint_end
