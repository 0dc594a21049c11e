# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154,SC2209 # variables go from file to file
# SPDX-License-Identifier: MIT
#
# jobs.sh - what fio does in each cell. Sourced, never run.
#
# Buffers are on huge pages: then a request of 128 KiB is always one segment.
# From the page allocator it is any number up to 32, by luck, and each costs
# time. Otherwise fio's own defaults, so that anyone can compare.

# NAME  RW  BLOCK  DEPTH  OTHER ARGUMENTS
ALL_JOBS='
randread-4k-qd1    randread  4k   1
randread-4k-qd4    randread  4k   4
randread-4k-qd32   randread  4k   32
randread-4k-qd128  randread  4k   128
randwrite-4k-qd1   randwrite 4k   1
randwrite-4k-qd4   randwrite 4k   4
randwrite-4k-qd32  randwrite 4k   32
randwrite-4k-qd128 randwrite 4k   128
mix70-4k-qd32      randrw    4k   32  --rwmixread=70
fsync-4k-qd1       randwrite 4k   1   --fdatasync=1
read-64k-qd8       read      64k  8
read-128k-qd8      read      128k 8
read-1m-qd8        read      1m   8
write-64k-qd8      write     64k  8
write-128k-qd8     write     128k 8
write-1m-qd8       write     1m   8
'

# Of --scale, and of --smp2: two threads that do I/O at once.
EXTRA_JOBS='
randread-4k-qd2      randread  4k   2
randread-4k-qd8      randread  4k   8
randread-4k-qd16     randread  4k   16
randread-4k-qd64     randread  4k   64
randread-4k-qd256    randread  4k   256
randread-4k-qd512    randread  4k   512
randread-4k-qd1024   randread  4k   1024
randread-4k-qd1-2j   randread  4k   1   --numjobs=2
randread-4k-qd32-2j  randread  4k   32  --numjobs=2
randwrite-4k-qd32-2j randwrite 4k   32  --numjobs=2
'

QUICK_JOBS='randread-4k-qd1 randread-4k-qd32 randwrite-4k-qd32 read-128k-qd8'
SMP2_JOBS='randread-4k-qd1 randread-4k-qd32 randwrite-4k-qd32 randread-4k-qd1-2j randread-4k-qd32-2j
	randwrite-4k-qd32-2j'
DEPTH_JOBS='randread-4k-qd1 randread-4k-qd2 randread-4k-qd4 randread-4k-qd8 randread-4k-qd16 randread-4k-qd32
	randread-4k-qd64 randread-4k-qd128 randread-4k-qd256 randread-4k-qd512 randread-4k-qd1024'

job_names()
{
	awk 'NF { print $1 }' <<<"$ALL_JOBS${1:+$EXTRA_JOBS}"
}

# job_args NAME: sets $job_args, without the file, the time and the output
job_args()
{
	local line name rw block depth other

	line=$(grep -E "^$1 " <<<"$ALL_JOBS$EXTRA_JOBS") || return 1
	read -r name rw block depth other <<<"$line"
	# shellcheck disable=SC2206 # words
	job_args=(--rw="$rw" --bs="$block" --iodepth="$depth" $other
		--ioengine=io_uring --direct=1 --mem=mmaphuge --group_reporting)
}
