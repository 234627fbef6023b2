/* The normal life of watch_attacks.c: what it does to start up, and for each job. */

static void handles(int number)
{
	(void)number;
	if (in_handler)
		in_handler();
	syscall(SYS_write, pair[1], "s", 1);
}

static volatile int thread_id;

static int threads(void *unused)
{
	(void)unused;
	if (in_thread)
		in_thread();
	syscall(SYS_getppid);
	return 0;
}

/* A thread that makes one call; its end is seen in memory, without a call. */
static void with_thread(void)
{
	static char stack[4 * PAGE] __attribute__((aligned(16)));
	int flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM | CLONE_CHILD_SETTID |
		    CLONE_CHILD_CLEARTID;

	thread_id = -1;
	clone(threads, stack + sizeof(stack), flags, NULL, NULL, NULL, &thread_id);
	while (*(volatile int *)&thread_id)
		__builtin_ia32_pause();
}

static void wait_for(pid_t process)
{
	syscall(SYS_wait4, process, NULL, 0, NULL);
}

/* A helper program, in a child. */
static void with_helper(int at)
{
	static char *const words[] = { "true", NULL };
	pid_t process = syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);

	if (!process) {
		if (in_child)
			in_child();
		syscall(SYS_dup3, log_fd, 2, 0);
		if (at)
			syscall(SYS_execveat, AT_FDCWD, "/bin/true", words, environ, 0);
		execute("/bin/true", words);
		syscall(SYS_exit_group, 127);
	}
	wait_for(process);
}

/* A child that gives up what it may do, and mounts something for itself alone. */
static void with_sandbox(void)
{
	pid_t process;

	process = syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
	if (!process) {
		syscall(SYS_prctl, PR_SET_DUMPABLE, 0, 0, 0, 0);
		syscall(SYS_unshare, CLONE_NEWNS);
		syscall(SYS_mount, NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL);
		syscall(SYS_setresuid, 65534, 65534, 65534);
		syscall(SYS_ptrace, PTRACE_TRACEME, 0, 0, 0);
		syscall(SYS_exit_group, 0);
	}
	wait_for(process);
}

static void reads_a_file(const char *name)
{
	char text[64];
	int file = put(name, O_RDONLY);
	long got = syscall(SYS_read, file, text, sizeof(text));

	say("answering\n");
	syscall(SYS_sendto, client, text, got, MSG_NOSIGNAL, NULL, 0);
	syscall(SYS_close, file);
}

static void writes_a_file(void)
{
	int file;

	syscall(SYS_umask, 022);
	file = put("report", O_WRONLY | O_CREAT | O_TRUNC);
	syscall(SYS_pwrite64, file, "report\n", 7, 0);
	syscall(SYS_lseek, file, 0, SEEK_SET);
	syscall(SYS_sendfile, file, held, NULL, 4);
	syscall(SYS_close, file);
	say("report\n");
	syscall(SYS_chmod, "report", 0600);
	syscall(SYS_lchown, "report", 0, 0);
	syscall(SYS_rename, "report", "report.old");
	say("report kept\n");
	syscall(SYS_unlink, "report.old");
	syscall(SYS_symlink, "config", "link");
	say("link\n");
	syscall(SYS_unlink, "link");
	say("no link\n");
}

static void memory(void)
{
	char *data = (char *)syscall(SYS_mmap, NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *library;
	struct iovec ours = { data, 8 }, same = { data + 8, 8 };
	int file;

	syscall(SYS_process_vm_writev, getpid(), &ours, 1, &same, 1, 0);
	syscall(SYS_mprotect, data, PAGE, PROT_READ);
	syscall(SYS_munmap, data, PAGE);
	file = put("/proc/self/exe", O_RDONLY);
	library = (char *)syscall(SYS_mmap, NULL, PAGE, PROT_READ | PROT_EXEC, MAP_PRIVATE, file, 0);
	syscall(SYS_mprotect, library, PAGE, PROT_READ | PROT_WRITE);
	syscall(SYS_mprotect, library, PAGE, PROT_READ | PROT_EXEC);
	syscall(SYS_munmap, library, PAGE);
	syscall(SYS_close, file);
	say("memory\n");
	file = syscall(SYS_memfd_create, "scratch", 0);
	syscall(SYS_write, file, code, sizeof(code));
	syscall(SYS_close, file);
}

static void network(void)
{
	struct sockaddr_in any = { .sin_family = AF_INET };
	struct msghdr message = { 0 };
	int file;

	any.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	say("asks somebody\n");
	file = syscall(SYS_socket, AF_INET, SOCK_DGRAM, 0);
	syscall(SYS_connect, file, &outside, sizeof(outside));
	syscall(SYS_sendmsg, pair[1], &message, MSG_NOSIGNAL);
	syscall(SYS_bind, spare, &any, sizeof(any)); /* EINVAL: it has an address */
	syscall(SYS_dup2, file, 30);
	syscall(SYS_close, 30);
	syscall(SYS_close, file);
}

/* The normal work: every call of every attack, each where it belongs. */
static void job(void)
{
	say("job\n");
	reads_a_file(served);
	writes_a_file();
	memory();
	network();
	say("thread\n");
	with_thread();
	say("helpers\n");
	with_helper(0);
	with_helper(1);
	with_sandbox();
	say("signals\n");
	syscall(SYS_getpid);
	syscall(SYS_kill, getpid(), SIGUSR1);
	syscall(SYS_kill, victim, 0);
	say("done\n");
}

static void start_up(void)
{
	struct sockaddr_in address = { .sin_family = AF_INET };
	struct sigaction action = { .sa_handler = handles };
	socklen_t length = sizeof(address);
	char line[100];

	log_fd = put("log", O_WRONLY | O_CREAT | O_APPEND);
	say("starting\n");
	syscall(SYS_mkdir, "run", 0755);
	say("directory\n");
	sigaction(SIGUSR1, &action, NULL);
	held = put("target", O_RDWR);
	syscall(SYS_socketpair, AF_UNIX, SOCK_DGRAM, 0, pair);
	spare = syscall(SYS_socket, AF_INET, SOCK_STREAM, 0);
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	syscall(SYS_bind, spare, &address, sizeof(address));
	say("children\n");
	victim = syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
	if (!victim) {
		for (;;)
			syscall(SYS_pause);
	}
	listener = syscall(SYS_socket, AF_INET, SOCK_STREAM, 0);
	syscall(SYS_bind, listener, &address, sizeof(address));
	syscall(SYS_listen, listener, 16);
	syscall(SYS_getsockname, listener, &address, &length);
	snprintf(line, sizeof(line), "ready %d %d %ld\n", ntohs(address.sin_port), victim, (long)&canary);
	syscall(SYS_write, 1, line, strlen(line));
}
