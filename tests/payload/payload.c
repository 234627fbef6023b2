/* One static program whose first argument says what it does, so that a test knows each call it makes. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

static long calls_each;

static void *many_calls(void *unused)
{
	for (long i = 0; i < calls_each; i++)
		syscall(SYS_getppid);
	return NULL;
}

/* calls THREADS N: N getppid calls from each of THREADS threads. */
static int calls(char **argv)
{
	int count = atoi(argv[0]);
	pthread_t threads[64];

	calls_each = atol(argv[1]);
	for (int i = 0; i < count; i++)
		if (pthread_create(&threads[i], NULL, many_calls, NULL))
			return 1;
	for (int i = 0; i < count; i++)
		pthread_join(threads[i], NULL);
	return 0;
}

/* forks N: N short-lived children, each calling getpgid once. */
static int forks(char **argv)
{
	for (long i = atol(argv[0]); i > 0; i--) {
		pid_t child = fork();

		if (child < 0)
			return 1;
		if (!child) {
			syscall(SYS_getpgid, 0);
			_exit(0);
		}
		waitpid(child, NULL, 0);
	}
	return 0;
}

/* foreign: three i386 calls (20 is getpid there and writev here), two x32 calls, one number nobody has. */
static int foreign(char **argv)
{
#ifdef __x86_64__
	for (int i = 0; i < 3; i++) {
		long result = 20;

		__asm__ volatile("int $0x80" : "+a"(result) : : "memory");
		if (result != getpid())
			return 1;
	}
	for (int i = 0; i < 2; i++)
		syscall(0x40000000 | SYS_getpid);
#endif
	syscall(4000);
	return 0;
}

/* Load a filter that answers `nr` with `error` and allows the rest: by prctl(2), as runc does, or seccomp(2). */
static int load_filter(int nr, int error, int by_prctl)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, nr, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { 4, code };

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return -1;
	if (by_prctl)
		return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
	return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program);
}

/*
 * runtime prctl|seccomp|none ERRNO PROGRAM…: behave like a container runtime. Wait for a byte, set-up calls,
 * probes of seccomp(2) that fail, the filter (which answers sched_getaffinity with ERRNO), one call more, execve.
 */
static int runtime(char **argv)
{
	char byte;

	if (read(0, &byte, 1) != 1)
		return 1;
	syscall(SYS_sched_yield);
	syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 1 << 20, NULL);
	prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, NULL);
	if (strcmp(argv[0], "none") && load_filter(SYS_sched_getaffinity, atoi(argv[1]), !strcmp(argv[0], "prctl")))
		return 1;
	syscall(SYS_getsid, 0);
	execv(argv[2], argv + 2);
	return 127;
}

/* denied: calls that the filter of `runtime` refuses, and one that fails by itself. */
static int denied(char **argv)
{
	int failed = 0;

	for (int i = 0; i < 5; i++)
		failed += syscall(SYS_sched_getaffinity, 0, 0, NULL) == -1;
	syscall(SYS_close, 9999);
	syscall(SYS_getsockname, 0, NULL, NULL); /* ENOTSOCK, a number above 63 */
	return failed == 5 ? 0 : 1;
}

/* gate PROGRAM…: wait for a byte on standard input, then execute PROGRAM. */
static int gate(char **argv)
{
	char byte;

	if (read(0, &byte, 1) != 1)
		return 1;
	execv(argv[0], argv);
	return 127;
}

/* child PROGRAM…: execute PROGRAM in a child. */
static int child(char **argv)
{
	pid_t pid = fork();
	int status;

	if (!pid) {
		execv(argv[0], argv);
		_exit(127);
	}
	return waitpid(pid, &status, 0) == pid && !status ? 0 : 1;
}

/* cgroups DIR N KEEP: make N cgroups in DIR, one after the other; remove each at once, but for the last KEEP. */
static int cgroups(char **argv)
{
	long count = atol(argv[1]), keep = atol(argv[2]);
	char path[4096];

	for (long i = 0; i < count; i++) {
		snprintf(path, sizeof(path), "%s/n%ld", argv[0], i);
		if (mkdir(path, 0755) || (i < count - keep && rmdir(path)))
			return 1;
	}
	return 0;
}

/* answered: ten calls that a filter of our own answers with the value 0, and one that a filter answers EBADMSG. */
static int answered(char **argv)
{
	if (load_filter(SYS_sched_getaffinity, 0, 1) || load_filter(SYS_getpriority, EBADMSG, 0))
		return 1;
	for (int i = 0; i < 10; i++)
		if (syscall(SYS_sched_getaffinity, 0, 0, NULL))
			return 1;
	return syscall(SYS_getpriority, 0, 0) == -1 && errno == EBADMSG ? 0 : 1;
}

/* nested DIR: make the cgroup DIR/nested, move there, and call getpriority in it. */
static int nested(char **argv)
{
	char path[4096];
	FILE *file;

	snprintf(path, sizeof(path), "%s/nested", argv[0]);
	if (syscall(SYS_mkdir, path, 0755))
		return 1;
	snprintf(path, sizeof(path), "%s/nested/cgroup.procs", argv[0]);
	file = fopen(path, "w");
	if (!file || fputs("0", file) < 0 || fclose(file))
		return 1;
	syscall(SYS_getpriority, 0, 0);
	return 0;
}

/* leave FILE: move to the cgroup whose cgroup.procs FILE is, and call getpriority there. */
static int leave(char **argv)
{
	FILE *file = fopen(argv[0], "w");

	if (!file || fputs("0", file) < 0 || fclose(file))
		return 1;
	syscall(SYS_getpriority, 0, 0);
	return 0;
}

/* try NR: make one call with arguments that can do nothing, and print its errno (0 for success). */
static int try_call(char **argv)
{
	long result;

	errno = 0;
	result = syscall(atol(argv[0]), -1, -1, -1, -1, -1, -1);
	printf("%d\n", result == -1 ? errno : 0);
	return 0;
}

static int nothing(char **argv)
{
	return 0;
}

#include "attacks.h"
#include "floods.h"

static const struct {
	const char *name;
	int (*run)(char **argv);
} commands[] = {
	{ "calls", calls },	{ "forks", forks },   { "foreign", foreign }, { "runtime", runtime },
	{ "denied", denied },	{ "gate", gate },     { "nested", nested },   { "leave", leave },
	{ "try", try_call },	{ "true", nothing },  { "child", child },     { "cgroups", cgroups },
	{ "answered", answered },
	{ "processes", processes }, { "tasks", tasks },	{ "mixed", mixed },	{ "paths", paths },
	{ "addresses", addresses }, { "programs", programs }, { "values", values }, { "churn", churn },
	{ "signals", signals },	{ "execthread", execthread }, { "into", into },	{ "race", race },
	{ "compat", compat },
};

int main(int argc, char **argv)
{
	for (size_t i = 0; argc > 1 && i < sizeof(commands) / sizeof(commands[0]); i++)
		if (!strcmp(argv[1], commands[i].name))
			return commands[i].run(argv + 2);
	fprintf(stderr, "usage: payload COMMAND [ARGUMENTS]\n");
	return 2;
}
