#include "paths.h"
#include "lookup.h"
#include "sys.h"

/* asm-generic/fcntl.h, linux/fcntl.h */
#define F_DUPFD_CLOEXEC 1030
/* LANDLOCK_ACCESS_FS_ rights that a file can have which is no directory: execute, write_file, read_file, truncate,
 * ioctl_dev, resolve_unix (security/landlock/fs.c, ACCESS_FILE). */
#define FILE_RIGHTS (1ull << 0 | 1ull << 1 | 1ull << 2 | 1ull << 14 | 1ull << 15 | 1ull << 16)

enum { ENTRIES_ROOM = 32768 };

/* As UNTRUSTED of lookup.h. */
enum { ROOT_HOME = UNTRUSTED - 1 };

int memcmp(const void *one, const void *other, size_t length);

struct path_beneath {
	uint64_t allowed_access;
	int32_t parent_fd;
} __attribute__((packed));

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

	/* Once for each rule and degree: a pattern can meet the same in many places, and then something worse. */
	if (degree <= grants->said)
		return;
	grants->said = degree;
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
	else if (error == ROOT_HOME)
		say(grants, PARTIALLY, "is left out: the user's home is the root directory; name the path itself", 0);
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

/* A directory for the program's user, who is to be its owner. Nobody else writes there, whatever the umask. */
static int make_directory(const struct grants *grants, int dir, const char *name, int shared)
{
	long error;

	if (!shared)
		return (int)SYS3(NR_mkdirat, dir, name, 0755);
	/* Who may write there can put another directory in its place before it is opened; so it is made by the program's user
	 * from the beginning, and nothing is given away. */
	SYS1(NR_setfsgid, grants->who->gid);
	SYS1(NR_setfsuid, grants->who->uid);
	error = SYS3(NR_mkdirat, dir, name, 0755);
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
	if (!grants->makes) {
		grants->used = 1;
		return 0;
	}
	if (is_directory) {
		fd = make_directory(grants, dir, name, shared);
		if (!fd)
			fd = open_at(dir, name, O_PATH | O_NOFOLLOW | O_DIRECTORY);
	} else {
		fd = (int)SYS4(NR_openat, dir, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK, 0644);
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

/* What a name is, of the component with which so many are left. */
static int open_here(const struct grants *grants, int dir, const char *name, uint32_t left)
{
	uint32_t at = grants->path.count - left + 1;

	if (grants->rule.plain_from && at >= grants->rule.plain_from)
		return lookup_plain(dir, name);
	return lookup_name(grants->euid, dir, name);
}

/* Users without a home often have the root directory for it, and nobody means that when he writes ${HOME}. */
static int open_home(const struct grants *grants, int dir)
{
	struct file_status home, root;
	int top, fd = grants->who->home[0] ? lookup_text(grants->euid, dir, grants->who->home) : -ENOENT;

	if (fd < 0)
		return fd;
	top = open_root();
	if (top >= 0 && !sys_fstat(top, &root) && !sys_fstat(fd, &home) && (root.device != home.device || root.inode != home.inode)) {
		shut(top);
		return fd;
	}
	if (top >= 0)
		shut(top);
	shut(fd);
	return ROOT_HOME;
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
			fd = open_here(grants, dir, name, left);
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
			next = open_home(grants, dir);
		} else {
			const char *from = one.kind == COMPONENT_USER ? grants->who->user : (const char *)one.bytes;
			size_t length = one.kind == COMPONENT_USER ? length_of(from) : one.length;

			put_name(name, from, length);
			next = length ? open_here(grants, dir, name, left) : -ENOENT;
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

	/* Where links are not followed, each step is looked at. */
	if (grants->rule.plain_from)
		return -1;
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
			next = lookup_name(grants->euid, dir, name);
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
		grants->used = grants->left_out = 0;
		grants->said = NOT_ASKED;
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
