/*
 * cpgbench is one member of a group of corosync's CPG, at one node each. Once all are
 * members, those who are told to send multicast messages of 64 bytes in agreed order as
 * fast as they are let; all count what is delivered to them, and hash it in its order.
 *
 *     cpgbench <group> <members> <senders> <window> <warm: ms> <span: ms>
 *
 * window is how many of its own messages it may have on the way, 0 if it sends none.
 *
 * It prints "begin" and "end" when those times are over, and then one line:
 *
 *     got <in the span> ns <of the span> all <messages> hash <of them> p50 <us> p99 <us>
 *
 * Nobody sends before all are members, and who sends has a last message: so all and hash
 * are of the same messages at every member.
 */
#include <corosync/cpg.h>
#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { WORDS = 8, BATCH = 64 };

struct message {
	uint64_t at;   /* when it was sent, of the sender's clock */
	uint64_t last; /* 1: the sender's last */
	uint64_t seq;
	uint64_t rest[WORDS - 3];
};

static uint64_t begin_at, end_at; /* of the span, 0: not all are members */
static size_t members, senders, lasts;
static uint64_t all, got, hash;

static uint32_t *took; /* us, of our own messages */
static size_t tooks, took_max;

static uint64_t warm, span;
static uint64_t window, seq, home; /* home: of our own, delivered here */

static uint64_t now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static void fail(const char *what, int err)
{
	fprintf(stderr, "cpgbench: %s: error %d\n", what, err);
	exit(1);
}

static void keep(uint64_t us)
{
	if (tooks == took_max) {
		took_max = took_max ? 2 * took_max : 1 << 16;
		took = realloc(took, took_max * sizeof *took);
		if (!took)
			fail("no memory", errno);
	}
	took[tooks++] = us > UINT32_MAX ? UINT32_MAX : (uint32_t)us;
}

static void deliver(cpg_handle_t h, const struct cpg_name *group, uint32_t nodeid, uint32_t pid,
		    void *bytes, size_t len)
{
	static uint32_t self;
	struct message m;
	uint64_t words[WORDS], at;

	if (len != sizeof m)
		fail("a message came mutilated", (int)len);
	memcpy(&m, bytes, sizeof m);
	memcpy(words, bytes, sizeof words);
	hash = (hash ^ nodeid) * 0x100000001b3;
	for (int i = 0; i < WORDS; i++)
		hash = ((hash << 5 | hash >> 59) ^ words[i]) * 0x100000001b3;
	all++;
	lasts += m.last;
	if (!self)
		cpg_local_get(h, &self);
	home += nodeid == self;
	at = now();
	if (at < begin_at || at >= end_at)
		return;
	got++;
	if (nodeid == self)
		keep((at - m.at) / 1000);
	(void)group, (void)pid;
}

static void change(cpg_handle_t h, const struct cpg_name *group,
		   const struct cpg_address *list, size_t n, const struct cpg_address *left,
		   size_t nleft, const struct cpg_address *joined, size_t njoined)
{
	if (n == members && !begin_at) {
		begin_at = now() + warm;
		end_at = begin_at + span;
	}
	if (nleft && lasts < senders)
		fail("a member has left too early", (int)n);
	(void)h, (void)group, (void)list, (void)left, (void)joined, (void)njoined;
}

/* multicast sends a batch; it returns whether there was room for all of it. */
static int multicast(cpg_handle_t h, uint64_t last)
{
	for (int i = 0; i < (last ? 1 : BATCH); i++) {
		if (!last && seq - home >= window)
			return 0;
		struct message m = {.at = now(), .last = last, .seq = seq};
		struct iovec v = {&m, sizeof m};
		cs_error_t err = cpg_mcast_joined(h, CPG_TYPE_AGREED, &v, 1);

		if (err == CS_ERR_TRY_AGAIN)
			return 0;
		if (err != CS_OK)
			fail("send", err);
		seq++;
	}
	return 1;
}

static int less(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
	cpg_callbacks_t calls = {deliver, change};
	struct cpg_name group;
	cpg_handle_t h;
	cs_error_t err;
	int fd, said = 0, sent_last = 0;

	if (argc != 7)
		fail("six arguments are wanted", argc - 1);
	group.length = (uint32_t)snprintf(group.value, sizeof group.value, "%s", argv[1]);
	members = strtoul(argv[2], NULL, 10);
	senders = strtoul(argv[3], NULL, 10);
	window = strtoull(argv[4], NULL, 10);
	warm = strtoull(argv[5], NULL, 10) * 1000000;
	span = strtoull(argv[6], NULL, 10) * 1000000;
	setvbuf(stdout, NULL, _IOLBF, 0);
	if ((err = cpg_initialize(&h, &calls)) != CS_OK)
		fail("connect to corosync", err);
	if ((err = cpg_fd_get(h, &fd)) != CS_OK)
		fail("get the descriptor", err);
	while ((err = cpg_join(h, &group)) == CS_ERR_TRY_AGAIN)
		usleep(10000);
	if (err != CS_OK)
		fail("join", err);
	while (lasts < senders) {
		struct pollfd p = {fd, POLLIN, 0};
		int wait = 100; /* ms */
		uint64_t t = now();

		if (begin_at && said == 0 && t >= begin_at)
			said += puts("begin") > 0;
		if (begin_at && said == 1 && t >= end_at)
			said += puts("end") > 0;
		if (window && begin_at && !sent_last) {
			if (t >= end_at + 100000000)
				sent_last = multicast(h, 1);
			else
				wait = multicast(h, 0) ? 0 : 1;
		}
		poll(&p, 1, wait);
		if (p.revents && (err = cpg_dispatch(h, CS_DISPATCH_ALL)) != CS_OK &&
		    err != CS_ERR_TRY_AGAIN)
			fail("dispatch", err);
	}
	qsort(took, tooks, sizeof *took, less);
	printf("got %llu ns %llu all %llu hash %016llx p50 %u p99 %u\n", (unsigned long long)got,
	       (unsigned long long)span, (unsigned long long)all, (unsigned long long)hash,
	       tooks ? took[tooks / 2] : 0, tooks ? took[tooks * 99 / 100] : 0);
	cpg_finalize(h);
	return 0;
}
