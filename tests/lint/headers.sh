#!/bin/bash
# SPDX-License-Identifier: MIT
#
# headers.sh - each header compiles alone, and twice in one file.

# shellcheck source=tests/lint/lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

cc=${CC:-cc}
lint_needs "$cc" pkg-config
read -ra packages <<<"$(pkg-config --cflags liburing libnl-genl-3.0 libcap-ng libseccomp libsystemd jansson)"

while IFS= read -r file; do
	printf '#include "%s"\n#include "%s"\n' "$file" "$file" |
		"$cc" -std=gnu11 -D_GNU_SOURCE -DVBLK_VERSION='"0"' -Wall -Wextra -Werror \
			-Wno-unused-function -I. -Iinclude -Itests/fake -I"${file%/*}" \
			"${packages[@]}" \
			-fsyntax-only -x c - || finding "$file: does not compile alone"
done < <(lint_files '*.h')
lint_end
