/*
 * A small server with a normal life, in which every call occurs that its attacks are made of, and these attacks: calls
 * that it makes in an order it never has. For x86_64, static and not relocated (i386 calls name what is below 4 GB).
 *
 * watch_attacks DIR PORT: start up in DIR, listen on loopback, say `ready PORT VICTIM ADDRESS`: our port, a child that
 * waits, and where its canary is. Each connection brings a word: `job` is normal work, `quit` ends it, others are names of
 * attacks (the tables at the end). What it answers ends with `done`. PORT is where attacks connect to.
 *
 * Normal work logs a line before each of its parts. An attack comes instead of that line, right after the word was read,
 * as if reading it had been the mistake. Nothing here leaves the order of its calls to chance: no waiting for locks.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#define PAGE 4096

static volatile long canary = 1;
static pid_t victim;
static int client, listener, log_fd, held, pair[2], spare;
static struct sockaddr_in outside = { .sin_family = AF_INET };

/* mov $SYS_mkdir, %eax; syscall; ret */
static const unsigned char code[] = { 0xb8, 83, 0, 0, 0, 0x0f, 0x05, 0xc3 };
static const char *volatile served = "config";
/* Where a function of ours is called, an attacker has put another one. */
static void (*volatile in_handler)(void), (*volatile in_thread)(void), (*volatile in_child)(void);

static void mark(void)
{
	syscall(SYS_mkdir, "mark", 0755);
}

static void say(const char *line)
{
	syscall(SYS_write, log_fd, line, strlen(line));
}

static int put(const char *name, int flags)
{
	return syscall(SYS_openat, AT_FDCWD, name, flags, 0644);
}

static void execute(const char *program, char *const *words)
{
	syscall(SYS_execve, program, words, environ);
}

static char *const touches[] = { "sh", "-c", "mkdir mark", NULL };

#include "watch_work.h"
#include "watch_wrong.h"

static const struct {
	const char *name;
	void (*run)(void);
} requests[] = {
	{ "job", job },
	{ "late", late },
	{ "mimic", mimic },
	{ "class", of_class },
	{ "handler", handler },
	{ "thread", thread },
	{ "child", child },
	{ "argument", argument },
	{ "exec", exec },
	{ "execveat", exec_at },
	{ "exec-child", exec_child },
	{ "memfd-exec", memfd_exec },
	{ "reverse-shell", reverse_shell },
	{ "client-shell", client_shell },
	{ "connect", connect_out },
	{ "bind-shell", bind_shell },
	{ "send", send_out },
	{ "sendfile", send_file },
	{ "sendmsg", send_message },
	{ "exfiltrate", exfiltrate },
	{ "create", create },
	{ "truncate", truncate_open },
	{ "overwrite", overwrite },
	{ "unlink", unlink_it },
	{ "rename", rename_it },
	{ "chmod", chmod_it },
	{ "chown", chown_it },
	{ "symlink", symlink_it },
	{ "mkdir", mark },
	{ "mount", mount_it },
	{ "unshare", unshare_it },
	{ "clone-namespace", clone_namespace },
	{ "setuid", set_uid },
	{ "kill", kill_it },
	{ "ptrace", ptrace_it },
	{ "vm-write", vm_write },
	{ "mem-write", mem_write },
	{ "mprotect", mprotect_it },
	{ "mmap", mmap_it },
	{ "memfd-mmap", memfd_mmap },
	{ "sigreturn", forged_frame },
	{ "int80", int80 },
};

static void serve(void)
{
	struct epoll_event event = { .events = EPOLLIN };
	int queue = syscall(SYS_epoll_create1, 0);
	char word[32];
	long got;

	syscall(SYS_epoll_ctl, queue, EPOLL_CTL_ADD, listener, &event);
	for (;;) {
		syscall(SYS_epoll_wait, queue, &event, 1, -1);
		client = syscall(SYS_accept4, listener, NULL, NULL, 0);
		got = syscall(SYS_recvfrom, client, word, sizeof(word) - 1, 0, NULL, NULL);
		word[got > 0 ? got : 0] = 0;
		if (!strcmp(word, "quit"))
			syscall(SYS_exit_group, 0);
		for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++)
			if (!strcmp(word, requests[i].name))
				requests[i].run();
		syscall(SYS_sendto, client, "done", 4, MSG_NOSIGNAL, NULL, 0);
		syscall(SYS_close, client);
	}
}

int main(int argc, char **argv)
{
	if (argc != 3 || syscall(SYS_chdir, argv[1]))
		return 2;
	outside.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	outside.sin_port = htons(atoi(argv[2]));
	start_up();
	serve();
}
