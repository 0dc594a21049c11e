#!/bin/bash
# SPDX-License-Identifier: MIT
#
# spelling.sh - common misspellings in sources and documents.

# shellcheck source=tests/lint/lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

lint_needs codespell

# Words that are right here but look wrong.
words=aare,ba,fo,hist,inflight,inout,nd,parms,te,tre,ue

mapfile -t files < <(lint_files '*' | grep -v '^tests/fuzz/corpus/')
codespell --ignore-words-list=$words -- "${files[@]}" || finding "codespell is not content"
lint_end
