/* SPDX-License-Identifier: MIT */
/*
 * vhu-bench - how fast a vhost-user-blk server is, as this project's client sees it.
 *
 * One ring, random or sequential reads or writes, one thread. Prints one line:
 *   IOPS p50_us p99_us cpu_us_per_request client_cpu_us_per_request
 * The server's CPU time is that of all threads of --pid.
 */
#include <dirent.h>
#include <endian.h>
#include <errno.h>
#include <getopt.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "vblk/util/clock.h"
#include "vblk/util/cpu.h"
#include "vblk/util/math.h"
#include "vblk/util/parse.h"
#include "vblk/vhu_client/vhu_client.h"
#include "vblk/virtqueue/vq_driver.h"

#define RING_SIZE	256u
#define DEPTH_MAX	RING_SIZE
#define ADDR		(1ull << 30)
#define RING_BYTES	(1u << 20)
#define TABLE_LEN	4u
#define LOOKS_PER_YIELD 64u
#define WARM_UP_MS	200u
#define BIT64(n)	(1ull << (n))
#define SUB_BITS	5u /* of the histogram: 3 % */
#define BUCKETS_CNT	(64u << SUB_BITS)

struct bench {
	const char *path;
	unsigned int depth, ms;
	uint32_t block_bytes;
	pid_t server_pid;
	bool spin, write, sequential;

	struct vhu_client *client;
	struct vq_driver *drv;
	uint8_t *mem;
	int kick_fd, call_fd;
	uint64_t blocks, random, next;
	uint64_t begun_ns[DEPTH_MAX];
	uint64_t histogram[BUCKETS_CNT];
	uint64_t done_cnt;
	bool counting;
};

static struct bench b = {
	.depth = 1, .ms = 2000, .block_bytes = 4096, .random = 88172645463325252u
};

static void die(const char *what, int err)
{
	fprintf(stderr, "vhu-bench: %s: %s\n", what, strerror(-err));
	exit(1);
}

static void must(int r, const char *what)
{
	if (r < 0)
		die(what, r);
}

/* ---- figures ---- */

static unsigned int bucket_of(uint64_t ns)
{
	unsigned int high;

	if (ns < 1u << SUB_BITS)
		return (unsigned int)ns;
	high = 63u - (unsigned int)__builtin_clzll(ns);
	return ((high - SUB_BITS + 1) << SUB_BITS) +
	       (unsigned int)((ns >> (high - SUB_BITS)) & ((1u << SUB_BITS) - 1));
}

static double bucket_us(unsigned int bucket)
{
	unsigned int high = bucket >> SUB_BITS;
	uint64_t low = bucket & ((1u << SUB_BITS) - 1);

	if (!high)
		return (double)low / 1000.0;
	return (double)(((1ull << SUB_BITS) + low) << (high - 1)) / 1000.0;
}

static double percentile_us(double share)
{
	uint64_t want = (uint64_t)((double)b.done_cnt * share), sum = 0;

	for (unsigned int i = 0; i < BUCKETS_CNT; i++) {
		sum += b.histogram[i];
		if (sum > want)
			return bucket_us(i);
	}
	return 0;
}

/* Nanoseconds on a CPU of all threads of a process; 0 where it cannot be told. */
static uint64_t cpu_ns(pid_t pid)
{
	char path[64], name[300];
	uint64_t sum = 0;
	struct dirent *entry;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	dir = opendir(path);
	while (dir && (entry = readdir(dir))) {
		unsigned long long ns;
		FILE *f;

		snprintf(name, sizeof(name), "%s/%.20s/schedstat", path, entry->d_name);
		f = entry->d_name[0] == '.' ? NULL : fopen(name, "r");
		if (!f)
			continue;
		if (fscanf(f, "%llu", &ns) == 1)
			sum += ns;
		(void)fclose(f);
	}
	if (dir)
		(void)closedir(dir);
	return sum;
}

/* ---- the server ---- */

static void set_up_memory(void)
{
	size_t bytes = RING_BYTES + (size_t)b.depth * b.block_bytes;
	struct vhu_client_region region = { .addr = ADDR, .len_bytes = bytes };
	int fd = memfd_create("vhu-bench", MFD_CLOEXEC);

	must(fd < 0 ? -errno : 0, "memfd_create");
	must(ftruncate(fd, (off_t)bytes) < 0 ? -errno : 0, "ftruncate");
	b.mem = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	must(b.mem == MAP_FAILED ? -errno : 0, "mmap");
	memset(b.mem, 1, bytes);
	region.fd = fd;
	must(vhu_client_set_memory(b.client, &region, 1), "memory");
}

/* 64 bytes a request, then the ring, then tables; behind it all the data. */
static void set_up_ring(void)
{
	uint64_t features = vhu_client_facts(b.client)->features;
	struct vq_driver_config cfg = {
		.size = RING_SIZE,
		.desc = (struct vring_desc *)(void *)(b.mem + 0x10000),
		.avail = (struct vring_avail *)(void *)(b.mem + 0x20000),
		.used = (struct vring_used *)(void *)(b.mem + 0x30000),
		.event_idx = features & BIT64(VIRTIO_RING_F_EVENT_IDX),
		.tables_addr = ADDR + 0x40000,
		.table_len = TABLE_LEN,
	};
	struct vhu_client_ring ring = {
		.size = RING_SIZE,
		.desc_addr = ADDR + 0x10000,
		.avail_addr = ADDR + 0x20000,
		.used_addr = ADDR + 0x30000,
	};

	if (features & BIT64(VIRTIO_RING_F_INDIRECT_DESC))
		cfg.tables = (struct vring_desc *)(void *)(b.mem + 0x40000);
	must(vq_driver_new(RING_SIZE, &b.drv), "ring");
	must(vq_driver_start(b.drv, &cfg), "ring");
	b.kick_fd = eventfd(0, EFD_CLOEXEC);
	b.call_fd = eventfd(0, EFD_CLOEXEC);
	ring.kick_fd = b.kick_fd;
	ring.call_fd = b.call_fd;
	must(vhu_client_ring_start(b.client, &ring), "start of the ring");
}

static void connect_server(void)
{
	struct vhu_client_params params = {
		.path = b.path,
		.features = BIT64(VIRTIO_F_VERSION_1) | BIT64(VIRTIO_RING_F_EVENT_IDX) |
			    BIT64(VIRTIO_RING_F_INDIRECT_DESC) | BIT64(VIRTIO_BLK_F_FLUSH) |
			    BIT64(VIRTIO_BLK_F_SEG_MAX) | BIT64(VIRTIO_BLK_F_MQ),
		.timeout_ms = 5000,
		.stop_fd = -1,
	};
	struct virtio_blk_config config = { 0 };

	must(vhu_client_open(&params, &b.client), b.path);
	must(vhu_client_get_config(b.client, &config, 60), "configuration");
	b.blocks = (le64toh(config.capacity) << SECTOR_SHIFT) / b.block_bytes;
	if (!b.blocks)
		die("the disk is smaller than a block", -EINVAL);
	set_up_memory();
	set_up_ring();
}

/* ---- requests ---- */

static uint64_t next_block(void)
{
	if (b.sequential)
		return b.next++ % b.blocks;
	b.random ^= b.random << 13;
	b.random ^= b.random >> 7;
	b.random ^= b.random << 17;
	return b.random % b.blocks;
}

static void post(uint16_t slot)
{
	struct virtio_blk_outhdr *hdr = (struct virtio_blk_outhdr *)(void *)(b.mem + slot * 64u);
	uint64_t addr = ADDR + slot * 64u;
	struct vq_driver_buf bufs[3] = {
		{ addr, sizeof(*hdr) },
		{ ADDR + RING_BYTES + (uint64_t)slot * b.block_bytes, b.block_bytes },
		{ addr + 32, 1 },
	};

	hdr->type = htole32(b.write ? VIRTIO_BLK_T_OUT : VIRTIO_BLK_T_IN);
	hdr->sector = htole64(next_block() * (b.block_bytes >> SECTOR_SHIFT));
	b.mem[slot * 64u + 32] = 0xff;
	b.begun_ns[slot] = clock_now_ns();
	must(vq_driver_post(b.drv, bufs, b.write ? 2 : 1, b.write ? 1 : 2, slot), "post");
}

static void kick(void)
{
	uint64_t one = 1;

	if (vq_driver_publish(b.drv) && write(b.kick_fd, &one, sizeof(one)) < 0)
		die("kick", -errno);
}

static void count(uint16_t slot, uint64_t now_ns)
{
	if (b.mem[slot * 64u + 32] != VIRTIO_BLK_S_OK)
		die("the server says that a request failed", -EIO);
	if (!b.counting)
		return;
	b.histogram[bucket_of(now_ns - b.begun_ns[slot])]++;
	b.done_cnt++;
}

static unsigned int reap(void)
{
	unsigned int cnt = 0;
	uint64_t now_ns = 0;
	uint32_t bytes;
	uint16_t slot;
	int r;

	while ((r = vq_driver_reap(b.drv, &slot, &bytes)) > 0) {
		if (!cnt++)
			now_ns = clock_now_ns();
		count(slot, now_ns);
		post(slot);
	}
	must(r, "ring");
	return cnt;
}

static void wait_for_call(void)
{
	static unsigned int looks;
	struct pollfd pfd = { b.call_fd, POLLIN, 0 };
	uint64_t cnt;

	if (b.spin) {
		cpu_relax();
		/* The kernel may work for the server, and have no other CPU to do it on. */
		if (++looks % LOOKS_PER_YIELD == 0)
			(void)sched_yield();
		return;
	}
	if (vq_driver_irq_enable(b.drv))
		return;
	/* The server may have made it non-blocking. */
	if (read(b.call_fd, &cnt, sizeof(cnt)) < 0 && errno == EAGAIN)
		(void)poll(&pfd, 1, -1);
}

static void run_until(uint64_t end_ns)
{
	while (clock_now_ns() < end_ns) {
		if (reap())
			kick();
		else
			wait_for_call();
	}
}

static void measure(void)
{
	uint64_t begin_ns, server_ns, own_ns;
	double s, cnt;

	for (uint16_t i = 0; i < b.depth; i++)
		post(i);
	kick();
	if (b.spin)
		vq_driver_irq_suppress(b.drv);
	run_until(clock_now_ns() + WARM_UP_MS * NSEC_PER_MSEC);
	b.counting = true;
	server_ns = b.server_pid ? cpu_ns(b.server_pid) : 0;
	own_ns = cpu_ns(getpid());
	begin_ns = clock_now_ns();
	run_until(begin_ns + b.ms * NSEC_PER_MSEC);
	s = (double)(clock_now_ns() - begin_ns) / 1e9;
	own_ns = cpu_ns(getpid()) - own_ns;
	server_ns = b.server_pid ? cpu_ns(b.server_pid) - server_ns : 0;
	cnt = (double)MAX(b.done_cnt, (uint64_t)1);
	printf("%.0f %.1f %.1f %.2f %.2f\n", (double)b.done_cnt / s, percentile_us(0.5),
	       percentile_us(0.99), (double)server_ns / cnt / 1000.0,
	       (double)own_ns / cnt / 1000.0);
}

static void usage(void)
{
	fputs("usage: vhu-bench [OPTION]... SOCKET\n"
	      "  --depth N   requests in flight, 1 to 256 [1]\n"
	      "  --bytes N   of a request [4096]\n"
	      "  --ms N      how long [2000]\n"
	      "  --pid PID   the server, for its CPU time\n"
	      "  --write     instead of reading; the content is lost\n"
	      "  --sequential  instead of at random\n"
	      "  --spin      look for completions all the time\n",
	      stderr);
	exit(2);
}

static unsigned int number(const char *text, uint64_t min, uint64_t max)
{
	uint64_t n;

	if (parse_size_bytes(text, &n) < 0 || n < min || n > max)
		usage();
	return (unsigned int)n;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "depth", required_argument, NULL, 'd' },
		{ "bytes", required_argument, NULL, 'b' },
		{ "ms", required_argument, NULL, 'm' },
		{ "pid", required_argument, NULL, 'p' },
		{ "write", no_argument, NULL, 'w' },
		{ "sequential", no_argument, NULL, 'q' },
		{ "spin", no_argument, NULL, 's' },
		{ NULL, 0, NULL, 0 },
	};
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		switch (c) {
		case 'd':
			b.depth = number(optarg, 1, DEPTH_MAX);
			break;
		case 'b':
			b.block_bytes =
				number(optarg, SECTOR_BYTES, 1u << 20) & ~(SECTOR_BYTES - 1);
			break;
		case 'm':
			b.ms = number(optarg, 1, 3600000);
			break;
		case 'p':
			b.server_pid = (pid_t)number(optarg, 1, INT32_MAX);
			break;
		case 'w':
			b.write = true;
			break;
		case 'q':
			b.sequential = true;
			break;
		case 's':
			b.spin = true;
			break;
		default:
			usage();
		}
	}
	if (optind != argc - 1)
		usage();
	b.path = argv[optind];
	connect_server();
	measure();
	vhu_client_close(b.client);
	return 0;
}
