#include "paths.h"
#include "sys.h"

/* asm-generic/fcntl.h, linux/fcntl.h */
#define F_DUPFD_CLOEXEC 1030
/* linux/magic.h */
#define SYSFS_MAGIC 0x62656572

/* LANDLOCK_ACCESS_FS_ rights that a file can have which is no directory: execute, write_file, read_file, truncate,
 * ioctl_dev, resolve_unix (security/landlock/fs.c, ACCESS_FILE). */
#define FILE_RIGHTS (1ull << 0 | 1ull << 1 | 1ull << 2 | 1ull << 14 | 1ull << 15 | 1ull << 16)

/* Links on one path, as the kernel has it (MAXSYMLINKS). */
enum { MOST_LINKS = 40, PATH_ROOM = 4096, ENTRIES_ROOM = 32768 };

/* Beside the kernel's errors: there is a link which others could change. */
enum { UNTRUSTED = -5000 };

int memcmp(const void *one, const void *other, size_t length);

struct path_beneath {
	uint64_t allowed_access;
	int32_t parent_fd;
} __attribute__((packed));

static int open_at(int dir, const char *name, long flags)
{
	return (int)SYS4(NR_openat, dir, name, flags | O_CLOEXEC, 0);
}

static int open_root(void)
{
	return open_at(AT_FDCWD, "/", O_PATH | O_DIRECTORY);
}

static void shut(int fd)
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
static int is_trusted(const struct grants *grants, int dir, const char *name, int link)
{
	struct file_status there, one;

	if (is_of_kernel(dir, name))
		return 1;
	if (sys_fstat(dir, &there) || sys_fstat(link, &one))
		return 0;
	if ((there.uid && there.uid != grants->euid) || (one.uid && one.uid != grants->euid))
		return 0;
	return !(there.mode & 022);
}

static int open_text(const struct grants *grants, int dir, const char *text, int links);

/* What a name in a directory is, links followed. */
static int open_name(const struct grants *grants, int dir, const char *name, int links)
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
	length = links == MOST_LINKS                         ? -ELOOP
		 : !is_trusted(grants, dir, name, fd) ? UNTRUSTED
						      : SYS4(NR_readlinkat, fd, "", target, sizeof(target));
	shut(fd);
	if (length < 0)
		return (int)length;
	if (!length || length == (long)sizeof(target))
		return -ENOENT;
	target[length] = 0;
	return open_text(grants, dir, target, links + 1);
}

/* A path as text, from a directory, which stays open. */
static int open_text(const struct grants *grants, int dir, const char *text, int links)
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
		next = same(name, "..") ? open_at(here, "..", O_PATH | O_DIRECTORY) : open_name(grants, here, name, links);
		shut(here);
		here = next;
	}
	return here;
}

/* A component as a policy writes it. */
static void put_component(struct text *text, const struct component *one)
{
	if (one->kind == COMPONENT_HOME) {
		text_string(text, "${HOME}");
	} else if (one->kind == COMPONENT_USER) {
		text_string(text, "/${USER}");
	} else if (one->kind == COMPONENT_NAME) {
		text_string(text, "/");
		text_bytes(text, one->bytes, one->length);
	} else {
		text_string(text, "/");
		for (size_t i = 0; i < one->length; i += one->bytes[i] == 0 ? 1 : one->bytes[i] == 1 ? 2 : 33) {
			if (one->bytes[i] == 1)
				text_bytes(text, one->bytes + i + 1, 1);
			else
				text_string(text, one->bytes[i] ? "?" : "*");
		}
	}
}

/* Say of the rule at hand why it does not do what it says. Only what is worse than a path that nobody has lowers the
 * degree: what cannot be reached by the launcher, its program does not reach either. */
static void say(struct grants *grants, enum degree degree, const char *why, long error)
{
	const unsigned char *at = grants->path.components;
	TEXT(reason, 384);
	TEXT(name, 160);

	/* Once for each rule: a pattern can meet the same in many places. */
	if (grants->said)
		return;
	grants->said = 1;
	for (uint32_t i = 0; i < grants->path.count; i++) {
		struct component one = path_component(at);

		put_component(&name, &one);
		at = one.next;
	}
	if (!grants->path.count)
		text_string(&name, "/");
	else if (grants->path.kind == PATH_BENEATH)
		text_string(&name, "/**");
	text_string(&reason, "files: ");
	text_raw(&reason, name.at, name.length);
	text_string(&reason, name.length == name.room ? "... " : " ");
	text_string(&reason, why);
	if (error) {
		text_string(&reason, ": ");
		text_error(&reason, error);
	}
	status_lower(grants->status, LAYER_FILES, degree, &reason);
}

/* What could not be opened, and is not merely absent. */
static void left_out(struct grants *grants, int error)
{
	if (error == -ENOENT || error == -ENOTDIR)
		return;
	grants->left_out = 1;
	if (error == UNTRUSTED)
		say(grants, PARTIALLY, "is left out: it leads over a link which another user could change; name what it leads to", 0);
	else
		say(grants, error == -EACCES || error == -ELOOP ? FULLY : PARTIALLY, "is left out, as it cannot be opened", error);
}

static int grant(struct grants *grants, int fd)
{
	struct file_status status;
	struct path_beneath rule;
	uint64_t access = grants->rule.access & grants->handled;
	int is_directory;
	long error;

	if ((error = sys_fstat(fd, &status))) {
		left_out(grants, (int)error);
		return 0;
	}
	is_directory = (status.mode & S_IFMT) == S_IFDIR;
	if ((grants->path.kind == PATH_FILES && is_directory) || (grants->path.kind == PATH_BENEATH && !is_directory))
		return 0;
	if (!is_directory)
		access &= FILE_RIGHTS;
	grants->used = 1;
	if (!access)
		return 0;
	grants->added++;
	if (grants->ruleset < 0)
		return 0;
	rule = (struct path_beneath){access, fd};
	error = SYS4(NR_landlock_add_rule, grants->ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0);
	if (!error)
		return 0;
	say(grants, NOT_ENFORCED, "is refused as a rule by the kernel", error);
	return -1;
}

/* The rights go to the directory that would hold the path, whatever the path was for. */
static int grant_parent(struct grants *grants, int dir)
{
	uint32_t kind = grants->path.kind;
	int result;

	grants->path.kind = PATH_EXACT;
	result = grant(grants, dir);
	grants->path.kind = kind;
	return result;
}

/* A directory for the program's user, who is to be its owner. */
static int make_directory(const struct grants *grants, int dir, const char *name, int shared)
{
	long error;

	if (!shared)
		return (int)SYS3(NR_mkdirat, dir, name, 0777);
	/* Who may write there can put another directory in its place before it is opened; so it is made by the program's user
	 * from the beginning, and nothing is given away. */
	SYS1(NR_setfsgid, grants->who->gid);
	SYS1(NR_setfsuid, grants->who->uid);
	error = SYS3(NR_mkdirat, dir, name, 0777);
	SYS1(NR_setfsuid, grants->euid);
	SYS1(NR_setfsgid, SYS0(NR_getgid));
	return (int)error;
}

/* Whether others than root and the caller can put names into a directory. */
static int is_shared(const struct grants *grants, int dir)
{
	struct file_status status;

	return sys_fstat(dir, &status) || (status.uid && status.uid != grants->euid) || status.mode & 022;
}

/* The last component is not there. `dir` is where it would be, and stays open. */
static int missing(struct grants *grants, int dir, const char *name)
{
	int fd, result, is_directory = grants->path.kind == PATH_BENEATH;
	int shared = is_directory && is_shared(grants, dir);
	struct file_status status;
	long error;

	if (grants->rule.on_missing == MISSING_PARENTDIR)
		return grant_parent(grants, dir);
	if (grants->rule.on_missing == MISSING_SKIP)
		return 0;
	if (grants->ruleset < 0) {
		grants->used = 1;
		return 0;
	}
	if (is_directory) {
		fd = make_directory(grants, dir, name, shared);
		if (!fd)
			fd = open_at(dir, name, O_PATH | O_NOFOLLOW | O_DIRECTORY);
	} else {
		fd = (int)SYS4(NR_openat, dir, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK, 0666);
	}
	if (fd < 0) {
		say(grants, FULLY, "is not there, and cannot be made", fd);
		return 0;
	}
	/* A directory of somebody else is not the one that we have made. */
	if (is_directory && (sys_fstat(fd, &status) || status.uid != (shared ? grants->who->uid : grants->euid))) {
		say(grants, PARTIALLY, "is left out: another user has put something else there", 0);
		shut(fd);
		return 0;
	}
	/* The program's own, not ours: else it could not use what was made for it. */
	error = shared ? 0 : SYS5(NR_fchownat, fd, "", grants->who->uid, grants->who->gid, AT_EMPTY_PATH);
	if (error < 0)
		say(grants, FULLY, "was made, but cannot be given to the program's user", error);
	result = grant(grants, fd);
	shut(fd);
	return result;
}

static int walk(struct grants *grants, int dir, const unsigned char *at, uint32_t left);

/* Whatever in a directory the glob matches. */
static int each_match(struct grants *grants, int dir, const struct component *glob, uint32_t left)
{
	int result = 0, before = grants->used, list = open_at(dir, ".", O_RDONLY | O_DIRECTORY);
	long room, got = 0;

	if (list < 0) {
		left_out(grants, list);
		return 0;
	}
	room = SYS6(NR_mmap, 0, ENTRIES_ROOM, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (room < 0 && room > -4096) {
		shut(list);
		left_out(grants, (int)room);
		return 0;
	}
	unsigned char *entries = (unsigned char *)room;

	grants->used = 0;
	while (!result && (got = SYS3(NR_getdents64, list, entries, ENTRIES_ROOM)) > 0) {
		/* struct linux_dirent64: u64 ino, u64 off, u16 length, u8 type, name. */
		for (long i = 0; !result && i < got; i += entries[i + 16] | entries[i + 17] << 8) {
			const char *name = (const char *)entries + i + 19;
			int fd;

			if (!glob_matches(glob->bytes, glob->length, (const unsigned char *)name, length_of(name)))
				continue;
			fd = open_name(grants, dir, name, 0);
			if (fd >= 0)
				result = walk(grants, fd, glob->next, left - 1);
			else
				left_out(grants, fd);
		}
	}
	if (got < 0)
		left_out(grants, (int)got);
	SYS2(NR_munmap, room, ENTRIES_ROOM);
	shut(list);
	if (!result && left == 1 && !grants->used && !grants->left_out && grants->rule.on_missing == MISSING_PARENTDIR)
		result = grant_parent(grants, dir);
	grants->used |= before;
	return result;
}

/* A name has 255 bytes at most: check_name and take_line see to it. */
static void put_name(char name[256], const void *bytes, size_t length)
{
	for (size_t i = 0; i < length; i++)
		name[i] = ((const char *)bytes)[i];
	name[length] = 0;
}

/* From a directory, which is closed, down the components that are left. */
static int walk(struct grants *grants, int dir, const unsigned char *at, uint32_t left)
{
	int result;

	for (; left; left--) {
		struct component one = path_component(at);
		char name[256];
		int next;

		if (one.kind == COMPONENT_GLOB) {
			result = each_match(grants, dir, &one, left);
			shut(dir);
			return result;
		}
		if (one.kind == COMPONENT_HOME) {
			next = grants->who->home[0] ? open_text(grants, dir, grants->who->home, 0) : -ENOENT;
		} else {
			const char *from = one.kind == COMPONENT_USER ? grants->who->user : (const char *)one.bytes;
			size_t length = one.kind == COMPONENT_USER ? length_of(from) : one.length;

			put_name(name, from, length);
			next = length ? open_name(grants, dir, name, 0) : -ENOENT;
			if (next == -ENOENT && length && left == 1) {
				result = missing(grants, dir, name);
				shut(dir);
				return result;
			}
		}
		shut(dir);
		if (next < 0) {
			left_out(grants, next);
			if (grants->rule.on_missing != MISSING_SKIP && !grants->left_out)
				say(grants, FULLY, "is not there, and neither is the directory for it", 0);
			return 0;
		}
		dir = next;
		at = one.next;
	}
	result = grant(grants, dir);
	shut(dir);
	return result;
}

/* The directory of the path before, kept open: paths are sorted, so that most have the same. */
struct parent {
	const unsigned char *names;
	size_t size;
	int fd;
};

/* The directory of the path at hand where all that leads to it are names, and its last component. Else -1: then the
 * walk from the root directory finds out what there is to say. */
static int open_parent(struct grants *grants, struct parent *known, const unsigned char **last)
{
	const unsigned char *names = grants->path.components, *at = names;
	size_t size;

	for (uint32_t i = 1; i < grants->path.count; i++) {
		struct component one = path_component(at);

		if (one.kind != COMPONENT_NAME)
			return -1;
		at = one.next;
	}
	*last = at;
	size = (size_t)(at - names);
	if (!size)
		return -1;
	if (known->fd < 0 || known->size != size || memcmp(known->names, names, size) != 0) {
		int dir = open_root();

		while (dir >= 0 && names < at) {
			struct component one = path_component(names);
			char name[256];
			int next;

			put_name(name, one.bytes, one.length);
			next = open_name(grants, dir, name, 0);
			shut(dir);
			dir = next;
			names = one.next;
		}
		if (dir < 0)
			return -1;
		if (known->fd >= 0)
			shut(known->fd);
		*known = (struct parent){grants->path.components, size, dir};
	}
	return (int)SYS3(NR_fcntl, known->fd, F_DUPFD_CLOEXEC, 0);
}

int paths_grant(struct grants *grants)
{
	struct parent known = {NULL, 0, -1};
	int result = 0;

	for (uint32_t i = 0; !result && i < policy_path_rules(grants->policy); i++) {
		const unsigned char *last;
		int dir;

		grants->rule = policy_path_rule(grants->policy, i);
		grants->path = policy_path(grants->policy, grants->rule.path);
		grants->used = grants->said = grants->left_out = 0;
		dir = open_parent(grants, &known, &last);
		if (dir >= 0) {
			result = walk(grants, dir, last, 1);
		} else if ((dir = open_root()) >= 0) {
			result = walk(grants, dir, grants->path.components, grants->path.count);
		} else {
			say(grants, NOT_ENFORCED, "cannot be looked up", dir);
			result = -1;
		}
		grants->rules_used += (uint32_t)grants->used;
	}
	if (known.fd >= 0)
		shut(known.fd);
	return result;
}
