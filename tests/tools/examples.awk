# SPDX-License-Identifier: MIT
#
# examples.awk - the examples in Markdown and mdoc files, as lines
#
#	block FILE:LINE		one begins
#	command TEXT
#	output TEXT		what the command before prints
#	config TEXT		a line of a configuration file
#
# An example is a fenced block of a .md file, a ".Bd -literal" block of a man page, or a
# command of ours that begins a row of a Markdown table. In a block commands stand behind
# "# "; one without any such line is all commands, or, when it begins with "[", a
# configuration file. A block with characters of drawings is a drawing.

function flush_block(    i, prompt, kind)
{
	if (cnt && lines[1] !~ /[─│┌└]/ && lines[1] !~ /──/) {
		print "block " FILENAME ":" start
		for (i = 1; i <= cnt; i++)
			if (lines[i] ~ /^# /)
				prompt = 1
		for (i = 1; i <= cnt; i++) {
			if (lines[1] ~ /^\[/)
				print "config " lines[i]
			else if (!prompt || lines[i] ~ /^# /)
				print "command " (prompt ? substr(lines[i], 3) : lines[i])
			else
				print "output " lines[i]
		}
	}
	on = cnt = 0
}

function unescape(text)
{
	gsub(/\\e/, "\\", text)
	gsub(/\\-/, "-", text)
	gsub(/\\&/, "", text)
	return text
}

FNR == 1 { on = cnt = 0; markdown = FILENAME ~ /\.md$/ }
markdown && /^```/ { if (on) flush_block(); else { on = 1; start = FNR }; next }
!markdown && /^\.Bd -literal/ { on = 1; start = FNR; next }
!markdown && on && /^\.Ed/ { flush_block(); next }
on { lines[++cnt] = markdown ? $0 : unescape($0); next }
markdown && /^\| `vblk(ctl|d) / {
	text = $0
	sub(/^\| `/, "", text)
	sub(/`.*/, "", text)
	print "block " FILENAME ":" FNR
	print "command " text
}
