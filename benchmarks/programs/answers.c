/*
 * The least that can answer calls which wait: what a decision costs where nothing is decided. One thread, which waits in
 * the kernel; no rules, no log, no look at who asks. Static.
 *
 * answers SOCKET. Says `ready`, takes one listener that is sent there, and answers until it has no more processes:
 *   getppid and geteuid go on, getuid fails with EPERM, getgid returns 7, openat is made with the name that it read
 *   and the new descriptor handed over. All else fails with ENOSYS.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

static int take(const char *path)
{
	struct sockaddr_un where = { .sun_family = AF_UNIX };
	char text[4096], control[CMSG_SPACE(sizeof(int))];
	struct iovec part = { text, sizeof(text) };
	struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = control,
				  .msg_controllen = sizeof(control) };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), from, listener;

	if (strlen(path) >= sizeof(where.sun_path))
		return -1;
	strcpy(where.sun_path, path);
	if (fd < 0 || bind(fd, (struct sockaddr *)&where, sizeof(where)) || listen(fd, 1))
		return -1;
	dprintf(1, "ready\n");
	from = accept(fd, NULL, NULL);
	if (from < 0 || recvmsg(from, &message, MSG_CMSG_CLOEXEC) <= 0 || !CMSG_FIRSTHDR(&message))
		return -1;
	memcpy(&listener, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof(listener));
	close(from);
	close(fd);
	return listener;
}

/* The file that the caller named when it was looked at: an O_PATH descriptor would do for a name, but it wants a file. */
static int open_for(int listener, const struct seccomp_notif *asked)
{
	char name[4096], path[64];
	ssize_t length;
	int memory;

	snprintf(path, sizeof(path), "/proc/%u/mem", asked->pid);
	memory = open(path, O_RDONLY | O_CLOEXEC);
	length = memory < 0 ? -1 : pread(memory, name, sizeof(name), asked->data.args[1]);
	if (memory >= 0)
		close(memory);
	if (length <= 0 || !memchr(name, 0, length) || ioctl(listener, SECCOMP_IOCTL_NOTIF_ID_VALID, &asked->id))
		return -1;
	return openat(AT_FDCWD, name, asked->data.args[2] | O_CLOEXEC, (mode_t)asked->data.args[3]);
}

static int answer(int listener, const struct seccomp_notif *asked)
{
	struct seccomp_notif_resp said = { .id = asked->id };
	struct seccomp_notif_addfd given = { .id = asked->id, .flags = SECCOMP_ADDFD_FLAG_SEND };
	int fd, failed;

	switch (asked->data.nr) {
	case SYS_getppid:
	case SYS_geteuid:
		said.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
		break;
	case SYS_getuid:
		said.error = -EPERM;
		break;
	case SYS_getgid:
		said.val = 7;
		break;
	case SYS_openat:
		fd = open_for(listener, asked);
		if (fd >= 0) {
			given.srcfd = fd;
			failed = ioctl(listener, SECCOMP_IOCTL_NOTIF_ADDFD, &given) < 0;
			close(fd);
			return failed ? -1 : 0;
		}
		said.error = -errno;
		break;
	default:
		said.error = -ENOSYS;
	}
	return ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &said);
}

int main(int argc, char **argv)
{
	int listener = argc == 2 ? take(argv[1]) : -1;
	struct seccomp_notif asked;

	if (listener < 0) {
		dprintf(2, "answers: %s\n", strerror(errno));
		return 1;
	}
	for (;;) {
		memset(&asked, 0, sizeof(asked));
		if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &asked)) {
			struct pollfd ended = { .fd = listener };

			if (errno == EINTR || (errno == ENOENT && poll(&ended, 1, 0) >= 0 && !(ended.revents & POLLHUP)))
				continue;
			return errno == ENOENT ? 0 : 1;
		}
		if (answer(listener, &asked) && errno != ENOENT && errno != EINPROGRESS)
			return 1;
	}
}
