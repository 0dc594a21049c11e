#!/bin/bash
# SPDX-License-Identifier: MIT
# timeout: 240
# A file tree written through the disk is in the image, byte for byte.
# shellcheck source=tests/kernel/filesystem.inc
. "$(dirname -- "${BASH_SOURCE[0]}")/filesystem.inc"

round_trip xfs
