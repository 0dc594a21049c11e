/* SPDX-License-Identifier: MIT */
/* For tests/perf/run --safety: the record of requests in flight is never written. */
#ifndef VBLK_WITHOUT_INFLIGHT_H
#define VBLK_WITHOUT_INFLIGHT_H

#include "../../../src/virtqueue/vq_store.h"

#define vq_store_record16(p, v) ((void)(p), (void)(v))
#define vq_store_record64(p, v) ((void)(p), (void)(v))

#endif
