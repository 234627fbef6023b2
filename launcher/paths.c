#include "paths.h"
#include "sys.h"

/* LANDLOCK_ACCESS_FS_ rights that a file can have which is no directory: execute, write_file, read_file, truncate,
 * ioctl_dev, resolve_unix (security/landlock/fs.c, ACCESS_FILE). */
#define FILE_RIGHTS (1ull << 0 | 1ull << 1 | 1ull << 2 | 1ull << 14 | 1ull << 15 | 1ull << 16)

/* Links on one path, as the kernel has it (MAXSYMLINKS). */
enum { MOST_LINKS = 40, PATH_ROOM = 4096, ENTRIES_ROOM = 32768 };

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

/* A link that only root or the user could have made, in a directory where only they can: others could send the rule
 * to any file. */
static int is_trusted(const struct grants *grants, int dir, int link)
{
	struct file_status there, one;

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
	length = is_trusted(grants, dir, fd) && links < MOST_LINKS ? SYS4(NR_readlinkat, fd, "", target, sizeof(target)) : -ELOOP;
	shut(fd);
	if (length <= 0 || length >= (long)sizeof(target))
		return -ELOOP;
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

static int grant(struct grants *grants, int fd)
{
	struct file_status status;
	struct path_beneath rule;
	uint64_t access = grants->rule.access & grants->handled;
	int is_directory;
	long error;

	if (sys_fstat(fd, &status))
		return 0;
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
	TEXT(reason, 128);
	text_string(&reason, "files: the kernel refuses a rule: ");
	text_error(&reason, error);
	status_lower(grants->status, LAYER_FILES, NOT_ENFORCED, &reason);
	return -1;
}

/* The last component is not there. `dir` is where it would be, and stays open. */
static int missing(struct grants *grants, int dir, const char *name)
{
	uint32_t kind = grants->path.kind;
	int fd, made;

	if (grants->rule.on_missing == MISSING_PARENTDIR) {
		/* The rights go to the directory, whatever the path was for. */
		int result;

		grants->path.kind = PATH_EXACT;
		result = grant(grants, dir);
		grants->path.kind = kind;
		return result;
	}
	if (grants->rule.on_missing == MISSING_SKIP)
		return 0;
	if (grants->ruleset < 0) {
		grants->used = 1;
		return 0;
	}
	if (kind == PATH_BENEATH) {
		made = (int)SYS3(NR_mkdirat, dir, name, 0777);
		fd = made < 0 ? made : open_at(dir, name, O_PATH | O_NOFOLLOW | O_DIRECTORY);
	} else {
		fd = made = (int)SYS4(NR_openat, dir, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK, 0666);
	}
	if (fd < 0)
		return 0;
	/* The program's own, not ours: else it could not use what was made for it. */
	SYS5(NR_fchownat, fd, "", grants->who->uid, grants->who->gid, AT_EMPTY_PATH);
	made = grant(grants, fd);
	shut(fd);
	return made;
}

static int walk(struct grants *grants, int dir, const unsigned char *at, uint32_t left);

/* Whatever in a directory the glob matches. */
static int each_match(struct grants *grants, int dir, const struct component *glob, uint32_t left)
{
	int result = 0, list = open_at(dir, ".", O_RDONLY | O_DIRECTORY);
	long room, got;

	if (list < 0)
		return 0;
	room = SYS6(NR_mmap, 0, ENTRIES_ROOM, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (room < 0 && room > -4096) {
		shut(list);
		return 0;
	}
	unsigned char *entries = (unsigned char *)room;

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
		}
	}
	SYS2(NR_munmap, room, ENTRIES_ROOM);
	shut(list);
	return result;
}

/* From a directory, which is closed, down the components that are left. */
static int walk(struct grants *grants, int dir, const unsigned char *at, uint32_t left)
{
	int result;

	while (left) {
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
			shut(dir);
			if (next < 0)
				return 0;
		} else {
			const char *from = one.kind == COMPONENT_USER ? grants->who->user : (const char *)one.bytes;
			size_t length = one.kind == COMPONENT_USER ? length_of(from) : one.length;

			if (!length) {
				shut(dir);
				return 0;
			}
			for (size_t i = 0; i < length; i++)
				name[i] = from[i];
			name[length] = 0;
			next = open_name(grants, dir, name, 0);
			if (next == -ENOENT && left == 1) {
				result = missing(grants, dir, name);
				shut(dir);
				return result;
			}
			shut(dir);
			if (next < 0)
				return 0;
		}
		dir = next;
		at = one.next;
		left--;
	}
	result = grant(grants, dir);
	shut(dir);
	return result;
}

int paths_grant(struct grants *grants)
{
	for (uint32_t i = 0; i < policy_path_rules(grants->policy); i++) {
		int root = open_root();

		grants->rule = policy_path_rule(grants->policy, i);
		grants->path = policy_path(grants->policy, grants->rule.path);
		grants->used = 0;
		if (root < 0 || walk(grants, root, grants->path.components, grants->path.count))
			return -1;
		grants->rules_used += (uint32_t)grants->used;
	}
	return 0;
}
