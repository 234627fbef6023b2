/* What tests/kernel/test_enforce_permissive.py has supervised: makes calls that policies refuse, and prints what came of
 * them. Each word is an act, done in order. Static. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void say(const char *name, long result)
{
	printf("%s: %s\n", name, result < 0 ? strerrorname_np(errno) : "ok");
	fflush(stdout);
}

static void *call_often(void *count)
{
	for (long i = 0; i < *(long *)count; i++)
		/* 0 where the session's leader is in another PID namespace. */
		if (syscall(SYS_getsid, 0) < 0)
			_exit(99);
	return NULL;
}

/* Threads that make so many calls each, in so many processes. */
static void crowd(int processes, int threads, long calls)
{
	for (int i = 0; i < processes; i++) {
		pthread_t each[16];

		if (fork())
			continue;
		for (int j = 0; j < threads; j++)
			pthread_create(&each[j], NULL, call_often, &calls);
		for (int j = 0; j < threads; j++)
			pthread_join(each[j], NULL);
		_exit(0);
	}
	for (int i = 0, status; i < processes; i++)
		if (wait(&status) < 0 || status)
			exit(98);
	puts("crowd: ok");
}

/* Brings the page that was asked for, after a call that is asked about itself. */
static void *bring(void *given)
{
	static char page[4096] __attribute__((aligned(4096))) = "/";
	int faults = *(int *)given;
	struct uffd_msg message;
	struct uffdio_copy copy = {.src = (unsigned long)page, .len = sizeof(page)};

	if (read(faults, &message, sizeof(message)) != sizeof(message) || syscall(SYS_getsid, 0) < 0)
		_exit(94);
	copy.dst = message.arg.pagefault.address & ~4095ul;
	if (ioctl(faults, UFFDIO_COPY, &copy))
		_exit(93);
	return NULL;
}

/* A path on a page which another thread is to bring. */
static void faulted(void)
{
	int faults = (int)syscall(SYS_userfaultfd, O_CLOEXEC);
	char *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct uffdio_api api = {.api = UFFD_API};
	struct uffdio_register region = {{(unsigned long)page, 4096}, UFFDIO_REGISTER_MODE_MISSING, 0};
	pthread_t thread;

	if (faults < 0 || ioctl(faults, UFFDIO_API, &api) || ioctl(faults, UFFDIO_REGISTER, &region))
		_exit(92);
	pthread_create(&thread, NULL, bring, &faults);
	say("faulted", chdir(page));
	pthread_join(thread, NULL);
}

static void connect_to(const struct sockaddr *address, socklen_t length)
{
	int fd = socket(address->sa_family, SOCK_STREAM, 0);

	say("connect", connect(fd, address, length));
	close(fd);
}

static void connect_all(void)
{
	struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = htons(1), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = htons(2), .sin6_addr = IN6ADDR_LOOPBACK_INIT};
	struct sockaddr_un local = {.sun_family = AF_UNIX, .sun_path = "/nowhere/at all"};

	connect_to((struct sockaddr *)&four, sizeof(four));
	connect_to((struct sockaddr *)&six, sizeof(six));
	connect_to((struct sockaddr *)&local, sizeof(local));
	memcpy(local.sun_path, "\0name", 5);
	connect_to((struct sockaddr *)&local, offsetof(struct sockaddr_un, sun_path) + 5);
}

static void ignore(int signal)
{
	(void)signal;
}

/* Calls that cannot be interrupted, while signals come. */
static void interrupted(long count)
{
	struct sigaction action = {.sa_handler = ignore};
	struct itimerval often = {{0, 500}, {0, 500}}, never = {{0, 0}, {0, 0}};

	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &often, NULL);
	long failed = 0;

	for (long i = 0; i < count; i++)
		failed += syscall(SYS_getsid, 0) < 0;
	setitimer(ITIMER_REAL, &never, NULL);
	printf("interrupted: %ld\n", failed);
}

static void timed(long count)
{
	struct timespec begin, end;

	clock_gettime(CLOCK_MONOTONIC, &begin);
	call_often(&count);
	clock_gettime(CLOCK_MONOTONIC, &end);
	printf("ns: %ld\n", ((end.tv_sec - begin.tv_sec) * 1000000000 + end.tv_nsec - begin.tv_nsec) / count);
}

/* A process that goes on after the program, until whoever has the other end of standard input closes it. */
static void leave_behind(void)
{
	char byte;

	if (fork())
		return;
	setsid();
	if (fork())
		_exit(0);
	close(1);
	while (read(0, &byte, 1) > 0)
		;
	syscall(SYS_getsid, 0);
	_exit(0);
}

static void orphans(int count)
{
	for (int i = 0; i < count; i++) {
		int status;
		pid_t child = fork();

		if (!child) {
			if (!fork())
				_exit(0);
			_exit(0);
		}
		waitpid(child, &status, 0);
	}
	puts("orphans: ok");
	fflush(stdout);
}

/* Print which signals come, until SIGTERM does. */
static void signals(void)
{
	sigset_t all;
	int signal = 0;

	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	puts("ready");
	fflush(stdout);
	while (signal != SIGTERM && !sigwait(&all, &signal)) {
		printf("signal: %d\n", signal);
		fflush(stdout);
	}
}

static void status_line(const char *name)
{
	char line[256];
	FILE *file = fopen("/proc/self/status", "r");

	while (file && fgets(line, sizeof(line), file))
		if (!strncmp(line, name, strlen(name)) && line[strlen(name)] == ':')
			fputs(line, stdout);
	fclose(file);
}

static long x86_getpid(void)
{
	long result = 20;

	__asm__ volatile("int $0x80" : "+a"(result) : : "memory", "r8", "r9", "r10", "r11");
	return result;
}

int main(int count, char **words)
{
	(void)count;
	for (char **word = words + 1; *word; word++) {
		if (!strcmp(*word, "getsid"))
			say("getsid", syscall(SYS_getsid, 0));
		else if (!strcmp(*word, "chdir"))
			say("chdir", chdir("/"));
		else if (!strcmp(*word, "hostile"))
			say("hostile", chdir("/\"a\\\n\033[31m\xff"));
		else if (!strcmp(*word, "nowhere"))
			say("nowhere", chdir((char *)0x10));
		else if (!strcmp(*word, "edge")) {
			/* A path that ends where memory does. */
			char *page = (char *)(((unsigned long)sbrk(0) + 4095) & ~4095ul);

			if (brk(page))
				return 97;
			memcpy(page - 2, "/", 2);
			say("edge", chdir(page - 2));
		} else if (!strcmp(*word, "long")) {
			static char path[3000];

			memset(path, 'a', sizeof(path) - 1);
			say("long", chdir(path));
		} else if (!strcmp(*word, "connect"))
			connect_all();
		else if (!strcmp(*word, "faulted"))
			faulted();
		else if (!strcmp(*word, "umask"))
			say("umask", umask(022));
		else if (!strcmp(*word, "sync"))
			say("sync", syscall(SYS_syncfs, -1));
		else if (!strcmp(*word, "uname"))
			say("uname", syscall(SYS_uname, 0));
		else if (!strcmp(*word, "times"))
			say("times", syscall(SYS_times, 0));
		else if (!strcmp(*word, "unknown"))
			say("unknown", syscall(999, 1, 2, 3, 4, 5, 6));
		else if (!strcmp(*word, "x86"))
			say("x86", x86_getpid() == getpid() ? 0 : -1);
		else if (!strcmp(*word, "x32"))
			say("x32", syscall(0x40000000 | SYS_getsid, 0));
		else if (!strcmp(*word, "crowd"))
			crowd(4, 4, 25);
		else if (!strcmp(*word, "interrupted"))
			interrupted(atol(*++word));
		else if (!strcmp(*word, "timed"))
			timed(atol(*++word));
		else if (!strcmp(*word, "behind"))
			leave_behind();
		else if (!strcmp(*word, "orphans"))
			orphans(20);
		else if (!strcmp(*word, "signals"))
			signals();
		else if (!strcmp(*word, "status"))
			status_line(*++word);
		else if (!strcmp(*word, "raise"))
			kill(getpid(), atoi(*++word));
		else if (!strcmp(*word, "named"))
			prctl(PR_SET_NAME, *++word);
		else if (!strcmp(*word, "shut"))
			close(1);
		else if (!strcmp(*word, "wait")) {
			char byte;

			while (read(0, &byte, 1) > 0)
				;
		} else if (!strcmp(*word, "exit"))
			_exit(atoi(*++word));
		else if (!strcmp(*word, "exec")) {
			/* The rest is done by the program again. */
			fflush(stdout);
			execv("/proc/self/exe", word);
			return 96;
		} else
			return 95;
		fflush(stdout);
	}
	return 0;
}
