#!/bin/bash
# SPDX-License-Identifier: MIT
#
# cppcheck.sh - static analysis with cppcheck.

# shellcheck source=tests/lint/lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

lint_needs cppcheck
mapfile -t files < <(lint_files 'src/*.c' 'vdpa-tools/*.c')

# One configuration (all our #ifdefs guard old system headers), and a false
# report is silenced beside the line it is about: // cppcheck-suppress. It does
# not understand the cleanup attribute, so leaks are left to clang-tidy and the
# sanitizers, nor statement expressions in every place (internalAstError).
cppcheck --quiet -j2 --std=c11 --language=c -D_GNU_SOURCE -DVBLK_VERSION='"0"' -D__linux__ \
	-D__x86_64__ --max-configs=1 -Iinclude -Itests/fake --inline-suppr \
	--enable=warning,performance,portability \
	--suppress=missingIncludeSystem --suppress=missingInclude \
	--suppress=memleak --suppress=resourceLeak --suppress=internalAstError \
	--error-exitcode=1 --template='{file}:{line}: {severity}: {message} [{id}]' \
	"${files[@]}" || finding "cppcheck is not content"
lint_end
