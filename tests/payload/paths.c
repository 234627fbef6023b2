/*
 * Every way to name a file: run in an empty directory of its own, as root. What a call returns is not looked at, but
 * where the next step needs it; a recorder and strace(1) are to agree on what became of it. With the word "killed":
 * threads that end in the middle of calls, of which they need not.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <linux/openat2.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

static int make(const char *name)
{
	return open(name, O_CREAT | O_EXCL | O_RDWR, 0644);
}

static void names(void)
{
	struct open_how how = { .flags = O_RDONLY, .resolve = RESOLVE_NO_SYMLINKS };
	struct stat st;
	struct statfs fs;
	struct statx stx;
	char text[256];
	int dir, fd, watch;

	mkdir("real", 0755);
	mkdir("real/inner", 0755);
	mkdir("other", 0700);
	mkdir("real", 0755);
	close(make("real/file"));
	close(make("real/file")); /* EEXIST */
	symlink("real", "way");
	symlink("way/inner", "far");
	symlink("nowhere", "dangling");
	symlink("circle", "circle");
	readlink("way", text, sizeof(text));
	stat("way/file", &st);
	stat("way", &st);
	lstat("way", &st);
	stat("dangling", &st);
	stat("circle/x", &st);
	stat("real/file/x", &st);
	syscall(SYS_stat, "far/../file", &st);
	syscall(SYS_lstat, "far", &st);
	syscall(SYS_statx, AT_FDCWD, "far", AT_SYMLINK_NOFOLLOW, STATX_ALL, &stx);
	close(open("dangling", O_CREAT | O_WRONLY, 0600)); /* makes nowhere */
	close(open("way", O_RDONLY | O_NOFOLLOW));
	close(open("circle", O_RDONLY));
	close(open("way/file", O_PATH));
	close(open("real/file", 3)); /* for ioctl only */
	close(open("real/file", O_RDWR | O_TRUNC));
	close(open("real", O_RDONLY | O_DIRECTORY));
	close(open("real/file", O_RDONLY | O_DIRECTORY));
	close(creat("made", 0600));
	close(creat("made", 0600));
	access("way/file", R_OK | X_OK);
	syscall(SYS_faccessat2, AT_FDCWD, "far", F_OK, AT_SYMLINK_NOFOLLOW);
	chdir("far");
	close(open("../file", O_RDONLY));
	close(open("../../other", O_RDONLY));
	chdir("../..");
	dir = open("real", O_RDONLY | O_DIRECTORY);
	fd = openat(dir, "inner/deep", O_CREAT | O_RDWR, 0600);
	fstatat(dir, "file", &st, 0);
	fstatat(dir, "", &st, AT_EMPTY_PATH);
	fstatat(dir, "", &st, 0);
	fstatat(99, "file", &st, 0);
	fstatat(99, "/etc/passwd", &st, 0);
	fstatat(fd, "not-a-directory", &st, 0);
	mkdirat(dir, "made", 0755);
	renameat(dir, "made", AT_FDCWD, "moved");
	renameat(dir, "inner/deep", dir, "deep"); /* across directories */
	linkat(dir, "deep", AT_FDCWD, "other/linked", 0);
	link("real/deep", "other/linked");
	renameat2(AT_FDCWD, "other/linked", AT_FDCWD, "made", RENAME_EXCHANGE);
	renameat2(AT_FDCWD, "other/linked", AT_FDCWD, "made", RENAME_NOREPLACE);
	symlinkat("nothing", dir, "link");
	readlinkat(dir, "link", text, sizeof(text));
	linkat(dir, "link", dir, "link2", 0);
	linkat(AT_FDCWD, "way/file", AT_FDCWD, "followed", AT_SYMLINK_FOLLOW);
	unlinkat(dir, "link", 0);
	unlinkat(dir, "inner", 0);
	unlinkat(dir, "inner", AT_REMOVEDIR);
	unlink("moved");
	rmdir("moved");
	rmdir("moved");
	fchdir(dir);
	truncate("file", 10);
	truncate("missing", 10);
	ftruncate(fd, 5);
	ftruncate(fd, -1);
	chdir("..");
	mkfifo("fifo", 0600);
	mknod("fifo", S_IFIFO | 0600, 0);
	mknodat(dir, "plain", 0600, 0);
	chmod("made", 0640);
	fchmodat(dir, "file", 0600, 0);
	chown("made", 0, 0);
	lchown("way", 0, 0);
	fchownat(dir, "file", 0, 0, AT_SYMLINK_NOFOLLOW);
	utimensat(dir, "file", NULL, 0);
	utimensat(fd, NULL, NULL, 0);
	utimes("way", NULL);
	setxattr("made", "trusted.x", "y", 1, 0);
	getxattr("made", "trusted.x", text, sizeof(text));
	lgetxattr("way", "trusted.x", text, sizeof(text));
	listxattr("way", text, sizeof(text));
	removexattr("made", "trusted.x");
	statfs("way", &fs);
	watch = inotify_init1(IN_CLOEXEC);
	inotify_add_watch(watch, "way", IN_CREATE);
	syscall(SYS_openat2, AT_FDCWD, "way/file", &how, sizeof(how));
	how.resolve = RESOLVE_BENEATH | RESOLVE_IN_ROOT;
	syscall(SYS_openat2, AT_FDCWD, "way/file", &how, sizeof(how));
	how.resolve = RESOLVE_IN_ROOT;
	close(syscall(SYS_openat2, dir, "/deep", &how, sizeof(how)));
	how.resolve = 0;
	close(syscall(SYS_openat2, dir, "deep", &how, sizeof(how)));
	close(fd);
	close(dir);
	close(watch);
}

/* Names of every length and of any bytes. */
static void odd_names(void)
{
	static char name[5000];
	struct stat st;

	mkdir("odd", 0755);
	chdir("odd");
	close(make("new\nline"));
	close(make("\xff\xfe invalid \xc3("));
	close(make("back\\slash \"quote\" 'single' <angle> {brace}, (comma) = 0"));
	close(make("tab\tand\x1b[31mred\x07"));
	stat("gone\n\xff", &st);
	memset(name, 'n', 255);
	close(make(name));
	name[255] = 'n';
	close(open(name, O_RDONLY)); /* ENAMETOOLONG */
	/* 4095 bytes are the longest name; of 4096 there is none. */
	for (int length = 4094; length <= 4096; length++) {
		for (int i = 0; i < length; i++)
			name[i] = i & 1 ? '/' : '.';
		memcpy(name + length - 8, "//./gone", 8);
		name[length] = 0;
		stat(name, &st);
		close(open(name, O_RDONLY));
	}
	stat("", &st);
	stat(NULL, &st);
	stat((char *)8, &st);
	rename("tab\tand\x1b[31mred\x07", "line\rfeed");
	chdir("..");
}

static void special_files(void)
{
	char text[64];
	int fd, memory, pipes[2], count;
	struct stat st;

	fd = open(".", O_TMPFILE | O_RDWR, 0600);
	snprintf(text, sizeof(text), "/proc/self/fd/%d", fd);
	linkat(AT_FDCWD, text, AT_FDCWD, "named", AT_SYMLINK_FOLLOW);
	linkat(fd, "", AT_FDCWD, "other/nameless", AT_EMPTY_PATH);
	close(open(text, O_RDONLY));
	ftruncate(fd, 3);
	close(fd);
	fd = open("real", O_TMPFILE | O_WRONLY, 0600);
	ftruncate(fd, 3);
	close(fd);
	memory = memfd_create("memory", MFD_CLOEXEC);
	ftruncate(memory, 4096);
	snprintf(text, sizeof(text), "/proc/self/fd/%d", memory);
	close(open(text, O_RDWR));
	stat(text, &st);
	pipe(pipes);
	snprintf(text, sizeof(text), "/proc/self/fd/%d", pipes[0]);
	close(open(text, O_RDONLY | O_NONBLOCK));
	fd = open("made", O_RDONLY);
	linkat(fd, "", AT_FDCWD, "other/again", AT_EMPTY_PATH);
	close(fd);
	fd = make("doomed");
	unlink("doomed");
	ftruncate(fd, 1);
	snprintf(text, sizeof(text), "/proc/self/fd/%d", fd);
	close(open(text, O_RDONLY));
	close(fd);
	close(open("/proc/self/status", O_RDONLY));
	close(open("/proc/thread-self/comm", O_RDONLY));
	snprintf(text, sizeof(text), "/proc/%d/stat", getpid());
	close(open(text, O_RDONLY));
	snprintf(text, sizeof(text), "/proc/self/task/%d/stat", getpid());
	close(open(text, O_RDONLY));
	close(open("/proc/self/cwd/made", O_RDONLY));
	close(open("/proc/self/missing", O_RDONLY));
	snprintf(text, sizeof(text), "/proc/%d/stat", getppid());
	close(open("/proc/1/limits", O_RDONLY));
	readlink("/proc/self/exe", text, sizeof(text));
	fd = open("/dev/null", O_RDWR);
	ioctl(fd, FIONREAD, &count);
	ioctl(fd, TIOCGWINSZ, text);
	ioctl(fd, FIONREAD, &count);
	ioctl(pipes[0], FIONREAD, &count);
	close(fd);
	fd = open("/dev/zero", O_RDONLY);
	ioctl(fd, FIONBIO, &count);
	ftruncate(fd, 0);
	close(fd);
	close(open("/dev/full", O_CREAT | O_WRONLY, 0600));
}

static void mounts(void)
{
	int dir;

	if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL))
		exit(3);
	mkdir("bound", 0755);
	mkdir("over", 0755);
	mkdir("upper", 0755);
	mkdir("work", 0755);
	mount("real", "bound", NULL, MS_BIND, NULL);
	mount("overlay", "over", "overlay", 0, "lowerdir=real,upperdir=upper,workdir=work");
	mount("none", "missing", "tmpfs", 0, NULL);
	dir = open("bound", O_RDONLY | O_DIRECTORY);
	close(open("bound/file", O_RDONLY));
	close(openat(dir, "deep", O_RDWR));
	close(open("over/file", O_RDONLY));
	close(open("over/file", O_RDWR)); /* copied up */
	close(open("over/new", O_CREAT | O_RDWR, 0600));
	unlink("over/new");
	rename("bound/deep", "bound/deeper");
	link("bound/deeper", "real/deep"); /* EXDEV */
	close(dir);
	umount("over");
	umount2("bound", MNT_DETACH);
	umount("missing");
}

static void in_root(void)
{
	struct stat st;

	if (fork()) {
		wait(NULL);
		return;
	}
	mkdir("root", 0755);
	mkdir("root/etc", 0755);
	symlink("/etc", "root/link");
	close(make("root/etc/inside"));
	chroot("root");
	stat("/etc/inside", &st);
	stat("/link/inside", &st);
	close(open("/link/inside", O_RDONLY));
	close(open("/etc/passwd", O_RDONLY));
	close(open("root/etc/inside", O_RDONLY)); /* the current directory is outside */
	chdir("/");
	close(open("../../etc/inside", O_RDONLY));
	close(open("etc/../etc/inside", O_RDONLY));
	unlink("/etc/inside");
	_exit(0);
}

static void execute(const char *name, int flags)
{
	char *const words[] = { "argv0", "word", NULL }, *const none[] = { NULL };
	int dir;

	if (fork()) {
		wait(NULL);
		return;
	}
	if (flags < 0) {
		execve(name, words, none);
	} else if (flags & AT_EMPTY_PATH) {
		dir = open(name, O_PATH);
		syscall(SYS_execveat, dir, "", words, none, flags);
	} else {
		dir = open("scripts", O_RDONLY | O_DIRECTORY);
		syscall(SYS_execveat, dir, name, words, none, flags);
	}
	_exit(1);
}

static void script(const char *name, const char *text)
{
	int fd = open(name, O_CREAT | O_WRONLY, 0755);

	write(fd, text, strlen(text));
	close(fd);
}

static void programs(void)
{
	char here[256], text[300];

	mkdir("scripts", 0755);
	script("scripts/sh", "#!/bin/sh\nexit 0\n");
	snprintf(text, sizeof(text), "#! %s/scripts/sh  with arguments\n", getcwd(here, sizeof(here)));
	script("scripts/nested", text);
	script("scripts/env", "#!/usr/bin/env -S sh -e\n:\n");
	script("scripts/broken", "#!/does/not/exist\n");
	script("scripts/text", "no program\n");
	symlink("scripts/sh", "program");
	symlink("/bin/true", "true");
	execute("scripts/sh", -1);
	execute("scripts/nested", -1);
	execute("./scripts/env", -1);
	execute("scripts/broken", -1);
	execute("scripts/text", -1);
	execute("scripts/missing", -1);
	execute("scripts", -1);
	execute("made", -1);
	execute("program", -1);
	execute("true", -1);
	execute("/bin/../bin/true", -1);
	execute("/bin/true", AT_EMPTY_PATH);
	execute("/bin/true", 0);
	execute("missing", 0);
	execute("sh", AT_SYMLINK_NOFOLLOW);
}

static void unix_sockets(void)
{
	struct sockaddr_un name = { .sun_family = AF_UNIX, .sun_path = "socket" };
	struct sockaddr_un hidden = { .sun_family = AF_UNIX, .sun_path = "\0abstract\0name" };
	socklen_t length = offsetof(struct sockaddr_un, sun_path) + 14, whole = sizeof(name);
	int one = socket(AF_UNIX, SOCK_STREAM, 0), two = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int three = socket(AF_UNIX, SOCK_DGRAM, 0), four = socket(AF_UNIX, SOCK_SEQPACKET, 0), pair[2];

	bind(one, (void *)&name, whole);
	bind(one, (void *)&name, whole);
	connect(two, (void *)&name, whole); /* nobody listens yet */
	listen(one, 1);
	connect(two, (void *)&name, whole);
	bind(three, (void *)&name, whole);
	bind(three, (void *)&hidden, length);
	sendto(three, "x", 1, 0, (void *)&hidden, length);
	sendto(three, "x", 1, 0, (void *)&name, whole);
	bind(four, (void *)&hidden, 2); /* a name is found for it */
	listen(four, 3);
	socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
	strcpy(name.sun_path, "way/socket");
	close(one);
	one = socket(AF_UNIX, SOCK_STREAM, 0);
	bind(one, (void *)&name, whole);
	strcpy(name.sun_path, "way/missing");
	connect(two, (void *)&name, whole);
	listen(two, 1);
	memset(name.sun_path, 'l', sizeof(name.sun_path));
	close(one);
	one = socket(AF_UNIX, SOCK_STREAM, 0);
	bind(one, (void *)&name, whole); /* 108 bytes and no NUL */
	unlink("socket");
	close(one);
	close(two);
	close(three);
	close(four);
}

static void network(void)
{
	struct sockaddr_in here = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct sockaddr_in6 six = { .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT, .sin6_port = htons(9) };
	struct sockaddr_nl kernel = { .nl_family = AF_NETLINK };
	struct sockaddr unspecified = { .sa_family = AF_UNSPEC };
	int tcp = socket(AF_INET, SOCK_STREAM, 0), udp = socket(AF_INET, SOCK_DGRAM, 0);
	int udp6 = socket(AF_INET6, SOCK_DGRAM, 0), link = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE), file;
	struct iovec vector = { "x", 1 };
	struct mmsghdr messages[40] = {};
	struct sockaddr_in addresses[40];

	bind(tcp, (void *)&here, sizeof(here));
	listen(tcp, 5);
	close(tcp);
	tcp = socket(AF_INET, SOCK_STREAM, IPPROTO_TCP);
	listen(tcp, 5); /* bound to a port of the kernel's choice */
	here.sin_port = htons(9);
	connect(udp, (void *)&here, sizeof(here));
	connect(udp, &unspecified, sizeof(unspecified));
	sendto(udp, "x", 1, 0, (void *)&here, sizeof(here));
	sendto(udp, "x", 1, MSG_DONTWAIT, (void *)&here, 3);
	sendto(udp6, "x", 1, 0, (void *)&six, sizeof(six));
	connect(udp6, (void *)&here, sizeof(here));
	bind(link, (void *)&kernel, sizeof(kernel));
	sendto(link, "x", 1, 0, (void *)&kernel, sizeof(kernel));
	for (int i = 0; i < 40; i++) {
		addresses[i] = here;
		addresses[i].sin_port = htons(10000 + i % 20);
		messages[i].msg_hdr.msg_iov = &vector;
		messages[i].msg_hdr.msg_iovlen = 1;
		if (i != 7) {
			messages[i].msg_hdr.msg_name = &addresses[i];
			messages[i].msg_hdr.msg_namelen = sizeof(addresses[i]);
		}
	}
	sendmmsg(udp, messages, 40, 0);
	sendmmsg(udp, messages + 7, 3, 0); /* none is sent: there is no address */
	sendmsg(udp, &messages[0].msg_hdr, 0);
	sendmsg(99, &messages[0].msg_hdr, 0);
	file = open("made", O_RDONLY);
	connect(file, (void *)&here, sizeof(here));
	connect(99, (void *)&here, sizeof(here));
	close(file);
	close(tcp);
	close(udp);
	close(udp6);
	close(link);
}

static void count_one(int number)
{
	getppid();
}

static void nested(int number)
{
	getpgid(0);
	raise(SIGUSR2);
	getsid(0);
}

/* A handler that makes calls comes into read, with and without SA_RESTART, and into another handler. */
static void signals(void)
{
	struct itimerval soon = { .it_value = { 0, 20000 } };
	struct timespec while_ = { 0, 50000000 };
	struct sigaction action = { .sa_handler = count_one };
	int pipes[2];
	char byte;

	pipe(pipes);
	sigaction(SIGUSR2, &action, NULL);
	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &soon, NULL);
	read(pipes[0], &byte, 1); /* EINTR */
	setitimer(ITIMER_REAL, &soon, NULL);
	nanosleep(&while_, NULL);
	setitimer(ITIMER_REAL, &soon, NULL);
	pause();
	setitimer(ITIMER_REAL, &soon, NULL);
	open("fifo", O_RDONLY); /* waits for a writer */
	action.sa_handler = nested;
	action.sa_flags = SA_RESTART;
	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &soon, NULL);
	if (!fork()) {
		nanosleep(&while_, NULL);
		write(pipes[1], "x", 1);
		_exit(0);
	}
	read(pipes[0], &byte, 1); /* is made again */
	wait(NULL);
	raise(SIGALRM);
	signal(SIGALRM, SIG_IGN);
	raise(SIGALRM);
	signal(SIGCHLD, count_one);
	if (!fork())
		_exit(0);
	wait(NULL);
	signal(SIGCHLD, SIG_DFL);
}

static void *thread(void *name)
{
	struct stat st;

	for (int i = 0; i < 20; i++)
		stat(name, &st);
	close(open("/proc/thread-self/comm", O_RDONLY));
	close(open("/proc/self/comm", O_RDONLY));
	return NULL;
}

static int looks;

static __attribute__((noreturn)) void *endless(void *name)
{
	struct stat st;

	for (;;) {
		stat(name, &st);
		__atomic_add_fetch(&looks, 1, __ATOMIC_RELAXED);
	}
}

static void *executing(void *unused)
{
	char *const words[] = { "of-a-thread", NULL };

	execve("/bin/true", words, words + 1);
	return NULL;
}

static void threads(void)
{
	static char *names[] = { "way", "made", "real/file", "missing" };
	pthread_t all[4];

	for (int i = 0; i < 4; i++)
		pthread_create(&all[i], NULL, thread, names[i]);
	for (int i = 0; i < 4; i++)
		pthread_join(all[i], NULL);
	if (!vfork())
		_exit(0);
	wait(NULL);
	if (!fork()) {
		pthread_create(&all[0], NULL, executing, NULL);
		for (;;)
			;
	}
	wait(NULL);
}

/* Threads are killed in the middle of calls. */
static void killed(void)
{
	static char *names[] = { ".", "/etc/passwd", "/" };
	pthread_t all[3];

	for (int round = 0; round < 8; round++) {
		if (!fork()) {
			for (int i = 0; i < 3; i++)
				pthread_create(&all[i], NULL, endless, names[i]);
			while (__atomic_load_n(&looks, __ATOMIC_RELAXED) < 60)
				;
			_exit(0);
		}
		wait(NULL);
	}
}

int main(int argc, char **argv)
{
	if (argc > 1 && !strcmp(argv[1], "killed")) {
		killed();
		return 0;
	}
	names();
	odd_names();
	special_files();
	unix_sockets();
	network();
	signals();
	threads();
	programs();
	in_root();
	mounts();
	return 0;
}
