/* Commands of payload.c that try to confuse the recorder. Included there once. */

static volatile int level, deepest, forged;
static sigjmp_buf back;
static ucontext_t saved;
static int pipe_ends[2];

/* Call by i386's entry; addresses must be below 4 GiB. */
static long int80(long nr, long a, long b, long c, long d)
{
	long result = nr;

#ifdef __x86_64__
	__asm__ volatile("int $0x80" : "+a"(result) : "b"(a), "c"(b), "d"(c), "S"(d) : "memory", "r8", "r9", "r10", "r11");
#endif
	return (int)result;
}

static void on_signal(int number, void (*handler)(int, siginfo_t *, void *), int flags)
{
	struct sigaction action = { .sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_NODEFER | flags };

	sigaction(number, &action, NULL);
}

static void signal_us(long nr, int number)
{
	if (nr == SYS_tgkill)
		syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), number);
	else
		syscall(SYS_kill, getpid(), number);
}

static void nests(int number, siginfo_t *info, void *context)
{
	syscall(SYS_getgid);
	if (++level < deepest)
		signal_us(SYS_kill, number);
	syscall(SYS_getegid);
}

static void leaves(int number, siginfo_t *info, void *context)
{
	syscall(SYS_getgid);
	siglongjmp(back, 1);
}

static void keeps(int number, siginfo_t *info, void *context)
{
	if (!sigsetjmp(back, 0))
		signal_us(SYS_kill, SIGUSR2);
	syscall(SYS_getpgrp);
}

static void copies(int number, siginfo_t *info, void *context)
{
	memcpy(&saved, context, sizeof(saved));
	saved.uc_mcontext.fpregs = NULL; /* it lies on the stack */
}

static void forks_inside(int number, siginfo_t *info, void *context)
{
	syscall(SYS_getgid);
	if (fork())
		wait(NULL);
}

static void writes(int number, siginfo_t *info, void *context)
{
	syscall(SYS_getgid);
	if (write(pipe_ends[1], "x", 1) != 1)
		_exit(1);
}

static void wait_for_state(pid_t pid, char wanted)
{
	char path[64], text[256], *at;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	for (;;) {
		int fd = open(path, O_RDONLY);
		ssize_t length = read(fd, text, sizeof(text) - 1);

		close(fd);
		text[length > 0 ? length : 0] = 0;
		at = strrchr(text, ')');
		if (at && at[2] == wanted)
			return;
	}
}

static void interrupted_read(int flags)
{
	struct itimerval soon = { .it_value.tv_usec = 20000 };
	char byte;

	on_signal(SIGALRM, writes, flags);
	if (pipe(pipe_ends))
		_exit(1);
	setitimer(ITIMER_REAL, &soon, NULL);
	while (syscall(SYS_read, pipe_ends[0], &byte, 1) < 0)
		;
}

static void stopped_sleep(void)
{
	struct timespec time = { .tv_nsec = 300000000 };
	pid_t us = getpid(), child = fork();

	if (!child) {
		wait_for_state(us, 'S');
		kill(us, SIGSTOP);
		wait_for_state(us, 'T');
		kill(us, SIGCONT);
		_exit(0);
	}
	syscall(SYS_nanosleep, &time, NULL);
	syscall(SYS_geteuid);
	waitpid(child, NULL, 0);
}

/*
 * signals nested N|leave|inner|forge|fork|restart|again|stop: getuid, then tgkill of ourselves, whose handler calls getgid and
 * what else there is above, then geteuid. A test knows which call may follow which.
 */
static int signals(char **argv)
{
	const char *how = argv[0];

	if (!strcmp(how, "stop")) {
		stopped_sleep();
		return 0;
	}
	if (!strcmp(how, "restart") || !strcmp(how, "again")) {
		interrupted_read(!strcmp(how, "restart") ? SA_RESTART : 0);
		syscall(SYS_geteuid);
		return 0;
	}
	deepest = !strcmp(how, "nested") ? atoi(argv[1]) : 0;
	on_signal(SIGUSR1, !strcmp(how, "nested") ? nests : !strcmp(how, "leave") ? leaves : !strcmp(how, "inner") ? keeps :
			   !strcmp(how, "forge") ? copies : forks_inside, 0);
	on_signal(SIGUSR2, leaves, 0);
	if (!strcmp(how, "leave") && sigsetjmp(back, 0)) {
		syscall(SYS_geteuid);
		return 0;
	}
	syscall(SYS_getuid);
#ifdef __x86_64__
	if (!strcmp(how, "forge")) {
		/* The saved frame comes back here: this function's own stack is still as it was. */
		long pid = getpid(), thread = syscall(SYS_gettid), result = SYS_tgkill;

		__asm__ volatile("syscall" : "+a"(result) : "D"(pid), "S"(thread), "d"(SIGUSR1) : "rcx", "r11", "memory");
	} else
#endif
		signal_us(SYS_tgkill, SIGUSR1);
#ifdef __x86_64__
	if (!strcmp(how, "forge") && !forged++) {
		syscall(SYS_getgid);
		__asm__ volatile("mov %0, %%rsp\n\tmov %1, %%eax\n\tsyscall" : : "r"(&saved), "i"(SYS_rt_sigreturn) : "memory");
	}
#endif
	syscall(SYS_geteuid);
	return 0;
}

static void *executes(void *words)
{
	execv(((char **)words)[0], words);
	return NULL;
}

/* execthread PROGRAM…: execute PROGRAM in a second thread while others make calls. */
static int execthread(char **argv)
{
	pthread_t thread, busy[4];

	calls_each = 1L << 40;
	for (int i = 0; i < 4; i++)
		pthread_create(&busy[i], NULL, many_calls, NULL);
	pthread_create(&thread, NULL, executes, argv);
	pthread_join(thread, NULL);
	return 1;
}

/* into DIR: a child in the cgroup DIR by clone3(2), which calls getpriority; we call getpgrp. */
static int into(char **argv)
{
	struct clone_args arguments = { .flags = CLONE_INTO_CGROUP, .exit_signal = SIGCHLD };
	long child;

	arguments.cgroup = open(argv[0], O_PATH | O_DIRECTORY);
	child = syscall(SYS_clone3, &arguments, sizeof(arguments));
	if (child < 0)
		return 1;
	if (!child) {
		syscall(SYS_getpriority, 0, 0);
		_exit(0);
	}
	waitpid(child, NULL, 0);
	syscall(SYS_getpgrp);
	return 0;
}

static char racing[64] = "/race-a";

static void *flips(void *stop)
{
	while (!*(volatile int *)stop) {
		strcpy(racing, "/race-b/with-a-longer-name");
		madvise((void *)((unsigned long)racing & ~4095UL), 0, MADV_NORMAL);
		memset(racing, 'x', sizeof(racing) - 1);
		strcpy(racing, "/race-a");
	}
	return NULL;
}

static char *mapped;

static void *unmaps(void *stop)
{
	while (!*(volatile int *)stop) {
		mprotect(mapped, 4096, PROT_NONE);
		mprotect(mapped, 4096, PROT_READ | PROT_WRITE);
	}
	return NULL;
}

/* race N: N access and connect calls on memory that another thread changes, and N on a page that comes and goes. */
static int race(char **argv)
{
	static int stop;
	pthread_t threads[2];
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	mapped = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	strcpy(mapped, "/race-c");
	pthread_create(&threads[0], NULL, flips, &stop);
	pthread_create(&threads[1], NULL, unmaps, &stop);
	for (long i = atol(argv[0]); i > 0; i--) {
		syscall(SYS_access, racing, 0);
		syscall(SYS_access, mapped, 0);
		*(short *)&racing[56] = AF_UNIX;
		syscall(SYS_connect, fd, racing, sizeof(racing));
		syscall(SYS_connect, fd, mapped, 100);
	}
	stop = 1;
	pthread_join(threads[0], NULL);
	pthread_join(threads[1], NULL);
	return 0;
}

static struct {
	unsigned words[6];
	char name[64];
	struct sockaddr_un address;
	unsigned long how[3];
} low;

/* compat: files, arguments and addresses by i386 and x32 calls, of names that begin with /i386 and /x32. */
static int compat(char **argv)
{
	long fd;

	strcpy(low.name, "/i386-open");
	int80(5, (long)low.name, 0, 0, 0); /* open */
	strcpy(low.name, "/i386-rename-from");
	int80(38, (long)low.name, (long)argv[0], 0, 0); /* rename; the second name is out of its reach */
	int80(33, (long)"/i386-access", 4, 0, 0);
	int80(55, 0, 0x12345678, 0, 0); /* fcntl */
	low.how[2] = 1L << 40 | 8;
	int80(437, -100, (long)"/i386-openat2", (long)low.how, 24);
	low.words[0] = AF_UNIX, low.words[1] = SOCK_STREAM;
	fd = int80(102, 1, (long)low.words, 0, 0); /* socketcall: socket */
	low.address.sun_family = AF_UNIX;
	strcpy(low.address.sun_path, "/i386-connect");
	low.words[0] = fd, low.words[1] = (long)&low.address, low.words[2] = 2 + 14;
	int80(102, 3, (long)low.words, 0, 0);
	strcpy(low.address.sun_path, "/i386-sendmsg");
	memset(low.name, 0, sizeof(low.name)); /* the rest of the message's head */
	low.words[0] = fd, low.words[1] = (long)&low.words[3], low.words[2] = 0;
	low.words[3] = (long)&low.address, low.words[4] = 2 + 14;
	int80(102, 16, (long)low.words, 0, 0);
	syscall(0x40000000 | SYS_open, "/x32-open", 0);
	syscall(0x40000000 | SYS_fcntl, 0, 0x4321, 0);
	return 0;
}
