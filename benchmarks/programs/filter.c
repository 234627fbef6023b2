/*
 * A program under a seccomp filter whose calls are timed: static, pinned to one CPU, with a real-time priority where it
 * may have one, told what to do on standard input.
 *
 * filter CPU. Says `ready FIFO` (1 with that priority) and then answers lines:
 *   filter PATH      load the instructions in that file; the answer is how many they are
 *   load PATH        have a new child load them; the answer is how long seccomp(2) took, in ns
 *   time N NR ARG0 … ARG5   make that call N times; the answer is how long they took, in ns
 * The filter must let this process read, write and end.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MOST 4096

static struct sock_filter code[MOST];
static struct sock_fprog program = { .filter = code };
static volatile long long *took; /* shared with children */

static long long now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1000000000LL + time.tv_nsec;
}

/* Nothing but write(2), which is allowed: dprintf(3) seeks first. */
static int answer(const char *format, long long number)
{
	char text[64];
	int length = snprintf(text, sizeof(text), format, number);

	return write(1, text, length) == length ? 0 : -1;
}

static int read_program(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t size = fd < 0 ? -1 : read(fd, code, sizeof(code));

	close(fd);
	program.len = size < 0 ? 0 : size / sizeof(code[0]);
	return program.len ? 0 : -1;
}

/* As runtimes do it: without the cost of mitigations that older kernels switch on with a filter. */
static int load(void)
{
	long failed;

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return -1;
	*took = -now();
	failed = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_SPEC_ALLOW, &program);
	*took += now();
	return failed ? -1 : 0;
}

static int load_in_child(void)
{
	pid_t child = fork();
	int status;

	if (!child)
		_exit(load() != 0);
	return child < 0 || waitpid(child, &status, 0) != child || status ? -1 : 0;
}

static long long slice(long count, const long *call)
{
	long long began = now();

	for (long i = 0; i < count; i++) {
		register long r10 asm("r10") = call[4];
		register long r8 asm("r8") = call[5];
		register long r9 asm("r9") = call[6];
		long result;

		asm volatile("syscall"
			     : "=a"(result)
			     : "a"(call[0]), "D"(call[1]), "S"(call[2]), "d"(call[3]), "r"(r10), "r"(r8), "r"(r9)
			     : "rcx", "r11", "memory");
	}
	return now() - began;
}

static int obey(char *line)
{
	long count, call[7] = { 0 };
	char *end;

	if (!strncmp(line, "filter ", 7)) {
		if (read_program(line + 7) || load())
			return -1;
		return answer("%lld\n", program.len);
	}
	if (!strncmp(line, "load ", 5)) {
		if (read_program(line + 5) || load_in_child())
			return -1;
		return answer("%lld\n", *took);
	}
	if (!strncmp(line, "time ", 5)) {
		count = strtol(line + 5, &end, 0);
		for (int i = 0; i < 7 && *end; i++)
			call[i] = strtoul(end, &end, 0);
		return count < 1 ? -1 : answer("%lld\n", slice(count, call));
	}
	return -1;
}

int main(int argc, char **argv)
{
	struct sched_param param = { .sched_priority = 1 };
	char line[4096];
	cpu_set_t cpus;

	CPU_ZERO(&cpus);
	CPU_SET(argc > 1 ? atoi(argv[1]) : 0, &cpus);
	took = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (took == MAP_FAILED || sched_setaffinity(0, sizeof(cpus), &cpus))
		return 1;
	if (answer("ready %lld\n", !sched_setscheduler(0, SCHED_FIFO, &param)))
		return 1;
	for (;;) {
		/* One line at a time is on its way: who sends the next one has read the answer to the last. */
		ssize_t length = read(0, line, sizeof(line) - 1);

		if (length <= 0)
			return length < 0;
		line[length - 1] = 0;
		if (obey(line)) {
			dprintf(2, "filter: %s: %s\n", strerror(errno), line);
			return 1;
		}
	}
}
