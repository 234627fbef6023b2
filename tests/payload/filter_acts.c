/*
 * Each action of a seccomp filter, for real: what the program sees, and what the one who watches is told.
 *
 * filter_acts PROGRAM HOW. A thread loads the filter in PROGRAM and calls getuid (the twin, which is to go through) and
 * getppid, which the filter is about. Lines of `word number…` say what came of it. HOW is
 *   call     nothing else: also for filters that trap, or end the thread or the process
 *   trace    by a tracer, which skips getppid and has it return ANSWER
 *   notify   with a listener, which has getppid return ANSWER
 *   read     nothing is called; the filter that the kernel has is read back, and written as it is
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#define ANSWER 777
#define MOST 4096

static struct sock_filter code[MOST + 1];
static struct sock_fprog program = { .filter = code };
static unsigned int flags;
static long parent;
static int listener[2]; /* a pipe: the descriptor's number goes through it */

static void on_trap(int signal, siginfo_t *info, void *context)
{
	ucontext_t *where = context;

	(void)signal;
	dprintf(1, "trap %d %d %u\n", info->si_errno, info->si_syscall, info->si_arch);
	where->uc_mcontext.gregs[REG_RAX] = ANSWER;
}

static int load(void)
{
	int fd;

	parent = getppid();
	fd = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program);

	if (fd < 0)
		perror("seccomp");
	return fd;
}

static void make(void)
{
	long result = syscall(SYS_getuid);

	dprintf(1, "twin %ld\n", result);
	errno = 0;
	result = syscall(SYS_getppid);
	dprintf(1, "acted %ld %d %d\n", result, errno, result == parent);
}

static void *work(void *nothing)
{
	int fd = load();

	(void)nothing;
	if (fd < 0 || write(listener[1], &fd, sizeof(fd)) != sizeof(fd))
		_exit(1);
	make();
	return NULL;
}

/* Answers one notification. */
static int answer(void)
{
	struct seccomp_notif asked = { 0 };
	struct seccomp_notif_resp said = { .val = ANSWER };
	int fd;

	if (read(listener[0], &fd, sizeof(fd)) != sizeof(fd) || ioctl(fd, SECCOMP_IOCTL_NOTIF_RECV, &asked))
		return -1;
	dprintf(1, "notified %d %u\n", asked.data.nr, asked.data.arch);
	said.id = asked.id;
	return ioctl(fd, SECCOMP_IOCTL_NOTIF_SEND, &said);
}

static int in_thread(int notify)
{
	struct sigaction trap = { .sa_sigaction = on_trap, .sa_flags = SA_SIGINFO };
	pthread_t thread;

	if (pipe(listener) || sigaction(SIGSYS, &trap, NULL) || pthread_create(&thread, NULL, work, NULL))
		return 1;
	if (notify && answer()) {
		perror("notify");
		return 1;
	}
	if (pthread_join(thread, NULL))
		return 1;
	dprintf(1, "end %d\n", getpid());
	return 0;
}

/* Waits for the child's next stop. */
static int stop(pid_t child, int *status)
{
	return waitpid(child, status, 0) == child && WIFSTOPPED(*status) ? 0 : -1;
}

static int trace(pid_t child)
{
	struct user_regs_struct registers;
	unsigned long message;
	int status;

	if (stop(child, &status) || ptrace(PTRACE_SETOPTIONS, child, 0, PTRACE_O_TRACESECCOMP | PTRACE_O_EXITKILL) ||
	    ptrace(PTRACE_CONT, child, 0, 0))
		return -1;
	while (waitpid(child, &status, 0) == child && WIFSTOPPED(status)) {
		if (status >> 8 == (SIGTRAP | PTRACE_EVENT_SECCOMP << 8)) {
			if (ptrace(PTRACE_GETEVENTMSG, child, 0, &message) || ptrace(PTRACE_GETREGS, child, 0, &registers))
				return -1;
			dprintf(1, "message %lu %llu\n", message, registers.orig_rax);
			registers.orig_rax = -1;
			registers.rax = ANSWER;
			if (ptrace(PTRACE_SETREGS, child, 0, &registers))
				return -1;
		}
		if (ptrace(PTRACE_CONT, child, 0, 0))
			return -1;
	}
	return status;
}

static int read_back(pid_t child)
{
	static struct sock_filter found[MOST];
	int status;
	long size;

	/* Once before the filter is loaded, and once where it is and no call can be made. */
	if (stop(child, &status) || ptrace(PTRACE_CONT, child, 0, 0) || stop(child, &status) || WSTOPSIG(status) != SIGILL)
		return -1;
	size = ptrace(PTRACE_SECCOMP_GET_FILTER, child, 0, found);
	if (size < 0) {
		perror("PTRACE_SECCOMP_GET_FILTER");
		return -1;
	}
	size *= sizeof(found[0]);
	return kill(child, SIGKILL) || waitpid(child, NULL, 0) != child || write(1, found, size) != size ? -1 : 0;
}

static int traced(int back)
{
	pid_t child = fork();
	int failed;

	if (!child) {
		if (ptrace(PTRACE_TRACEME, 0, 0, 0) || raise(SIGSTOP) || load() < 0)
			_exit(1);
		if (back)
			__builtin_trap();
		make();
		_exit(0);
	}
	if (child < 0)
		return 1;
	failed = back ? read_back(child) : trace(child);
	if (failed)
		kill(child, SIGKILL);
	return failed != 0;
}

int main(int argc, char **argv)
{
	int fd = argc == 3 ? open(argv[1], O_RDONLY | O_CLOEXEC) : -1;
	ssize_t size = fd < 0 ? -1 : read(fd, code, sizeof(code));

	if (size < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0))
		return 2;
	program.len = size / sizeof(code[0]);
	if (!strcmp(argv[2], "trace") || !strcmp(argv[2], "read"))
		return traced(!strcmp(argv[2], "read"));
	if (!strcmp(argv[2], "notify"))
		flags = SECCOMP_FILTER_FLAG_NEW_LISTENER;
	return in_thread(flags != 0);
}
