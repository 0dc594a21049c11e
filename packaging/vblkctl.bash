# shellcheck shell=bash
# SPDX-License-Identifier: MIT
#
# Completion of vblkctl and vblkd for bash, with or without the package
# bash-completion. Commands, options and the kind of their values are read from
# --help of the installed programs, so that what is offered is what they know;
# only values which --help has no list of stand here.

# _vblkd_run PROGRAM ARG...: also for users whose PATH has no sbin
_vblkd_run()
{
	(PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin "$@") 2>/dev/null
}

# _vblkd_options PROGRAM ARG...: of its --help, one a line: "--option" or
# "--option VALUE", where VALUE is the word of the help text
_vblkd_options()
{
	local line option='^ +(--[a-z][a-z0-9-]*)(\[?[= ]([^] ]+)\]?)?(  |$)'

	_vblkd_run "$@" --help | while IFS= read -r line; do
		[[ ! $line =~ $option ]] ||
			printf '%s\n' "${BASH_REMATCH[1]}${BASH_REMATCH[3]:+ ${BASH_REMATCH[3]}}"
	done
}

# _vblkd_words PREFIX WORD...: those that begin so
_vblkd_words()
{
	local prefix=$1 word

	shift
	for word; do
		[[ $word != "$prefix"* ]] || COMPREPLY+=("$word")
	done
}

_vblkd_files()
{
	compopt -o filenames 2>/dev/null
	mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -f -- "$1")
}

_vblkd_devices()
{
	local program=$1 cur=$2 names

	mapfile -t names < <(_vblkd_run "$program" list | awk 'NR > 1 { print $1 }')
	_vblkd_words "$cur" "${names[@]}"
}

# _vblkd_value CUR OPTION VALUE: what may stand there
_vblkd_value()
{
	local cur=$1 words

	case $2:$3 in
	--cache:*) words=(writeback writethrough) ;;
	--socket-mode:*) words=(0600 0660 0666) ;;
	--log-level:*) words=(error warning notice info debug) ;;
	*:*'|'*) IFS='|' read -ra words <<<"$3" ;;
	*:FILE | *:PATH) _vblkd_files "$cur"; return ;;
	*) return ;;
	esac
	_vblkd_words "$cur" "${words[@]}"
}

# _vblkd_backend CUR [PREVIOUS]: bash breaks words at colons
_vblkd_backend()
{
	case ${2-} in
	mem | null | fault) return ;;
	esac
	_vblkd_files "$1"
	case ${2-} in
	file | vhost-user) ;;
	*) _vblkd_words "$1" mem: null: vhost-user: ;;
	esac
	[ "${#COMPREPLY[@]}" != 1 ] || [[ ${COMPREPLY[0]} != *: ]] || compopt -o nospace 2>/dev/null
}

# _vblkd_positions PROGRAM COMMAND: the arguments that are no options, in order,
# from the line "Usage: ..."
_vblkd_positions()
{
	_vblkd_run "$1" "$2" --help |
		sed -nE '1 { s/^Usage: [^ ]+ [^ ]+ ?//; s/\[-[^][]*(\[[^]]*\])?[^][]*\]//g
			s/\[OPTION\](\.\.\.)?//; s/[].[]//g; p; }'
}

# _vblkd_arguments CUR PROGRAM OPTION...: completes the last of the words in
# $args; $kinds has what stands where no option does
_vblkd_arguments()
{
	local cur=$1 program=$2 option value i before='' position=0 last=$((${#args[@]} - 1))
	local -A values=()

	shift 2
	for option; do
		value=
		[[ $option != *' '* ]] || value=${option#* }
		values[${option%% *}]=$value
	done
	# Of the words before: "=" and ":" are words of their own.
	for ((i = 0; i < last; i++)); do
		option=${args[i]}
		if [ "$before" ]; then
			[ "$option" = "=" ] || before=
		elif [[ $option == -?* ]]; then
			[ -z "${values[$option]-}" ] || before=$option
		elif [ "$option" != : ] && { [ $i = 0 ] || [ "${args[i - 1]}" != : ]; }; then
			[ "${args[i + 1]-}" = : ] || position=$((position + 1))
		fi
	done
	if [ "$before" ]; then
		[ "$cur" != "=" ] || cur=
		_vblkd_value "$cur" "$before" "${values[$before]}"
	elif [[ $cur == -* ]]; then
		for option in "${!values[@]}"; do
			_vblkd_words "$cur" "$option${values[$option]:+=}"
		done
		[ "${#COMPREPLY[@]}" != 1 ] || [[ ${COMPREPLY[0]} != *= ]] ||
			compopt -o nospace 2>/dev/null
	else
		_vblkd_position "$cur" "$program" "${kinds[position]-}"
	fi
}

# _vblkd_position CUR PROGRAM KIND
_vblkd_position()
{
	local cur=$1 previous='' i=$((${#args[@]} - 2))

	if [ "$cur" = : ]; then
		cur=
		previous=${args[i]}
	elif [ $i -gt 0 ] && [ "${args[i]}" = : ]; then
		previous=${args[i - 1]}
	fi
	case $3 in
	NAME) _vblkd_devices "$2" "$cur" ;;
	BACKEND) _vblkd_backend "$cur" "$previous" ;;
	FILE | PATH) _vblkd_files "$cur" ;;
	COMMAND) _vblkd_words "$cur" "${commands[@]}" ;;
	esac
}

_vblkd()
{
	local options args=("${COMP_WORDS[@]:1:COMP_CWORD}") kinds=(BACKEND)

	COMPREPLY=()
	mapfile -t options < <(_vblkd_options "$1")
	_vblkd_arguments "${COMP_WORDS[COMP_CWORD]}" "$1" "${options[@]}"
}

_vblkctl()
{
	local program=$1 cur=${COMP_WORDS[COMP_CWORD]} command=${COMP_WORDS[1]} daemon=vblkd
	local commands options args=("${COMP_WORDS[@]:2:COMP_CWORD - 1}") kinds

	COMPREPLY=()
	[[ $program != */* ]] || daemon=${program%/*}/vblkd
	mapfile -t commands < <(_vblkd_run "$program" --help |
		awk '/^Commands:/ { on = 1; next } /^$/ { on = 0 } on { print $1 } END { print "help" }')
	if [ "$COMP_CWORD" = 1 ]; then
		[[ $cur != -* ]] || commands=(--help --version)
		_vblkd_words "$cur" "${commands[@]}"
		return
	fi
	case $command in
	attach | serve)
		kinds=(BACKEND)
		mapfile -t options < <(_vblkd_options "$daemon" | grep -vx -e --version)
		;;
	help)
		kinds=(COMMAND)
		options=()
		;;
	*)
		[[ " ${commands[*]} " == *" $command "* ]] || return 0
		mapfile -t options < <(_vblkd_options "$program" "$command"; echo --help)
		read -ra kinds < <(_vblkd_positions "$program" "$command")
		;;
	esac
	_vblkd_arguments "$cur" "$program" "${options[@]}"
}

complete -F _vblkctl vblkctl
complete -F _vblkd vblkd
