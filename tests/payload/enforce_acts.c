/*
 * What a confined program tries: enforce_acts [WORD ARGUMENTS…]…, one line for each: "ok", the name of an error, or what it
 * found. It is static and reads nothing by itself, so that a policy needs no rules but those that are asked about.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/random.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static char *self;

static int shut(int fd)
{
	return fd < 0 ? -1 : close(fd);
}

static int act_read(char **a)
{
	char byte;
	int fd = open(a[0], O_RDONLY), result;

	if (fd < 0)
		return -1;
	result = read(fd, &byte, 1) < 0 ? -1 : 0;
	return close(fd) | result;
}

static int act_write(char **a)
{
	int fd = open(a[0], O_WRONLY);

	if (fd < 0)
		return -1;
	return write(fd, "written", 7) == 7 ? close(fd) : -1;
}

static int act_truncate(char **a) { return truncate(a[0], 1); }
static int act_empty(char **a) { return shut(open(a[0], O_WRONLY | O_TRUNC)); }
static int act_create(char **a) { return mknod(a[0], S_IFREG | 0644, 0); }
static int act_mkdir(char **a) { return mkdir(a[0], 0755); }
static int act_rmdir(char **a) { return rmdir(a[0]); }
static int act_unlink(char **a) { return unlink(a[0]); }
static int act_mkfifo(char **a) { return mkfifo(a[0], 0644); }
static int act_mkchr(char **a) { return mknod(a[0], S_IFCHR | 0644, makedev(1, 3)); }
static int act_mkblk(char **a) { return mknod(a[0], S_IFBLK | 0644, makedev(7, 200)); }
static int act_symlink(char **a) { return symlink("nowhere", a[0]); }
static int act_rename(char **a) { return rename(a[0], a[1]); }
static int act_link(char **a) { return link(a[0], a[1]); }
static int act_stat(char **a) { struct stat status; return stat(a[0], &status); }

static int act_list(char **a)
{
	DIR *all = opendir(a[0]);

	return all && readdir(all) ? closedir(all) : -1;
}

/* A descriptor of a device opened now: Landlock decides at open(2) what ioctl(2) may do with it. */
static int act_ioctl(char **a)
{
	int bits, fd = open(a[0], O_RDONLY);

	return fd < 0 ? -1 : ioctl(fd, RNDGETENTCNT, &bits);
}

static int act_exec(char **a)
{
	int status = 0;
	pid_t child = fork();

	if (!child) {
		char *words[] = {a[0], "exit", "7", NULL};

		execv(a[0], words);
		_exit(errno);
	}
	if (child < 0 || waitpid(child, &status, 0) != child)
		return -1;
	errno = WIFEXITED(status) ? WEXITSTATUS(status) : EINTR;
	return errno == 7 ? 0 : -1;
}

static int unix_socket(const char *name, int abstract, struct sockaddr_un *address, socklen_t *length)
{
	*address = (struct sockaddr_un){.sun_family = AF_UNIX};
	strncpy(address->sun_path + abstract, name, sizeof(address->sun_path) - 2);
	*length = abstract ? offsetof(struct sockaddr_un, sun_path) + 1 + strlen(name) : sizeof(*address);
	return socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
}

static int act_mksock(char **a)
{
	struct sockaddr_un address;
	socklen_t length;
	int fd = unix_socket(a[0], 0, &address, &length);

	return bind(fd, (struct sockaddr *)&address, length);
}

static int act_abstract(char **a)
{
	struct sockaddr_un address;
	socklen_t length;
	int fd = unix_socket(a[0], 1, &address, &length);

	return connect(fd, (struct sockaddr *)&address, length);
}

static struct sockaddr_in loopback(const char *port)
{
	return (struct sockaddr_in){AF_INET, htons((unsigned short)atoi(port)), {htonl(INADDR_LOOPBACK)}, {0}};
}

static int act_bind(char **a)
{
	struct sockaddr_in address = loopback(a[0]);
	int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	return bind(fd, (struct sockaddr *)&address, sizeof(address));
}

static int act_connect(char **a)
{
	struct sockaddr_in address = loopback(a[0]);

	return connect(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), (struct sockaddr *)&address, sizeof(address));
}

static int act_kill(char **a) { return kill(atoi(a[0]), atoi(a[1])); }
static int act_raise(char **a) { return raise(atoi(a[0])); }
static int act_exit(char **a) { _exit(atoi(a[0])); }
static int act_setuid(char **a) { return setuid((uid_t)atoi(a[0])); }

/* A call by number with three arguments; its result is printed. */
static int act_call(char **a)
{
	long result = syscall(atol(a[0]), strtoul(a[1], NULL, 0), strtoul(a[2], NULL, 0), strtoul(a[3], NULL, 0));

	if (result < 0)
		return -1;
	printf("%ld ", result);
	return 0;
}

static void *call_in_thread(void *number)
{
	syscall(*(long *)number);
	return "lives";
}

/* A call without arguments in a thread: does the thread live on? */
static int act_thread(char **a)
{
	long number = atol(a[0]);
	void *result = NULL;
	pthread_t thread;
	int error = pthread_create(&thread, NULL, call_in_thread, &number);

	if (error || pthread_join(thread, &result))
		return -1;
	printf("%s ", result ? (char *)result : "gone");
	return 0;
}

static void on_trap(int signal, siginfo_t *info, void *context)
{
	(void)signal, (void)context;
	printf("trap %d ", info->si_syscall);
}

static int act_trap(char **a)
{
	struct sigaction action = {.sa_sigaction = on_trap, .sa_flags = SA_SIGINFO};

	if (sigaction(SIGSYS, &action, NULL))
		return -1;
	syscall(atol(a[0]));
	return 0;
}

static int act_ids(char **a)
{
	uid_t uids[3], gids[3], groups[64];
	int count = getgroups(64, groups);

	(void)a;
	if (getresuid(uids, uids + 1, uids + 2) || getresgid(gids, gids + 1, gids + 2) || count < 0)
		return -1;
	printf("%u %u %u %u %u %u %d ", uids[0], uids[1], uids[2], gids[0], gids[1], gids[2], count);
	return 0;
}

/* Effective, permitted, inheritable, bounding and ambient sets. */
static int act_caps(char **a)
{
	unsigned header[2] = {0x20080522, 0}, data[6];
	unsigned long bounding = 0, ambient = 0;

	(void)a;
	if (syscall(SYS_capget, header, data))
		return -1;
	for (int i = 0; i < 41; i++) {
		bounding |= (unsigned long)(prctl(PR_CAPBSET_READ, i) == 1) << i;
		ambient |= (unsigned long)(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, i, 0, 0) == 1) << i;
	}
	for (int i = 0; i < 3; i++)
		printf("%lx ", data[i] | (unsigned long)data[3 + i] << 32);
	printf("%lx %lx ", bounding, ambient);
	return 0;
}

static int act_nnp(char **a) { (void)a; printf("%d ", prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0)); return 0; }
static int act_self(char **a) { (void)a; printf("%s ", self); return 0; }

static int act_fds(char **a)
{
	(void)a;
	for (int fd = 0; fd < 1024; fd++)
		if (fcntl(fd, F_GETFD) >= 0)
			printf("%d ", fd);
	return 0;
}

static const struct {
	const char *word;
	int (*act)(char **);
	int arguments;
} acts[] = {
	{"read", act_read, 1}, {"write", act_write, 1}, {"truncate", act_truncate, 1}, {"empty", act_empty, 1},
	{"create", act_create, 1}, {"mkdir", act_mkdir, 1}, {"rmdir", act_rmdir, 1}, {"unlink", act_unlink, 1},
	{"mkfifo", act_mkfifo, 1}, {"mkchr", act_mkchr, 1}, {"mkblk", act_mkblk, 1}, {"mksock", act_mksock, 1},
	{"symlink", act_symlink, 1}, {"rename", act_rename, 2}, {"link", act_link, 2}, {"stat", act_stat, 1},
	{"list", act_list, 1}, {"ioctl", act_ioctl, 1}, {"exec", act_exec, 1}, {"abstract", act_abstract, 1},
	{"bind", act_bind, 1}, {"connect", act_connect, 1}, {"kill", act_kill, 2}, {"raise", act_raise, 1},
	{"exit", act_exit, 1}, {"setuid", act_setuid, 1}, {"call", act_call, 4}, {"thread", act_thread, 1},
	{"trap", act_trap, 1}, {"ids", act_ids, 0}, {"caps", act_caps, 0}, {"nnp", act_nnp, 0}, {"self", act_self, 0},
	{"fds", act_fds, 0},
};

int main(int count, char **words)
{
	setvbuf(stdout, NULL, _IONBF, 0);
	self = words[0];
	for (int i = 1; i < count;) {
		size_t act = 0;

		while (strcmp(acts[act].word, words[i]))
			if (++act == sizeof(acts) / sizeof(*acts))
				return 99;
		if (i + acts[act].arguments >= count)
			return 99;
		i += 1 + acts[act].arguments;
		printf("%s\n", acts[act].act(words + i - acts[act].arguments) ? strerrorname_np(errno) : "ok");
	}
	return 0;
}
