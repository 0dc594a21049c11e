# SPDX-License-Identifier: MIT
#
# completion.zsh - what zsh offers at the end of given lines: a shell on a
# terminal of its own completes them, and what its functions add is written down.
#
# usage: zsh -f completion.zsh FUNCTION_DIR WORK_DIR CASES ANSWER_DIR
#
# Each line of CASES is completed up to its tab; the words go to ANSWER_DIR/N.

zmodload zsh/zpty zsh/zselect
functions_dir=$1 work=$2 cases=$3 answers=$4

child='
PS1= PS2= RPS1=
unsetopt zle_bracketed_paste beep
stty -echo
fpath=('${(q)functions_dir}' $fpath)
autoload -Uz compinit
compinit -D -u
zstyle ":completion:*" menu no
cd -q '${(q)work}'

# Asked to give the matches back, it is the builtin; else what it adds is noted.
compadd()
{
	local -a hits
	local suffix i

	if [[ ${*[1,(i)(-|--)]} == *-(O|A|D)\ * ]]; then
		builtin compadd "$@"
		return
	fi
	builtin compadd -A hits "$@"
	for i in $hits; do
		print -r -- ${(Q)i}
	done >>$answer
	builtin compadd "$@"
}
note-words()
{
	answer='${(q)answers}'/.new
	: >$answer
	zle list-choices
	mv -- $answer '${(q)answers}'/$number
	BUFFER=
}
zle -N note-words
bindkey "^I" note-words
: >'${(q)answers}'/.ready
'

# await FILE: its output would fill the terminal, hence it is read meanwhile
await()
{
	local out end=$((SECONDS + 60))

	while [[ $SECONDS -lt $end ]]; do
		[[ ! -e $1 ]] || return 0
		zpty -r shell out || zselect -t 1
	done
	print -r -- "zsh does not answer"
	return 1
}

zpty -b shell 'zsh -f -i'
print -r -- $child >$answers/.child
zpty -w shell "source ${(q)answers}/.child"
await $answers/.ready
n=0
while IFS=$'\t' read -r line _; do
	n=$((n + 1))
	zpty -w shell "number=$n"
	zpty -w -n shell "$line"$'\t'
	await $answers/$n || break
done <$cases
zpty -d shell
