/* SPDX-License-Identifier: MIT */
#include "vblk/util/iov.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "vblk/util/math.h"

/* Moves past used-up and empty buffers, so that iov[0] has bytes left. */
static void settle(struct iov_cursor *cur)
{
	while (cur->cnt && cur->skip_bytes >= cur->iov->iov_len) {
		cur->skip_bytes -= cur->iov->iov_len;
		cur->iov++;
		cur->cnt--;
	}
	if (!cur->cnt)
		cur->skip_bytes = 0;
}

struct iov_cursor iov_cursor_init(const struct iovec *iov, unsigned int cnt)
{
	struct iov_cursor cur = { .iov = iov, .cnt = cnt };

	settle(&cur);
	return cur;
}

uint64_t iov_total_bytes(const struct iovec *iov, unsigned int cnt)
{
	uint64_t total = 0;

	for (unsigned int i = 0; i < cnt; i++)
		total += iov[i].iov_len;
	return total;
}

uint64_t iov_remaining_bytes(const struct iov_cursor *cur)
{
	return iov_total_bytes(cur->iov, cur->cnt) - cur->skip_bytes;
}

size_t iov_take(struct iov_cursor *cur, uint64_t len, char **ret_ptr)
{
	size_t n;

	if (!cur->cnt)
		return 0;
	n = cur->iov->iov_len - cur->skip_bytes;
	if (n > len)
		n = (size_t)len;
	*ret_ptr = (char *)cur->iov->iov_base + cur->skip_bytes;
	cur->skip_bytes += n;
	settle(cur);
	return n;
}

size_t iov_copy_out(struct iov_cursor *cur, void *dst, size_t len)
{
	size_t done = 0, n;
	char *p;

	while (done < len && (n = iov_take(cur, len - done, &p))) {
		memcpy((char *)dst + done, p, n);
		done += n;
	}
	return done;
}

size_t iov_copy_in(struct iov_cursor *cur, const void *src, size_t len)
{
	size_t done = 0, n;
	char *p;

	while (done < len && (n = iov_take(cur, len - done, &p))) {
		memcpy(p, (const char *)src + done, n);
		done += n;
	}
	return done;
}

size_t iov_fill(struct iov_cursor *cur, int byte, size_t len)
{
	size_t done = 0, n;
	char *p;

	while (done < len && (n = iov_take(cur, len - done, &p))) {
		memset(p, byte, n);
		done += n;
	}
	return done;
}

uint64_t iov_skip(struct iov_cursor *cur, uint64_t len)
{
	uint64_t done = 0;
	size_t n;
	char *p;

	while (done < len && (n = iov_take(cur, len - done, &p)))
		done += n;
	return done;
}

int iov_slice(const struct iov_cursor *cur, uint64_t len, struct iovec *ret_iov, unsigned int max)
{
	struct iov_cursor pos = *cur;
	unsigned int cnt = 0;
	size_t n;
	char *p;

	while (len) {
		n = iov_take(&pos, len, &p);
		if (!n)
			return -ERANGE;
		if (cnt == max)
			return -E2BIG;
		ret_iov[cnt++] = (struct iovec){ .iov_base = p, .iov_len = n };
		len -= n;
	}
	return (int)cnt;
}
