/*
 * The program whose system calls are timed: static, pinned to one CPU, told what to do on standard input.
 *
 * loop CPU. Says `ready FIFO` (1 where it may take a real-time priority for a slice) and then answers lines:
 *   KIND N    make N rounds of calls of that kind; the answer is how long they took, in ns
 *   exec      execute itself anew: a recording counts as the program's what comes after an execve
 *   end       end
 * Nothing but the loop itself is between the two readings of the clock.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static int zero, client;
static struct sockaddr_in nobody;

static int getppid_call(void)
{
	return syscall(SYS_getppid) < 0;
}

static int open_close(void)
{
	int fd = openat(AT_FDCWD, "/etc/passwd", O_RDONLY | O_CLOEXEC);

	return fd < 0 || close(fd);
}

static int stat_call(void)
{
	struct stat status;

	return fstatat(AT_FDCWD, "/etc/passwd", &status, 0);
}

static int read_byte(void)
{
	char byte;

	return read(zero, &byte, 1) != 1;
}

static int map_unmap(void)
{
	void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return page == MAP_FAILED || munmap(page, 4096);
}

static int connect_refused(void)
{
	return connect(client, (struct sockaddr *)&nobody, sizeof(nobody)) == 0 || errno != ECONNREFUSED;
}

static const struct {
	const char *name;
	int (*round)(void);
} kinds[] = {
	{ "getppid", getppid_call }, { "open", open_close }, { "stat", stat_call },
	{ "read", read_byte }, { "mmap", map_unmap }, { "connect", connect_refused },
};

/* A port that is bound and that nobody listens on: connections are refused, and it stays ours. */
static int prepare(void)
{
	socklen_t size = sizeof(nobody);
	int bound = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	nobody.sin_family = AF_INET;
	nobody.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (bind(bound, (struct sockaddr *)&nobody, size) || getsockname(bound, (struct sockaddr *)&nobody, &size))
		return -1;
	client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	zero = open("/dev/zero", O_RDONLY | O_CLOEXEC);
	return client < 0 || zero < 0 ? -1 : 0;
}

static int priority(int policy)
{
	struct sched_param param = { .sched_priority = policy == SCHED_FIFO };

	return sched_setscheduler(0, policy, &param);
}

static int slice(const char *name, long count)
{
	struct timespec began, ended;
	int (*round)(void) = NULL;

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (!strcmp(kinds[i].name, name))
			round = kinds[i].round;
	if (!round || count < 1)
		return -1;
	priority(SCHED_FIFO);
	clock_gettime(CLOCK_MONOTONIC, &began);
	for (long i = 0; i < count; i++)
		if (round())
			return -1;
	clock_gettime(CLOCK_MONOTONIC, &ended);
	priority(SCHED_OTHER);
	dprintf(1, "%lld\n", (ended.tv_sec - began.tv_sec) * 1000000000LL + ended.tv_nsec - began.tv_nsec);
	return 0;
}

int main(int argc, char **argv)
{
	char line[64], name[32];
	cpu_set_t cpus;
	long count;
	int fifo;

	CPU_ZERO(&cpus);
	CPU_SET(argc > 1 ? atoi(argv[1]) : 0, &cpus);
	if (sched_setaffinity(0, sizeof(cpus), &cpus) || prepare())
		return 1;
	fifo = !priority(SCHED_FIFO);
	priority(SCHED_OTHER);
	dprintf(1, "ready %d\n", fifo);
	for (;;) {
		/* One line at a time is on its way: who sends the next one has read the answer to the last. */
		ssize_t length = read(0, line, sizeof(line) - 1);

		if (length <= 0)
			return length < 0;
		line[length] = 0;
		if (!strcmp(line, "end\n"))
			return 0;
		if (!strcmp(line, "exec\n")) {
			execv("/proc/self/exe", argv);
			return 127;
		}
		if (sscanf(line, "%31s %ld", name, &count) != 2 || slice(name, count)) {
			dprintf(2, "loop: %s: %s", strerror(errno), line);
			return 1;
		}
	}
}
