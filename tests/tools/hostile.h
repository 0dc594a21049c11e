/* SPDX-License-Identifier: MIT */
/* What the parts of hostile-driver share. */
#ifndef TESTS_TOOLS_HOSTILE_H
#define TESTS_TOOLS_HOSTILE_H

#include "vhost_driver.h"

#define FEATURES_BASIC                                                                             \
	(BIT64(VIRTIO_F_VERSION_1) | BIT64(VIRTIO_F_ACCESS_PLATFORM) | BIT64(VIRTIO_BLK_F_FLUSH) | \
	 BIT64(VIRTIO_BLK_F_MQ) | BIT64(VIRTIO_BLK_F_DISCARD) | BIT64(VIRTIO_BLK_F_WRITE_ZEROES))
#define FEATURES_ALL \
	(FEATURES_BASIC | BIT64(VIRTIO_RING_F_INDIRECT_DESC) | BIT64(VIRTIO_RING_F_EVENT_IDX))

/* What an attack must lead to; in any case the other queue serves and nobody dies. */
enum outcome {
	BROKEN,	  /* queue 0 stops, told once in the log with @text */
	ANSWERED, /* one request of queue 0 comes back with @status */
	UNUSED,	  /* head comes back with nothing written: there was no status byte */
	ANY,	  /* nothing more is asked */
};

/**
 * struct attack - done by @run on a device that works with FEATURES_ALL
 * @text: of vq_fault_str()
 */
struct attack {
	const char *name;
	void (*run)(struct drv *d, const struct attack *attack);
	enum outcome outcome;
	uint8_t status;
	const char *text;
	/* for those that differ in numbers only */
	unsigned int cnt;
	struct vring_desc desc[4];
	uint32_t type;
	uint64_t sector;
	uint32_t len[2]; /* behind the header, before the status */
};

extern const struct attack hostile_chains[], hostile_requests[], hostile_deeds[];
extern const unsigned int hostile_chains_cnt, hostile_requests_cnt, hostile_deeds_cnt;

/* Header of the attacks in memory; its status byte follows it. */
#define AREA_IOVA  0x1000u
#define DATA_IOVA  0x10000u
#define TABLE_IOVA 0x2000u
/* Of the witness, on queue 1. */
#define WITNESS_IOVA	  0x3000u
#define WITNESS_DATA_IOVA 0x8000u

void hostile_behave(struct drv *d, unsigned int rounds);
/* The daemon answers on its control socket, and the worker is the same process as ever. */
void hostile_check_control(void);
/* Until the log says once more that queue 0 has stopped. */
void hostile_wait_broken(void);

#endif
