/* Does what its standard input says, one action a line, each in a process of its own, and prints what became of it:
 * an errno, 0, or `signal N`. Under whatever it was started: it has no opinion. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

static char *words[8];

/* 0, or the errno of a call that said -1. */
static int outcome(long result)
{
	return result < 0 ? errno : 0;
}

static int opened(const char *path, int flags)
{
	return outcome(open(path, flags, 0644));
}

static int unix_address(struct sockaddr_un *address, const char *path, int abstract)
{
	memset(address, 0, sizeof(*address));
	address->sun_family = AF_UNIX;
	snprintf(address->sun_path + abstract, sizeof(address->sun_path) - 1, "%s", path);
	return (int)(offsetof(struct sockaddr_un, sun_path) + abstract + strlen(path));
}

static int named(int (*call)(int, const struct sockaddr *, socklen_t), const char *path, int abstract)
{
	struct sockaddr_un address;
	int length = unix_address(&address, path, abstract), fd = socket(AF_UNIX, SOCK_STREAM, 0);

	return fd < 0 ? errno : outcome(call(fd, (struct sockaddr *)&address, length));
}

static int at_port(int (*call)(int, const struct sockaddr *, socklen_t), int port, int family)
{
	struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
	struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_addr = IN6ADDR_LOOPBACK_INIT};
	int fd = socket(family, SOCK_STREAM, 0);

	if (fd < 0)
		return errno;
	return outcome(family == AF_INET ? call(fd, (struct sockaddr *)&four, sizeof(four))
					 : call(fd, (struct sockaddr *)&six, sizeof(six)));
}

static int make_node(const char *path, unsigned mode)
{
	return outcome(mknod(path, mode | 0644, mode == S_IFCHR ? makedev(1, 3) : mode == S_IFBLK ? makedev(7, 9) : 0));
}

static int execute(const char *path)
{
	char *arguments[] = {(char *)path, "nothing", NULL}, *environment[] = {NULL};

	return outcome(execve(path, arguments, environment));
}

/* A call of the 32-bit ABI. */
static int foreign(long number)
{
#ifdef __x86_64__
	long result = number;

	__asm__ volatile("int $0x80" : "+a"(result) : "b"(0) : "memory");
	return result < 0 ? (int)-result : 0;
#else
	return (int)number;
#endif
}

static int act(const char *verb)
{
	const char *one = words[1], *two = words[2];
	struct stat status;
	char buffer[256];
	int fd;

	if (!strcmp(verb, "open"))
		return opened(one, (int)strtol(two, NULL, 0));
	if (!strcmp(verb, "mkdir"))
		return outcome(mkdir(one, 0755));
	if (!strcmp(verb, "rmdir"))
		return outcome(rmdir(one));
	if (!strcmp(verb, "unlink"))
		return outcome(unlink(one));
	if (!strcmp(verb, "symlink"))
		return outcome(symlink("file", one));
	if (!strcmp(verb, "link"))
		return outcome(link(one, two));
	if (!strcmp(verb, "rename"))
		return outcome(rename(one, two));
	if (!strcmp(verb, "exchange"))
		return outcome(renameat2(AT_FDCWD, one, AT_FDCWD, two, RENAME_EXCHANGE));
	if (!strcmp(verb, "fifo"))
		return make_node(one, S_IFIFO);
	if (!strcmp(verb, "char"))
		return make_node(one, S_IFCHR);
	if (!strcmp(verb, "block"))
		return make_node(one, S_IFBLK);
	if (!strcmp(verb, "regular"))
		return make_node(one, S_IFREG);
	if (!strcmp(verb, "socket"))
		return named(bind, one, 0);
	if (!strcmp(verb, "abstract"))
		return named(connect, one, 1);
	if (!strcmp(verb, "truncate"))
		return outcome(truncate(one, 3));
	if (!strcmp(verb, "ftruncate"))
		return (fd = open(one, O_WRONLY)) < 0 ? errno : outcome(ftruncate(fd, 2));
	if (!strcmp(verb, "write"))
		return (fd = open(one, O_WRONLY | O_APPEND)) < 0 ? errno : outcome(write(fd, "more", 4));
	if (!strcmp(verb, "read"))
		return (fd = open(one, O_RDONLY)) < 0 ? errno : outcome(read(fd, buffer, sizeof(buffer)));
	if (!strcmp(verb, "names"))
		return (fd = open(one, O_RDONLY | O_DIRECTORY)) < 0 ? errno : outcome(syscall(SYS_getdents64, fd, buffer, sizeof(buffer)));
	if (!strcmp(verb, "map"))
		return (fd = open(one, O_RDONLY)) < 0 ? errno
			: mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0) == MAP_FAILED ? errno : 0;
	if (!strcmp(verb, "ioctl"))
		return (fd = open(one, O_RDWR | O_NONBLOCK)) < 0 ? errno : outcome(ioctl(fd, TCGETS, buffer));
	if (!strcmp(verb, "exec"))
		return execute(one);
	if (!strcmp(verb, "stat"))
		return outcome(stat(one, &status));
	if (!strcmp(verb, "access"))
		return outcome(access(one, R_OK));
	if (!strcmp(verb, "readlink"))
		return outcome(readlink(one, buffer, sizeof(buffer)));
	if (!strcmp(verb, "chdir"))
		return outcome(chdir(one));
	if (!strcmp(verb, "chmod"))
		return outcome(chmod(one, 0750));
	if (!strcmp(verb, "bind"))
		return at_port(bind, atoi(one), AF_INET);
	if (!strcmp(verb, "bind6"))
		return at_port(bind, atoi(one), AF_INET6);
	if (!strcmp(verb, "connect"))
		return at_port(connect, atoi(one), AF_INET);
	if (!strcmp(verb, "connect6"))
		return at_port(connect, atoi(one), AF_INET6);
	if (!strcmp(verb, "kill"))
		return outcome(kill(atoi(one), atoi(two)));
	if (!strcmp(verb, "foreign"))
		return foreign(strtol(one, NULL, 0));
	if (!strcmp(verb, "call")) {
		unsigned long long args[6] = {0};

		for (int i = 0; i < 6 && words[2 + i]; i++)
			args[i] = strtoull(words[2 + i], NULL, 0);
		return outcome(syscall(strtol(one, NULL, 0), args[0], args[1], args[2], args[3], args[4], args[5]));
	}
	return 255;
}

int main(int argc, char **argv)
{
	static char line[8192];

	(void)argv;
	if (argc > 1)
		return 0;
	while (fgets(line, sizeof(line), stdin)) {
		int count = 0, status = 0;
		pid_t child;

		for (char *word = strtok(line, " \n"); word; word = strtok(NULL, " \n"))
			if (count < 7)
				words[count++] = word;
		words[count] = NULL;
		child = fork();
		if (!child)
			_exit(act(words[0]));
		if (child < 0 || waitpid(child, &status, 0) != child)
			return 1;
		if (WIFSIGNALED(status))
			printf("signal %d\n", WTERMSIG(status));
		else
			printf("%d\n", WEXITSTATUS(status));
	}
	return 0;
}
