#include "input.h"
#include "stop.h"
#include "sys.h"
#include "text.h"

static int open_policy(const char *name)
{
	long fd = SYS4(NR_openat, AT_FDCWD, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0);

	if (fd == -ELOOP)
		stop(EXIT_OURS, "the policy", name, "is a symbolic link; give the file itself, or --policy-fd");
	if (fd < 0)
		stop_error(EXIT_OURS, "cannot open the policy", name, fd);
	return (int)fd;
}

/* The bytes of a file that is open, in memory of our own, which nobody changes any more. */
static struct bytes read_file(int fd, const char *name, struct file_status *status)
{
	size_t size, done = 0;
	unsigned char *bytes, beyond;
	long room, error;

	if (SYS3(NR_fcntl, fd, F_GETFD, 0) < 0)
		stop(EXIT_OURS, "the policy", name, "is not open");
	if (sys_fstat(fd, status) || (status->mode & S_IFMT) != S_IFREG)
		stop(EXIT_OURS, "the policy", name, "is no regular file");
	if (status->uid && status->uid != (uint32_t)SYS0(NR_geteuid))
		stop(EXIT_OURS, "the policy", name, "belongs to another user, who could change it");
	if (status->mode & 022)
		stop(EXIT_OURS, "the policy", name, "may be written by others; take that right away (chmod go-w)");
	if (!status->size || status->size > POLICY_MOST)
		stop(EXIT_OURS, "the policy", name, status->size ? "is larger than 64 MiB" : "is empty");
	size = (size_t)status->size;
	room = SYS6(NR_mmap, 0, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (room < 0 && room > -4096)
		stop_error(EXIT_OURS, "no memory for the policy", name, room);
	bytes = (unsigned char *)room;
	/* Whoever handed the descriptor over may have written to it. */
	if ((error = SYS3(NR_lseek, fd, 0, SEEK_SET)) < 0)
		stop_error(EXIT_OURS, "cannot read the policy", name, error);
	while (done < size) {
		long got = SYS3(NR_read, fd, bytes + done, size - done);

		if (got < 0)
			stop_error(EXIT_OURS, "cannot read the policy", name, got);
		if (!got)
			stop(EXIT_OURS, "the policy", name, "became shorter while it was read");
		done += (size_t)got;
	}
	if (SYS3(NR_read, fd, &beyond, 1) != 0)
		stop(EXIT_OURS, "the policy", name, "grew while it was read");
	SYS1(NR_close, fd);
	return (struct bytes){bytes, size};
}

void read_policy(const struct options *options, struct policy *policy)
{
	TEXT(descriptor, 32);
	const char *name = options->policy;
	struct file_status status;
	struct bytes file;
	struct wrong wrong;

	if (!name) {
		text_string(&descriptor, "descriptor ");
		text_number(&descriptor, (uint64_t)options->policy_fd);
		descriptor.at[descriptor.length] = 0;
		name = descriptor.at;
	}
	file = read_file(options->policy ? open_policy(name) : options->policy_fd, name, &status);
	if (policy_check(file, MACHINE_AUDIT, policy, &wrong)) {
		TEXT(why, 256);
		text_string(&why, wrong.why);
		text_string(&why, " (byte ");
		text_number(&why, wrong.offset);
		text_string(&why, ")");
		why.at[why.length < why.room ? why.length : why.room - 1] = 0;
		stop(EXIT_OURS, "the policy", name, why.at);
	}
	policy->device = status.device;
	policy->inode = status.inode;
	if (policy->has_filters && !policy->filter.count)
		stop(EXIT_OURS, "the policy", name, "is for another architecture than " MACHINE_NAME);
}
