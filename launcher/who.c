#include "who.h"
#include "sys.h"

struct capability_header {
	uint32_t version;
	int32_t pid;
};

struct capability_data {
	uint32_t effective, permitted, inheritable;
};

static uint64_t permitted_now(void)
{
	struct capability_header header = {LINUX_CAPABILITY_VERSION_3, 0};
	struct capability_data data[2] = {{0}};

	if (SYS2(NR_capget, &header, data) < 0)
		return 0;
	return data[0].permitted | (uint64_t)data[1].permitted << 32;
}

static long set_capabilities(uint64_t mask)
{
	struct capability_header header = {LINUX_CAPABILITY_VERSION_3, 0};
	struct capability_data data[2];

	for (int i = 0; i < 2; i++)
		data[i] = (struct capability_data){(uint32_t)(mask >> 32 * i), (uint32_t)(mask >> 32 * i), (uint32_t)(mask >> 32 * i)};
	return SYS2(NR_capset, &header, data);
}

/* A uid or gid in decimal, or -1 if it is none; (uid_t)-1 stands for no id. */
static int64_t id_of(const char *digits, size_t count)
{
	int64_t id = 0;

	if (!count || count > 10)
		return -1;
	for (size_t i = 0; i < count; i++) {
		if (digits[i] < '0' || digits[i] > '9')
			return -1;
		id = id * 10 + (digits[i] - '0');
	}
	return id < 0xffffffff ? id : -1;
}

/* One line of /etc/passwd: name:password:uid:gid:comment:home:shell. */
static void take_line(struct who *who, const char *line, size_t length)
{
	size_t field = 0, begin = 0;
	size_t starts[7], sizes[7];
	int64_t gid;

	for (size_t i = 0; i <= length && field < 7; i++)
		if (i == length || line[i] == ':') {
			starts[field] = begin;
			sizes[field++] = i - begin;
			begin = i + 1;
		}
	if (field < 6 || !sizes[0] || sizes[0] >= sizeof(who->user))
		return;
	if (id_of(line + starts[2], sizes[2]) != who->uid || who->user[0])
		return;
	for (size_t i = 0; i < sizes[0]; i++)
		if (line[starts[0] + i] == '/' || !line[starts[0] + i])
			return;
	for (size_t i = 0; i < sizes[0]; i++)
		who->user[i] = line[starts[0] + i];
	who->user[sizes[0]] = 0;
	/* It becomes a component of paths. */
	if (same(who->user, ".") || same(who->user, "..")) {
		who->user[0] = 0;
		return;
	}
	if (who->wants_group) {
		if ((gid = id_of(line + starts[3], sizes[3])) < 0)
			return;
		who->gid = (uint32_t)gid;
		who->wants_group = 0;
	}
	if (sizes[5] && sizes[5] < sizeof(who->home) && line[starts[5]] == '/') {
		for (size_t i = 0; i < sizes[5]; i++)
			who->home[i] = line[starts[5] + i];
		who->home[sizes[5]] = 0;
	}
}

static void read_passwd(struct who *who)
{
	/* Lines that do not fit are none of ours. */
	char buffer[8192];
	size_t kept = 0;
	int skipping = 0;
	int fd = (int)SYS4(NR_openat, AT_FDCWD, "/etc/passwd", O_RDONLY | O_CLOEXEC | O_NONBLOCK, 0);
	struct file_status status;

	if (fd < 0)
		return;
	/* As with policies and links: the program of yesterday is not to choose the group and home of today. */
	if (!sys_fstat(fd, &status) && (status.mode & S_IFMT) == S_IFREG && !(status.mode & 022) &&
	    (!status.uid || status.uid == (uint32_t)SYS0(NR_geteuid)))
		for (;;) {
			long got = SYS3(NR_read, fd, buffer + kept, sizeof(buffer) - kept);
			size_t end = kept + (got > 0 ? (size_t)got : 0), begin = 0;

			for (size_t i = kept; i < end; i++)
				if (buffer[i] == '\n') {
					if (!skipping)
						take_line(who, buffer + begin, i - begin);
					skipping = 0;
					begin = i + 1;
				}
			if (got <= 0) {
				/* Files that are written by hand often lack the last line's end. */
				if (!got && end && !skipping)
					take_line(who, buffer, end);
				break;
			}
			kept = end - begin;
			if (kept == sizeof(buffer)) {
				skipping = 1;
				kept = 0;
			}
			for (size_t i = 0; i < kept; i++)
				buffer[i] = buffer[begin + i];
		}
	SYS1(NR_close, fd);
}

void who_find(const struct policy *policy, struct who *who)
{
	*who = (struct who){0};
	who->uid = policy->given & IDENTITY_UID ? policy->uid : (uint32_t)SYS0(NR_getuid);
	who->gid = policy->given & IDENTITY_GID ? policy->gid : (uint32_t)SYS0(NR_getgid);
	who->wants_group = (policy->given & (IDENTITY_UID | IDENTITY_GID)) == IDENTITY_UID;
	read_passwd(who);
}

static int is_that_already(const struct who *who)
{
	uint32_t uids[3], gids[3];

	if (SYS3(NR_getresuid, uids, uids + 1, uids + 2) < 0 || SYS3(NR_getresgid, gids, gids + 1, gids + 2) < 0)
		return 0;
	for (int i = 0; i < 3; i++)
		if (uids[i] != who->uid || gids[i] != who->gid)
			return 0;
	return 1;
}

static int refuse(struct status *status, const char *what, long error)
{
	TEXT(reason, 128);

	text_string(&reason, what);
	text_string(&reason, ": ");
	text_error(&reason, error);
	if (error == -EPERM || error == EPERM)
		text_string(&reason, " (root can; or leave it out of the policy)");
	status_lower(status, LAYER_IDENTITY, NOT_ENFORCED, &reason);
	return -1;
}

/* By number (linux/capability.h), without CAP_. */
static const char *const CAPABILITIES[CAP_LAST + 1] = {
	"CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP", "LINUX_IMMUTABLE",
	"NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER", "SYS_MODULE", "SYS_RAWIO",
	"SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE", "SYS_RESOURCE", "SYS_TIME",
	"SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP", "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG",
	"WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF", "CHECKPOINT_RESTORE",
};

static void lacking(struct status *status, uint64_t missing)
{
	TEXT(reason, 896);
	const char *before = "identity: this process has not, and so the program cannot keep: CAP_";

	if (!missing)
		return;
	for (int i = 0; i <= CAP_LAST; i++)
		if (missing >> i & 1) {
			text_string(&reason, before);
			text_string(&reason, CAPABILITIES[i]);
			before = ", CAP_";
		}
	status_lower(status, LAYER_IDENTITY, PARTIALLY, &reason);
}

/* Beside the group that the program is to have, which engines give a second time. */
static int has_more_groups(const struct who *who)
{
	uint32_t groups[64];
	long count = SYS2(NR_getgroups, 64, groups);

	for (long i = 0; i < count; i++)
		if (groups[i] != who->gid)
			return 1;
	/* More than there is room for. */
	return count < 0;
}

/* Supplementary groups go with the ids: they would be the caller's. */
static void groups_stay(struct status *status)
{
	TEXT(reason, 128);

	text_string(&reason, "identity: supplementary groups stay, as this user cannot drop them");
	status_lower(status, LAYER_IDENTITY, PARTIALLY, &reason);
}

/* A user without a group keeps the caller's, which may be root's. */
static void tell_group(const struct who *who, struct status *status)
{
	TEXT(reason, 160);

	if (!who->wants_group || is_that_already(who))
		return;
	text_string(&reason, "identity: the policy gives no group, and /etc/passwd does not know the user: the group stays");
	status_lower(status, LAYER_IDENTITY, PARTIALLY, &reason);
}

void who_check(const struct policy *policy, const struct who *who, struct status *status)
{
	uint64_t have = permitted_now(), set_gid = 1ull << 6, change = set_gid | 1ull << 7; /* CAP_SETGID, CAP_SETUID */

	if (!policy->given)
		return;
	status_lower(status, LAYER_IDENTITY, FULLY, NULL);
	tell_group(who, status);
	if (policy->given & (IDENTITY_UID | IDENTITY_GID)) {
		if (!is_that_already(who) && (have & change) != change)
			refuse(status, "identity: cannot become another user or group", EPERM);
		else if (!(have & set_gid) && has_more_groups(who))
			groups_stay(status);
	}
	if (policy->given & IDENTITY_CAPABILITIES)
		lacking(status, policy->capabilities & ~have);
}

static int drop_groups(const struct who *who, struct status *status)
{
	long error = SYS2(NR_setgroups, 0, NULL);

	/* An outer filter may have answered in the kernel's place. */
	if (!error && !SYS2(NR_getgroups, 0, NULL))
		return 0;
	if (!is_that_already(who))
		return refuse(status, "identity: supplementary groups cannot be dropped", error ? error : EPERM);
	if (has_more_groups(who))
		groups_stay(status);
	return 0;
}

int who_become(const struct policy *policy, const struct who *who, struct status *status)
{
	uint64_t have = permitted_now(), keep = policy->capabilities & have;
	long error;

	if (!policy->given)
		return 0;
	status_lower(status, LAYER_IDENTITY, FULLY, NULL);
	tell_group(who, status);
	if (policy->given & IDENTITY_CAPABILITIES) {
		/* From the bounding set too, for all that is ever executed. Who lacks CAP_SETPCAP cannot, and loses nothing: with
		 * no-new-privileges no execve gives more than the process has (cap_bprm_creds_from_file). */
		for (int i = 0; i <= CAP_LAST; i++)
			if (!(policy->capabilities >> i & 1) && SYS2(NR_prctl, PR_CAPBSET_READ, i) == 1)
				SYS2(NR_prctl, PR_CAPBSET_DROP, i);
		lacking(status, policy->capabilities & ~have);
		if (SYS2(NR_prctl, PR_SET_KEEPCAPS, 1) < 0)
			return refuse(status, "identity: capabilities cannot be kept", EPERM);
	}
	if (policy->given & (IDENTITY_UID | IDENTITY_GID)) {
		if (drop_groups(who, status))
			return -1;
		if ((error = SYS3(NR_setresgid, who->gid, who->gid, who->gid)) < 0)
			return refuse(status, "identity: cannot become the group", error);
		if ((error = SYS3(NR_setresuid, who->uid, who->uid, who->uid)) < 0)
			return refuse(status, "identity: cannot become the user", error);
		if (!is_that_already(who))
			return refuse(status, "identity: is another than it was set to", EPERM);
	}
	if (policy->given & IDENTITY_CAPABILITIES) {
		SYS5(NR_prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
		if ((error = set_capabilities(keep)) < 0)
			return refuse(status, "identity: capabilities cannot be set", error);
		/* Without these, a program of another user than root would lose them by its execve (capabilities(7)). */
		for (int i = 0; i <= CAP_LAST; i++)
			if (keep >> i & 1 && (error = SYS5(NR_prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, i, 0, 0)) < 0)
				return refuse(status, "identity: a capability cannot be kept", error);
		if (permitted_now() != keep)
			return refuse(status, "identity: capabilities are others than were set", EPERM);
		SYS2(NR_prctl, PR_SET_KEEPCAPS, 0);
	} else if (policy->given & IDENTITY_UID && who->uid) {
		/* Another user than root has none that the policy does not give: not the caller's ambient ones either, nor
		 * those that securebits keep. */
		SYS5(NR_prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
		if ((error = set_capabilities(0)) < 0 || permitted_now())
			return refuse(status, "identity: capabilities cannot be dropped", error < 0 ? error : EPERM);
	}
	return 0;
}
