/*
 * What the kernel makes of a seccomp filter, for many calls, none of which is ever executed.
 *
 * filters PROGRAM CALLS RESULTS. A thread loads a guard first, which answers errno GUARD to every call, and then the
 * filter in PROGRAM. Of two answers the kernel takes the more restrictive, and of two alike the newer filter's data
 * (seccomp(2)): so what the filter lets happen comes back as GUARD, and what it refuses as it refuses it. The thread
 * needs no call of its own after that: it leaves a SIGSYS handler with longjmp, and ends the process by an instruction
 * that there is not. A filter that ends the thread or the process is loaded by another one, which goes on behind that
 * call. Layouts are in tests/kernel/live.py.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define GUARD 4000
/* The last argument of the one call that the guard lets through: loading the other filter. */
#define PASS 0x5ca1ab1e

enum { BY_SYSCALL, BY_INT80 };
enum { NONE, RETURNED, TRAPPED, THREAD_KILLED, PROCESS_KILLED };

struct call {
	uint64_t how, nr, args[6];
};

struct result {
	uint32_t kind;
	int32_t value;
	uint32_t nr, arch;
};

static struct shared {
	volatile uint64_t at, done;
	struct result results[];
} *shared;

static const struct call *calls;
static uint64_t count;
static struct sock_fprog tested;
static sigjmp_buf behind;

#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define ELSE_REFUSE(value, distance) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, 0, distance)

static struct sock_filter guard_code[] = {
	LOAD(arch), ELSE_REFUSE(AUDIT_ARCH_X86_64, 5),
	LOAD(nr), ELSE_REFUSE(SYS_seccomp, 3),
	LOAD(args[5]), ELSE_REFUSE(PASS, 1),
	BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | GUARD),
};
static struct sock_fprog guard = { sizeof(guard_code) / sizeof(guard_code[0]), guard_code };

static long by_syscall(const struct call *call)
{
	register uint64_t r10 asm("r10") = call->args[3];
	register uint64_t r8 asm("r8") = call->args[4];
	register uint64_t r9 asm("r9") = call->args[5];
	long result;

	asm volatile("syscall"
		     : "=a"(result)
		     : "a"(call->nr), "D"(call->args[0]), "S"(call->args[1]), "d"(call->args[2]), "r"(r10), "r"(r8), "r"(r9)
		     : "rcx", "r11", "memory");
	return result;
}

/* The i386 ABI from a 64-bit program: the arguments are in rbx, rcx, rdx, rsi, rdi and rbp. */
long by_int80(const struct call *call);
asm(".text\n"
    "by_int80:\n"
    "	push %rbx\n"
    "	push %rbp\n"
    "	mov %rdi, %rax\n"
    "	mov 16(%rax), %rbx\n"
    "	mov 24(%rax), %rcx\n"
    "	mov 32(%rax), %rdx\n"
    "	mov 40(%rax), %rsi\n"
    "	mov 48(%rax), %rdi\n"
    "	mov 56(%rax), %rbp\n"
    "	mov 8(%rax), %rax\n"
    "	int $0x80\n"
    "	pop %rbp\n"
    "	pop %rbx\n"
    "	ret\n");

static void on_trap(int signal, siginfo_t *info, void *context)
{
	(void)signal, (void)context;
	shared->results[shared->at] =
		(struct result){ TRAPPED, info->si_errno, (uint32_t)info->si_syscall, info->si_arch };
	siglongjmp(behind, 1);
}

static long load(struct sock_fprog *program)
{
	struct call call = { BY_SYSCALL, SYS_seccomp, { SECCOMP_SET_MODE_FILTER, 0, (uintptr_t)program, 0, 0, PASS } };

	return by_syscall(&call);
}

static void *work(void *nothing)
{
	(void)nothing;
	if (load(&guard) || load(&tested))
		_exit(1);
	if (sigsetjmp(behind, 0))
		shared->at++;
	while (shared->at < count) {
		const struct call *call = &calls[shared->at];
		long value = call->how == BY_INT80 ? by_int80(call) : by_syscall(call);

		shared->results[shared->at] = (struct result){ RETURNED, (int32_t)value, 0, 0 };
		shared->at++;
	}
	shared->done = 1;
	__builtin_trap();
}

/* In a process of its own: one thread after the other makes calls. */
static void try(void)
{
	struct sigaction trap = { .sa_sigaction = on_trap, .sa_flags = SA_SIGINFO | SA_NODEFER };
	pthread_t thread;

	/* No core dumps: this ends by a signal. */
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) || sigaction(SIGSYS, &trap, NULL))
		_exit(2);
	while (shared->at < count) {
		if (pthread_create(&thread, NULL, work, NULL) || pthread_join(thread, NULL))
			_exit(3);
		shared->results[shared->at].kind = THREAD_KILLED;
		shared->at++;
	}
	shared->done = 1;
	_exit(0);
}

static void *map(const char *path, int flags, size_t *size)
{
	int fd = open(path, O_CLOEXEC | (flags == MAP_SHARED ? O_RDWR : O_RDONLY));
	struct stat status;
	void *found;

	if (fd < 0 || fstat(fd, &status))
		return MAP_FAILED;
	*size = status.st_size;
	found = mmap(NULL, *size, PROT_READ | (flags == MAP_SHARED ? PROT_WRITE : 0), flags | MAP_POPULATE, fd, 0);
	close(fd);
	return found;
}

int main(int argc, char **argv)
{
	size_t program_size, calls_size, results_size;
	int status;

	if (argc != 4)
		return 2;
	tested.filter = map(argv[1], MAP_PRIVATE, &program_size);
	calls = map(argv[2], MAP_PRIVATE, &calls_size);
	shared = map(argv[3], MAP_SHARED, &results_size);
	if (tested.filter == MAP_FAILED || calls == MAP_FAILED || shared == MAP_FAILED) {
		perror("filters");
		return 2;
	}
	tested.len = program_size / sizeof(struct sock_filter);
	count = calls_size / sizeof(struct call);
	if (results_size < sizeof(*shared) + count * sizeof(struct result))
		return 2;
	while (!shared->done) {
		pid_t child = fork();

		if (!child)
			try();
		if (child < 0 || waitpid(child, &status, 0) != child) {
			perror("filters");
			return 1;
		}
		if (!shared->done) {
			if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGSYS) {
				fprintf(stderr, "filters: status %#x at call %ju\n", status, (uintmax_t)shared->at);
				return 1;
			}
			shared->results[shared->at].kind = PROCESS_KILLED;
			shared->done = ++shared->at == count;
		}
	}
	return 0;
}
