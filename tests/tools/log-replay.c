/* SPDX-License-Identifier: MIT */
/*
 * log-replay - read the log of dm-log-writes and replay a part of it.
 *
 * usage: log-replay list LOG
 *        log-replay apply LOG TARGET FROM TO [SEED]
 *
 * list prints an entry a line: its number, its kind, first sector, sectors,
 * and for a mark its text. The kind is "write", "discard" or "mark", with
 * "+flush" or "+fua" behind it, or "flush" where no data came with it.
 *
 * apply does the entries FROM to TO - 1 to the file TARGET. With a SEED only a
 * random half of them: what a disk with a volatile cache may have done of
 * writes that no flush followed.
 *
 * Format: drivers/md/dm-log-writes.c. A log that a crash cut off is an error:
 * the test removes the target first, which completes it.
 */
#include <endian.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LOG_MAGIC   0x6a736677736872ull
#define LOG_VERSION 1u

#define LOG_FLUSH   (1u << 0)
#define LOG_FUA	    (1u << 1)
#define LOG_DISCARD (1u << 2)
#define LOG_MARK    (1u << 3)

#define SECTOR_BYTES_MAX 4096u
#define COPY_BYTES	 (1u << 20)

struct log_super {
	uint64_t magic;
	uint64_t version;
	uint64_t entry_cnt;
	uint32_t sector_bytes;
};

struct log_entry {
	uint64_t sector;
	uint64_t sector_cnt;
	uint64_t flags;
	uint64_t data_bytes;
};

struct log {
	int fd;
	uint64_t entry_cnt;
	uint32_t sector_bytes;
	uint64_t offset; /* of the next entry */
	struct log_entry entry;
	uint64_t data_offset;
	char text[SECTOR_BYTES_MAX];
};

static void read_at(int fd, void *buf, size_t bytes, uint64_t offset)
{
	ssize_t n = pread(fd, buf, bytes, (off_t)offset);

	if (n < 0)
		err(1, "cannot read the log");
	if ((size_t)n != bytes)
		errx(1, "the log ends at byte %" PRIu64, offset + (uint64_t)n);
}

static void log_open(struct log *log, const char *path)
{
	struct log_super super;

	log->fd = open(path, O_RDONLY | O_CLOEXEC);
	if (log->fd < 0)
		err(1, "cannot open %s", path);
	read_at(log->fd, &super, sizeof(super), 0);
	if (le64toh(super.magic) != LOG_MAGIC || le64toh(super.version) != LOG_VERSION)
		errx(1, "%s is no log of dm-log-writes", path);
	log->entry_cnt = le64toh(super.entry_cnt);
	log->sector_bytes = le32toh(super.sector_bytes);
	if (log->sector_bytes < 512 || log->sector_bytes > SECTOR_BYTES_MAX)
		errx(1, "sectors of %u bytes", log->sector_bytes);
	log->offset = log->sector_bytes;
}

/* The header of the next entry; the text of a mark is in the same sector. */
static void log_next(struct log *log)
{
	char sector[SECTOR_BYTES_MAX];
	struct log_entry *entry = &log->entry;

	read_at(log->fd, sector, log->sector_bytes, log->offset);
	memcpy(entry, sector, sizeof(*entry));
	entry->sector = le64toh(entry->sector);
	entry->sector_cnt = le64toh(entry->sector_cnt);
	entry->flags = le64toh(entry->flags);
	entry->data_bytes = le64toh(entry->data_bytes);
	log->text[0] = '\0';
	if (entry->flags & LOG_MARK) {
		if (entry->data_bytes >= log->sector_bytes - sizeof(*entry))
			errx(1, "a mark of %" PRIu64 " bytes", entry->data_bytes);
		memcpy(log->text, sector + sizeof(*entry), entry->data_bytes);
		log->text[entry->data_bytes] = '\0';
	}
	log->data_offset = log->offset + log->sector_bytes;
	log->offset = log->data_offset;
	if (!(entry->flags & LOG_DISCARD))
		log->offset += entry->sector_cnt * log->sector_bytes;
}

static const char *entry_kind(const struct log_entry *entry)
{
	if (entry->flags & LOG_MARK)
		return "mark";
	if (entry->flags & LOG_DISCARD)
		return "discard";
	return entry->sector_cnt ? "write" : "";
}

static void list(struct log *log)
{
	for (uint64_t i = 0; i < log->entry_cnt; i++) {
		const struct log_entry *entry = &log->entry;
		const char *kind, *flush = "";

		log_next(log);
		kind = entry_kind(entry);
		if (entry->flags & LOG_FLUSH)
			flush = *kind ? "+flush" : "flush";
		printf("%" PRIu64 " %s%s%s %" PRIu64 " %" PRIu64 " %s\n", i, kind, flush,
		       entry->flags & LOG_FUA ? "+fua" : "", entry->sector, entry->sector_cnt,
		       log->text);
	}
}

static void apply_write(const struct log *log, int fd)
{
	static char buf[COPY_BYTES];
	uint64_t left = log->entry.sector_cnt * log->sector_bytes;
	uint64_t from = log->data_offset;
	uint64_t to = log->entry.sector * log->sector_bytes;

	while (left) {
		size_t part = left < sizeof(buf) ? left : sizeof(buf);

		read_at(log->fd, buf, part, from);
		if (pwrite(fd, buf, part, (off_t)to) != (ssize_t)part)
			err(1, "cannot write the target");
		left -= part;
		from += part;
		to += part;
	}
}

static void apply_entry(const struct log *log, int fd)
{
	const struct log_entry *entry = &log->entry;

	if (entry->flags & LOG_MARK)
		return;
	if (!(entry->flags & LOG_DISCARD)) {
		apply_write(log, fd);
		return;
	}
	if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
		      (off_t)(entry->sector * log->sector_bytes),
		      (off_t)(entry->sector_cnt * log->sector_bytes)) < 0)
		err(1, "cannot discard in the target");
}

static void apply(struct log *log, const char *target, uint64_t from, uint64_t to, const char *seed)
{
	unsigned short random_state[3] = { 0 };
	int fd = open(target, O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		err(1, "cannot open %s", target);
	if (to > log->entry_cnt)
		errx(1, "the log has %" PRIu64 " entries only", log->entry_cnt);
	if (seed)
		random_state[0] = (unsigned short)atoi(seed);
	for (uint64_t i = 0; i < to; i++) {
		log_next(log);
		if (i >= from && (!seed || nrand48(random_state) & (1 << 20)))
			apply_entry(log, fd);
	}
	if (close(fd) < 0)
		err(1, "cannot write %s", target);
}

int main(int argc, char **argv)
{
	struct log log = { 0 };

	if (argc == 3 && !strcmp(argv[1], "list")) {
		log_open(&log, argv[2]);
		list(&log);
	} else if ((argc == 6 || argc == 7) && !strcmp(argv[1], "apply")) {
		log_open(&log, argv[2]);
		apply(&log, argv[3], strtoull(argv[4], NULL, 10), strtoull(argv[5], NULL, 10),
		      argv[6]);
	} else {
		errx(2, "usage: log-replay list LOG | apply LOG TARGET FROM TO [SEED]");
	}
	return 0;
}
