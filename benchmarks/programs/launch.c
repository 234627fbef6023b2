/*
 * Starts programs and times them, from before the process is made to its end: static, pinned to one CPU, with a
 * real-time priority where it may have one, told what to do on standard input. Programs inherit both.
 *
 * launch CPU. Says `ready FIFO` (1 with that priority) and then answers lines of words with tabs between them:
 *   COUNT PATH ARG…   start that COUNT times, one after the other; the answer is how long it took, in ns
 * Programs have /dev/null for input and output, and a short environment.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MOST 64

static char *environment[] = { "PATH=/usr/local/bin:/usr/bin:/bin", "HOME=/root", "LANG=C", NULL };

static long long now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1000000000LL + time.tv_nsec;
}

static int start(char **words, const posix_spawn_file_actions_t *actions)
{
	pid_t child;
	int status;

	errno = posix_spawn(&child, words[0], actions, NULL, words, environment);
	if (errno || waitpid(child, &status, 0) != child)
		return -1;
	if (status) {
		dprintf(2, "launch: %s: status %#x\n", words[0], status);
		errno = ECANCELED;
	}
	return status ? -1 : 0;
}

int main(int argc, char **argv)
{
	struct sched_param param = { .sched_priority = 1 };
	posix_spawn_file_actions_t actions;
	static char line[1 << 16];
	cpu_set_t cpus;

	CPU_ZERO(&cpus);
	CPU_SET(argc > 1 ? atoi(argv[1]) : 0, &cpus);
	if (sched_setaffinity(0, sizeof(cpus), &cpus) || posix_spawn_file_actions_init(&actions))
		return 1;
	for (int fd = 0; fd < 3; fd++)
		if (posix_spawn_file_actions_addopen(&actions, fd, "/dev/null", O_RDWR, 0))
			return 1;
	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("ready %d\n", !sched_setscheduler(0, SCHED_FIFO, &param));
	while (fgets(line, sizeof(line), stdin)) {
		char *words[MOST] = { 0 };
		long long began;
		int count = 0;

		for (char *word = strtok(line, "\t\n"); word && count < MOST - 1; word = strtok(NULL, "\t\n"))
			words[count++] = word;
		if (count < 2)
			return 1;
		began = now();
		for (long left = atol(words[0]); left > 0; left--)
			if (start(words + 1, &actions)) {
				dprintf(2, "launch: %s: %s\n", words[1], strerror(errno));
				return 1;
			}
		printf("%lld\n", now() - began);
	}
	return 0;
}
