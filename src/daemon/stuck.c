/* SPDX-License-Identifier: MIT */
#include "stuck.h"

#include <inttypes.h>
#include <stdio.h>

#include "vblk/util/clock.h"
#include "vblk/util/math.h"
#include "vblk/util/parse.h"

static void insert(struct stuck_list *list, const struct stuck_request *req)
{
	unsigned int at = list->cnt;

	while (at && list->req[at - 1].held.taken_ns > req->held.taken_ns)
		at--;
	if (at == STUCK_MAX)
		return;
	list->cnt = MIN(list->cnt + 1, STUCK_MAX);
	for (unsigned int i = list->cnt - 1; i > at; i--)
		list->req[i] = list->req[i - 1];
	list->req[at] = *req;
}

void stuck_find(const struct vdev *vdev, unsigned int age_ms, struct stuck_list *ret_list)
{
	struct blk_held held[STUCK_MAX];
	unsigned int cnt, total_cnt;
	uint64_t age_ns = age_ms * NSEC_PER_MSEC;

	*ret_list = (struct stuck_list){ .now_ns = clock_now_ns() };
	if (ret_list->now_ns < age_ns)
		return;
	for (unsigned int i = 0; i < vdev_queue_cnt(vdev); i++) {
		cnt = vdev_queue_oldest(vdev, i, ret_list->now_ns - age_ns, held, STUCK_MAX,
					&total_cnt);
		ret_list->total_cnt += total_cnt;
		for (unsigned int j = 0; j < cnt; j++)
			insert(ret_list, &(struct stuck_request){ i, held[j] });
	}
}

/* A whole number of the largest unit that fits: nothing is rounded, one can look for it. */
static const char *exact_size(uint64_t bytes, char buf[FORMAT_SIZE_MAX])
{
	static const char units[] = "BKMGT";
	unsigned int unit = 0;

	while (bytes && bytes % 1024 == 0 && unit + 2 < sizeof(units)) {
		bytes /= 1024;
		unit++;
	}
	if (bytes)
		(void)snprintf(buf, FORMAT_SIZE_MAX, "%" PRIu64 "%c", bytes, units[unit]);
	else
		(void)snprintf(buf, FORMAT_SIZE_MAX, "0");
	return buf;
}

const char *stuck_text(const struct stuck_list *list, const struct bdev *bdev,
		       char buf[STUCK_TEXT_MAX])
{
	const struct blk_held *held = &list->req[0].held;
	char len[FORMAT_SIZE_MAX], at[FORMAT_SIZE_MAX];
	char where[2 * FORMAT_SIZE_MAX + 8] = "", more[32] = "", why[BDEV_WHY_MAX];
	bool is_gone = bdev_server(bdev, why) < 0;

	buf[0] = '\0';
	if (!list->cnt)
		return buf;
	if (held->len_bytes)
		(void)snprintf(where, sizeof(where), " of %s at %s",
			       exact_size(held->len_bytes, len),
			       exact_size(held->offset_bytes, at));
	if (list->total_cnt > 1)
		(void)snprintf(more, sizeof(more), ", and %u more", list->total_cnt - 1);
	(void)snprintf(buf, STUCK_TEXT_MAX, "%s%s on queue %u for %u s%s%s%s",
		       bdev_op_str(held->op), where, list->req[0].queue_idx,
		       (unsigned int)(stuck_age_ms(list, 0) / MSEC_PER_SEC), more,
		       is_gone ? ": " : "", is_gone ? why : "");
	return buf;
}
