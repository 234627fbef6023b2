#include "lookup.h"
#include "sys.h"
#include "text.h"

/* linux/magic.h */
#define SYSFS_MAGIC 0x62656572

/* Links on one way, as the kernel has it (MAXSYMLINKS). */
enum { MOST_LINKS = 40, PATH_ROOM = 4096 };

struct way {
	uint32_t user;
	int links;
};

int open_at(int dir, const char *name, long flags)
{
	return (int)SYS4(NR_openat, dir, name, flags | O_CLOEXEC, 0);
}

int open_root(void)
{
	return open_at(AT_FDCWD, "/", O_PATH | O_DIRECTORY);
}

void shut(int fd)
{
	SYS1(NR_close, fd);
}

/* The kernel makes the links of sysfs, and these of procfs. Outside of the first user namespace their owner looks like
 * nobody. Other links of procfs are where processes have them. */
static int is_of_kernel(int dir, const char *name)
{
	/* struct statfs of asm-generic/statfs.h: 120 bytes, the type first. */
	int64_t status[32];

	if (SYS2(NR_fstatfs, dir, status))
		return 0;
	if (status[0] == SYSFS_MAGIC)
		return 1;
	return status[0] == PROC_SUPER_MAGIC &&
	       (same(name, "self") || same(name, "thread-self") || same(name, "mounts") || same(name, "net"));
}

/* A link that only root or the user could have made, in a directory where only they can: others could send the rule
 * to any file. */
static int is_trusted(uint32_t user, int dir, const char *name, int link)
{
	struct file_status there, one;

	if (is_of_kernel(dir, name))
		return 1;
	if (sys_fstat(dir, &there) || sys_fstat(link, &one))
		return 0;
	if ((there.uid && there.uid != user) || (one.uid && one.uid != user))
		return 0;
	return !(there.mode & 022);
}

static int open_text(struct way *way, int dir, const char *text);

/* What a name in a directory is, links followed. */
static int open_name(struct way *way, int dir, const char *name)
{
	struct file_status status;
	char target[PATH_ROOM];
	int fd = open_at(dir, name, O_PATH | O_NOFOLLOW);
	long length;

	if (fd < 0)
		return fd;
	if (sys_fstat(fd, &status)) {
		shut(fd);
		return -EACCES;
	}
	if ((status.mode & S_IFMT) != S_IFLNK)
		return fd;
	if (way->links == MOST_LINKS)
		length = -ELOOP;
	else if (!is_trusted(way->user, dir, name, fd))
		length = UNTRUSTED;
	else
		length = SYS4(NR_readlinkat, fd, "", target, sizeof(target));
	way->links++;
	shut(fd);
	if (length < 0)
		return (int)length;
	if (!length || length == (long)sizeof(target))
		return -ENOENT;
	target[length] = 0;
	return open_text(way, dir, target);
}

/* A path as text, from a directory, which stays open. */
static int open_text(struct way *way, int dir, const char *text)
{
	int here = *text == '/' ? open_root() : open_at(dir, ".", O_PATH | O_DIRECTORY);

	while (here >= 0) {
		char name[256];
		size_t length = 0;
		int next;

		while (*text == '/')
			text++;
		if (!*text)
			return here;
		while (text[length] && text[length] != '/') {
			if (length == sizeof(name) - 1) {
				shut(here);
				return -ENOENT;
			}
			name[length] = text[length];
			length++;
		}
		name[length] = 0;
		text += length;
		if (same(name, "."))
			continue;
		next = same(name, "..") ? open_at(here, "..", O_PATH | O_DIRECTORY) : open_name(way, here, name);
		shut(here);
		here = next;
	}
	return here;
}

int lookup_name(uint32_t user, int dir, const char *name)
{
	struct way way = {user, 0};

	return open_name(&way, dir, name);
}

int lookup_plain(int dir, const char *name)
{
	struct file_status status;
	int fd = open_at(dir, name, O_PATH | O_NOFOLLOW);

	if (fd >= 0 && (sys_fstat(fd, &status) || (status.mode & S_IFMT) == S_IFLNK)) {
		shut(fd);
		return -ENOENT;
	}
	return fd;
}

int lookup_text(uint32_t user, int dir, const char *text)
{
	struct way way = {user, 0};

	return open_text(&way, dir, text);
}
