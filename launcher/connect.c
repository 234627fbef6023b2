#include "connect.h"
#include "lookup.h"
#include "stop.h"
#include "sys.h"
#include "text.h"

/* asm-generic/socket.h, linux/net.h */
#define AF_UNIX 1
#define SOCK_STREAM 1
#define SOL_SOCKET 1
#define SO_TYPE 3
#define SO_PEERCRED 17
#define SO_SNDTIMEO 21
#define SO_DOMAIN 39

enum { GREETING = 100000000 }; /* ns */

static int is_socket(int fd)
{
	struct file_status status;

	return !sys_fstat(fd, &status) && (status.mode & S_IFMT) == S_IFSOCK;
}

static uint32_t option_of(int fd, int option)
{
	uint32_t value = 0, size = sizeof(value);

	return SYS5(NR_getsockopt, fd, SOL_SOCKET, option, &value, &size) < 0 ? 0 : value;
}

/* Links lead where others cannot send them. What the path is a moment later, the kernel tells: who listens there. */
static void check_path(const char *path, uint32_t user)
{
	int there = lookup_text(user, AT_FDCWD, path);

	if (there == UNTRUSTED)
		stop(EXIT_OURS, "the listener", path, "leads over a link which another user could change");
	if (there < 0)
		stop_error(EXIT_OURS, "no monitor listens at", path, there);
	if (!is_socket(there))
		stop(EXIT_OURS, "the listener", path, "is no socket");
	shut(there);
}

/* scmm-monitor sends a byte to whom it listens to, once it has looked at who that is. Others send nothing, which does not
 * matter: so it is no long wait. */
static int is_greeted(int fd, const char *path)
{
	struct poll polled = {fd, POLLIN, 0};
	uint64_t length[2] = {0, GREETING};
	unsigned char byte;

	if (SYS5(NR_ppoll, &polled, 1, length, 0, 8) <= 0)
		return 0;
	if (SYS3(NR_read, fd, &byte, 1) != 1)
		stop(EXIT_OURS, "the monitor at", path, "has hung up");
	return 1;
}

struct connection connect_to(const char *path)
{
	struct {
		uint16_t family;
		char path[108];
	} address = {AF_UNIX, {0}};
	const int64_t patience[2] = {PATIENCE, 0};
	uint32_t user = (uint32_t)SYS0(NR_geteuid), size = 12;
	/* struct ucred: of who listens there. */
	uint32_t peer[3];
	size_t length = length_of(path);
	long error;
	int fd;

	if (!length || length >= sizeof(address.path))
		stop(EXIT_OURS, "the listener", path, "is no path of a socket: these have 1 to 107 bytes");
	for (size_t i = 0; i < length; i++)
		address.path[i] = path[i];
	check_path(path, user);
	fd = (int)SYS3(NR_socket, AF_UNIX, SOCK_STREAM | O_CLOEXEC, 0);
	if (fd < 0)
		stop_error(EXIT_OURS, "no monitor listens at", path, fd);
	/* connect(2) waits while others wait there, and no longer than one may to send. */
	SYS5(NR_setsockopt, fd, SOL_SOCKET, SO_SNDTIMEO, patience, sizeof(patience));
	do
		error = SYS3(NR_connect, fd, &address, sizeof(address));
	while (error == -EINTR);
	if (error == -EAGAIN)
		stop(EXIT_OURS, "the monitor at", path, "takes no connection");
	if (error < 0)
		stop_error(EXIT_OURS, "no monitor listens at", path, error);
	if (SYS5(NR_getsockopt, fd, SOL_SOCKET, SO_PEERCRED, peer, &size) < 0 || (peer[1] && peer[1] != user))
		stop(EXIT_OURS, "the monitor at", path, "belongs to another user");
	return (struct connection){fd, is_greeted(fd, path)};
}

struct connection connected(int fd)
{
	/* Others take the descriptor to send for nothing, and say that all was sent. */
	if (option_of(fd, SO_DOMAIN) != AF_UNIX || option_of(fd, SO_TYPE) != SOCK_STREAM)
		stop(EXIT_OURS, "the descriptor of --listener-fd is no UNIX stream socket", NULL, NULL);
	SYS3(NR_fcntl, fd, F_SETFD, FD_CLOEXEC);
	return (struct connection){fd, 1};
}
