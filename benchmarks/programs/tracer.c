/*
 * Loads a BPF object and attaches it on command, and consumes its ring buffer if it has one.
 *
 * tracer OBJECT CGROUP PROGRAM…: load the programs named; says `loaded` and answers lines on standard input:
 *   attach    attach them: `attached`
 *   detach    detach them: `detached`
 *   counts    `EVENTS DROPPED RUNS`: events consumed, events that found no room, runs while `stats` was on
 *   stats     have the kernel count runs from here to the end, which costs time: `counting`
 * tracer list: every loaded program that could watch system calls, one on a line: `ID TYPE NAME`.
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MOST 4

static struct bpf_program *programs[MOST];
static struct bpf_link *links[MOST];
static int count, variables = -1;
static unsigned long long events, sum;
static struct ring_buffer *ring;

static int consume(void *context, void *data, size_t size)
{
	(void)context;
	/* Looked at, as any consumer would. */
	for (size_t i = 0; i + 8 <= size; i += 8)
		sum += *(unsigned long long *)((char *)data + i);
	__atomic_fetch_add(&events, 1, __ATOMIC_RELAXED);
	return 0;
}

static void *consumer(void *unused)
{
	(void)unused;
	for (;;) {
		int got = ring_buffer__poll(ring, -1);

		if (got < 0 && got != -EINTR)
			return NULL;
	}
}

static int fail(const char *what)
{
	fprintf(stderr, "tracer: %s: %s\n", what, strerror(errno));
	return 1;
}

static int list(void)
{
	__u32 id = 0;

	while (!bpf_prog_get_next_id(id, &id)) {
		struct bpf_prog_info info = {};
		__u32 size = sizeof(info);
		int fd = bpf_prog_get_fd_by_id(id);

		if (fd < 0) {
			if (errno == ENOENT) /* gone meanwhile */
				continue;
			return fail("bpf_prog_get_fd_by_id");
		}
		if (bpf_obj_get_info_by_fd(fd, &info, &size))
			return fail("bpf_obj_get_info_by_fd");
		close(fd);
		switch (info.type) {
		case BPF_PROG_TYPE_KPROBE:
		case BPF_PROG_TYPE_TRACEPOINT:
		case BPF_PROG_TYPE_PERF_EVENT:
		case BPF_PROG_TYPE_RAW_TRACEPOINT:
		case BPF_PROG_TYPE_RAW_TRACEPOINT_WRITABLE:
		case BPF_PROG_TYPE_TRACING:
		case BPF_PROG_TYPE_LSM:
			printf("%u %u %s\n", id, info.type, info.name);
		}
	}
	return errno == ENOENT ? 0 : fail("bpf_prog_get_next_id");
}

/* The one constant and the one variable of the objects here, found by the names of their sections' maps. */
static int set_up(struct bpf_object *object, unsigned long long cgroup)
{
	struct bpf_map *map;

	bpf_object__for_each_map(map, object) {
		const char *name = bpf_map__name(map);

		if (strstr(name, ".rodata") && bpf_map__set_initial_value(map, &cgroup, sizeof(cgroup)))
			return -1;
	}
	if (bpf_object__load(object))
		return -1;
	bpf_object__for_each_map(map, object) {
		if (strstr(bpf_map__name(map), ".bss"))
			variables = bpf_map__fd(map);
		if (bpf_map__type(map) == BPF_MAP_TYPE_RINGBUF) {
			pthread_t thread;

			ring = ring_buffer__new(bpf_map__fd(map), consume, NULL, NULL);
			if (!ring || pthread_create(&thread, NULL, consumer, NULL))
				return -1;
		}
	}
	return 0;
}

static unsigned long long runs(void)
{
	unsigned long long total = 0;

	for (int i = 0; i < count; i++) {
		struct bpf_prog_info info = {};
		__u32 size = sizeof(info);

		if (!bpf_obj_get_info_by_fd(bpf_program__fd(programs[i]), &info, &size))
			total += info.run_cnt;
	}
	return total;
}

static void detach(void)
{
	for (int i = 0; i < count; i++) {
		bpf_link__destroy(links[i]);
		links[i] = NULL;
	}
}

int main(int argc, char **argv)
{
	struct bpf_object *object;
	struct bpf_program *each;
	char line[32];

	if (argc == 2 && !strcmp(argv[1], "list"))
		return list();
	if (argc < 4 || argc - 3 > MOST) {
		fprintf(stderr, "usage: tracer list | tracer OBJECT CGROUP PROGRAM…\n");
		return 2;
	}
	object = bpf_object__open_file(argv[1], NULL);
	if (!object)
		return fail(argv[1]);
	bpf_object__for_each_program(each, object) {
		int wanted = 0;

		for (int i = 3; i < argc; i++)
			wanted |= !strcmp(argv[i], bpf_program__name(each));
		bpf_program__set_autoload(each, wanted);
		if (wanted)
			programs[count++] = each;
	}
	if (count != argc - 3) {
		fprintf(stderr, "tracer: %s has not all of these programs\n", argv[1]);
		return 2;
	}
	if (set_up(object, strtoull(argv[2], NULL, 10)))
		return fail("load");
	setvbuf(stdout, NULL, _IOLBF, 0);
	puts("loaded");
	while (fgets(line, sizeof(line), stdin)) {
		if (!strcmp(line, "attach\n")) {
			for (int i = 0; i < count; i++) {
				links[i] = bpf_program__attach(programs[i]);
				if (!links[i])
					return fail("attach");
			}
			puts("attached");
		} else if (!strcmp(line, "detach\n")) {
			detach();
			puts("detached");
		} else if (!strcmp(line, "stats\n")) {
			if (bpf_enable_stats(BPF_STATS_RUN_TIME) < 0)
				return fail("BPF_ENABLE_STATS");
			puts("counting");
		} else if (!strcmp(line, "counts\n")) {
			unsigned long long dropped = 0;
			__u32 zero = 0;

			if (variables >= 0 && bpf_map_lookup_elem(variables, &zero, &dropped))
				return fail("counts");
			printf("%llu %llu %llu\n", __atomic_load_n(&events, __ATOMIC_RELAXED), dropped, runs());
		} else {
			fprintf(stderr, "tracer: no such command: %s", line);
			return 2;
		}
	}
	detach();
	return 0;
}
