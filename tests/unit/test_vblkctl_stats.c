/* SPDX-License-Identifier: MIT */
/* What vblkctl makes of statistics: rates, percentiles, a table, OpenMetrics text. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "metrics.h"
#include "openmetrics.h"
#include "run_suite.h"
#include "stats.h"

/* ---- numbers ---- */

START_TEST(percentile_is_the_limit_that_enough_requests_stay_below)
{
	uint64_t latency[STATS_BUCKET_CNT] = { 0 };

	ck_assert_uint_eq(stats_percentile_ns(latency, 99), 0);
	latency[stats_bucket(1000)] = 99;
	latency[stats_bucket(5000000)] = 1;
	ck_assert_uint_eq(stats_percentile_ns(latency, 99), 1024);
	ck_assert_uint_ge(stats_percentile_ns(latency, 100), 5000000);
	latency[stats_bucket(1000)] = 98;
	ck_assert_uint_ge(stats_percentile_ns(latency, 99), 5000000);
	ck_assert_uint_le(stats_percentile_ns(latency, 99), 5000000 * 5 / 4);
	latency[STATS_BUCKET_CNT - 1] = 1000;
	ck_assert_uint_eq(stats_percentile_ns(latency, 99), 1ull << STATS_BUCKET_LAST_LOG2);
}
END_TEST

static const struct {
	double value;
	const char *rate;
	const char *ns;
} numbers[] = {
	{ 0, "-", "-" },	   { 0.2, "1", "0.2n" },
	{ 7, "7", "7.0n" },	   { 999, "999", "999n" },
	{ 999.6, "1.0k", "1.0u" }, { 12345, "12.3k", "12.3u" },
	{ 99999, "100k", "100u" }, { 5e6, "5.0M", "5.0m" },
	{ 3e9, "3.0G", "3.0s" },   { 1e30, "9999G", "9999s" },
};

START_TEST(numbers_have_five_characters_at_most)
{
	char buf[STATS_NUMBER_MAX];

	ck_assert_str_eq(stats_format_rate(numbers[_i].value, buf), numbers[_i].rate);
	ck_assert_uint_le(strlen(buf), 5);
	ck_assert_str_eq(stats_format_ns(numbers[_i].value, buf), numbers[_i].ns);
	ck_assert_uint_le(strlen(buf), 5);
}
END_TEST

START_TEST(what_began_anew_is_not_subtracted)
{
	struct stats_queue before = { .requests = { 5 }, .inflight_max = 3 }, now = before;

	now.requests[0] = 12;
	ck_assert(stats_subtract(&now, &before));
	ck_assert_uint_eq(now.requests[0], 7);
	ck_assert_uint_eq(now.inflight_max, 3);
	before.kicks = 1;
	ck_assert(!stats_subtract(&now, &before));
	ck_assert_uint_eq(now.requests[0], 7);
}
END_TEST

/* ---- the table ---- */

static char *row_of(const char *name, const struct stats_queue *stats, double seconds)
{
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	stats_print_head(f);
	stats_print_row(f, name, stats, seconds);
	fclose(f);
	return text;
}

static void check_width(const char *text)
{
	for (; *text; text += strcspn(text, "\n") + 1)
		ck_assert_uint_le(strcspn(text, "\n"), 80);
}

START_TEST(rows_fit_into_80_columns)
{
	static const char name[] =
		"a-name-that-is-as-long-as-a-name-may-be-which-is-63-characters.";
	struct stats_queue stats;
	char *text;

	memset(&stats, 0, sizeof(stats));
	check_width(text = row_of("disk", &stats, 1));
	ck_assert_ptr_nonnull(strstr(text, " - "));
	free(text);
	memset(&stats, 0x7f, sizeof(stats));
	check_width(text = row_of("disk", &stats, 1e-3));
	free(text);
	check_width(text = row_of(name, &stats, 1));
	ck_assert_ptr_nonnull(strstr(text, name));
	free(text);
	check_width(text = row_of(name, NULL, 0));
	ck_assert_ptr_nonnull(strstr(text, "does not answer"));
	free(text);
}
END_TEST

START_TEST(row_shows_rates_of_the_interval)
{
	struct stats_queue stats;
	char name[64], r[16], w[16], rmib[16], wmib[16], ravg[16], rp99[16], wavg[16], wp99[16];
	double depth, batch;
	char *text;

	memset(&stats, 0, sizeof(stats));
	stats.requests[STATS_READ] = 2000;
	stats.bytes[STATS_READ] = 2000ull << 20;
	stats.latency_sum_ns[STATS_READ] = 8000000000;
	stats.latency[STATS_READ][stats_bucket(3000000)] = 2000;
	stats.batches = 500;
	text = row_of("disk", &stats, 2);
	ck_assert_int_eq(sscanf(strchr(text, '\n') + 1,
				"%63s %15s %15s %15s %15s %15s %15s %15s %15s %lf %lf", name, r, w,
				rmib, wmib, ravg, rp99, wavg, wp99, &depth, &batch),
			 11);
	ck_assert_str_eq(name, "disk");
	ck_assert_str_eq(r, "1.0k");
	ck_assert_str_eq(w, "-");
	ck_assert_str_eq(rmib, "1000");
	ck_assert_str_eq(ravg, "4.0m");
	ck_assert_str_eq(rp99, "3.1m");
	ck_assert_str_eq(wavg, "-");
	ck_assert(depth > 3.9 && depth < 4.1);
	ck_assert(batch > 3.9 && batch < 4.1);
	free(text);
}
END_TEST

/* ---- JSON and metrics ---- */

static const char reply[] =
	"{\"name\":\"a\",\"age_ms\":5,\"total\":{\"requests\":{\"read\":10,\"flush\":1},"
	"\"latency_sum_ns\":{\"read\":5000},\"kicks\":-3},"
	"\"per_queue\":[{\"requests\":{\"read\":10,\"flush\":1},\"kicks\":7},{}],"
	"\"latency\":{\"read\":[{\"below_ns\":1024,\"count\":6},{\"below_ns\":1280,\"count\":3},"
	"{\"below_ns\":null,\"count\":1}],\"flush\":[{\"below_ns\":2048,\"count\":1}]}}";

START_TEST(reply_is_read)
{
	json_t *obj = json_loads(reply, 0, NULL);
	struct stats_queue stats;

	stats_read(obj, &stats);
	ck_assert_uint_eq(stats.requests[STATS_READ], 10);
	ck_assert_uint_eq(stats.latency[STATS_READ][stats_bucket(1023)], 6);
	ck_assert_uint_eq(stats.latency[STATS_READ][stats_bucket(1279)], 3);
	ck_assert_uint_eq(stats.latency[STATS_READ][STATS_BUCKET_CNT - 1], 1);
	ck_assert_uint_eq(stats.kicks, 0);
	json_decref(obj);
}
END_TEST

static char *metrics_of(const struct metrics_device *devices, size_t cnt)
{
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	metrics_print(f, devices, cnt);
	fclose(f);
	return text;
}

START_TEST(metrics_are_right)
{
	json_t *stats = json_loads(reply, 0, NULL);
	json_t *status = json_pack("{s:s, s:I, s:i, s:b}", "backend", "/a\\b\"c\nd", "size_bytes",
				   (json_int_t)1 << 40, "restarts", 2, "server_connected", 1);
	json_t *little = json_pack("{s:b}", "server_connected", 0);
	const struct metrics_device devices[] = {
		{ .name = "a", .node = "/dev/vda", .status = status, .stats = stats },
		{ .name = "b", .node = "", .status = little },
	};
	char why[OPENMETRICS_WHY_MAX] = "";
	char *text = metrics_of(devices, 2);

	ck_assert_msg(openmetrics_check(text, why) > 0, "%s", why);
	ck_assert_ptr_nonnull(
		strstr(text, "\nvblkd_up{device=\"a\"} 1\nvblkd_up{device=\"b\"} 0\n"));
	ck_assert_ptr_nonnull(strstr(text, "backend=\"/a\\\\b\\\"c\\nd\""));
	ck_assert_ptr_nonnull(strstr(text, "\nvblkd_size_bytes{device=\"a\"} 1099511627776\n"));
	ck_assert_ptr_nonnull(strstr(text, "\nvblkd_restarts_total{device=\"a\"} 2\n"));
	ck_assert_ptr_nonnull(strstr(text, "\nvblkd_server_connected{device=\"a\"} 1\n"
					   "vblkd_server_connected{device=\"b\"} 0\n"));
	ck_assert_ptr_nonnull(strstr(
		text, "\nvblkd_requests_total{device=\"a\",queue=\"0\",operation=\"read\"} 10\n"));
	ck_assert_ptr_nonnull(strstr(
		text, "_seconds_bucket{device=\"a\",operation=\"read\",le=\"1.024e-06\"} 6\n"));
	ck_assert_ptr_nonnull(strstr(
		text, "_seconds_bucket{device=\"a\",operation=\"read\",le=\"2.048e-06\"} 9\n"));
	ck_assert_ptr_nonnull(
		strstr(text, "_seconds_bucket{device=\"a\",operation=\"read\",le=\"+Inf\"} 10\n"));
	free(text);
	text = metrics_of(NULL, 0);
	ck_assert_int_eq(openmetrics_check(text, why), 0);
	free(text);
	json_decref(stats);
	json_decref(status);
	json_decref(little);
}
END_TEST

/* The judge is judged. */
static const char *const wrong[] = {
	"",
	"# EOF",
	"\n# EOF\n",
	"# EOF\n# EOF\n",
	"a 1\n# EOF\n",
	"# TYPE a gauge\n# EOF",
	"# TYPE a gauge\na 1\n",
	"# TYPE a gauge\n\na 1\n# EOF\n",
	"# TYPE a gauge\na  1\n# EOF\n",
	"# TYPE a gauge\na 1 \n# EOF\n",
	"# TYPE a gauge\na x\n# EOF\n",
	"# TYPE a strange\na 1\n# EOF\n",
	"# TYPE a gauge\n# TYPE a gauge\na 1\n# EOF\n",
	"# TYPE a gauge\na 1\n# HELP a x\n# EOF\n",
	"# TYPE a gauge\n# UNIT a bytes\na 1\n# EOF\n",
	"# TYPE a gauge\na 1\na 2\n# EOF\n",
	"# TYPE a gauge\na 1\n# TYPE b gauge\nb 1\n# TYPE a gauge\na 3\n# EOF\n",
	"# TYPE a gauge\na{x=\"1\",x=\"2\"} 1\n# EOF\n",
	"# TYPE a gauge\na{x=\"1\",} 1\n# EOF\n",
	"# TYPE a gauge\na{x=\"\\t\"} 1\n# EOF\n",
	"# TYPE a gauge\na{x=\"1} 1\n# EOF\n",
	"# TYPE a gauge\na{1x=\"1\"} 1\n# EOF\n",
	"# TYPE a counter\na 1\n# EOF\n",
	"# TYPE a counter\na_total -1\n# EOF\n",
	"# TYPE a info\na_info 2\n# EOF\n",
	"# TYPE a histogram\na_bucket{le=\"1\"} 1\na_count 1\na_sum 1\n# EOF\n",
	"# TYPE a histogram\na_bucket{le=\"1\"} 2\na_bucket{le=\"+Inf\"} 1\na_count 1\na_sum 1\n# EOF\n",
	"# TYPE a histogram\na_bucket{le=\"2\"} 1\na_bucket{le=\"1\"} 1\na_bucket{le=\"+Inf\"} 1\na_count 1\na_sum 1\n# EOF\n",
	"# TYPE a histogram\na_bucket{le=\"+Inf\"} 1\na_count 2\na_sum 1\n# EOF\n",
	"# TYPE a histogram\na_bucket{le=\"+Inf\"} 1\na_count 1\n# EOF\n",
};

START_TEST(wrong_metrics_are_told)
{
	char why[OPENMETRICS_WHY_MAX] = "";

	ck_assert_int_eq(openmetrics_check(wrong[_i], why), -1);
	ck_assert_str_ne(why, "");
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("vblkctl_stats");
	TCase *tc = tcase_create("stats");

	tcase_add_test(tc, percentile_is_the_limit_that_enough_requests_stay_below);
	tcase_add_loop_test(tc, numbers_have_five_characters_at_most, 0, ARRAY_SIZE(numbers));
	tcase_add_test(tc, what_began_anew_is_not_subtracted);
	tcase_add_test(tc, rows_fit_into_80_columns);
	tcase_add_test(tc, row_shows_rates_of_the_interval);
	tcase_add_test(tc, reply_is_read);
	tcase_add_test(tc, metrics_are_right);
	tcase_add_loop_test(tc, wrong_metrics_are_told, 0, ARRAY_SIZE(wrong));
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
