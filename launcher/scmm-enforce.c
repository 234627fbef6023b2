/* scmm-enforce: apply a compiled policy, and become the program.
 *
 * One static program without a C library, for any image. It reads the policy whole and checks all of it before it acts
 * on any; then Landlock, ids and capabilities, the filter, and execve. What this kernel cannot hold is said. */
#include "descriptors.h"
#include "landlock.h"
#include "policy.h"
#include "status.h"
#include "supervise.h"
#include "sys.h"
#include "text.h"
#include "who.h"

enum { EXIT_OURS = 125, EXIT_NOT_EXECUTABLE = 126, EXIT_NOT_FOUND = 127 };

static const char USAGE[] =
	"usage: scmm-enforce -p POLICY [options] -- PROGRAM [ARGUMENTS]\n"
	"Apply a compiled policy (.scmm-pol), and become the program.\n\n"
	"  -p, --policy FILE     what scmm-compile -o wrote; belongs to root or to you, and is not writable by others\n"
	"      --policy-fd N     the same, read from this descriptor from its beginning on; closed afterwards\n"
	"  -m, --mode MODE       standard: what this kernel has, and what lacks is said\n"
	"                        strict: all of the policy, or nothing is run\n"
	"                        seccomp: the filter alone\n"
	"                        permissive: nothing; calls that the policy would refuse are told, and done\n"
	"      --check           tell what would be enforced here, and run nothing; 0 all of it, 1 not all\n"
	"      --json            with --check: as JSON\n"
	"      --report FILE     with permissive: tell them there instead of on standard error; what was there is lost\n"
	"      --status-fd N     write what is enforced as JSON to this descriptor\n"
	"      --preserve-fds N  leave N descriptors from 3 on open; all others but stdio are closed\n"
	"  -v, --verbose         say what is enforced even if it is all\n"
	"  -h, --help            print this\n\n"
	"Ends with 125 if it fails itself, 126 if the program cannot be executed, 127 if it is not found.\n\n"
	"Example:\n  scmm-enforce -p nginx.scmm-pol -- nginx -g 'daemon off;'\n";

struct options {
	const char *policy, *report;
	enum mode mode;
	int check, json, verbose;
	int policy_fd, status_fd, preserve;
	char **program;
};

static _Noreturn void stop(int code, const char *what, const char *name, const char *why)
{
	TEXT(text, 8192);

	text_string(&text, "scmm-enforce: ");
	text_string(&text, what);
	if (name) {
		text_string(&text, *what ? " " : "");
		text_bytes(&text, name, length_of(name));
	}
	if (why) {
		text_string(&text, ": ");
		text_string(&text, why);
	}
	text_string(&text, "\n");
	text_write(&text, 2);
	sys_exit(code);
}

static _Noreturn void stop_error(int code, const char *what, const char *name, long error)
{
	TEXT(why, 32);

	text_error(&why, error);
	why.at[why.length < why.room ? why.length : why.room - 1] = 0;
	stop(code, what, name, why.at);
}

/* Descriptors 0 to 2 that are closed are taken until the program starts: nothing else may come to be one of them. */
static void hold_stdio(void)
{
	for (int fd = 0; fd < 3; fd++)
		if (SYS3(NR_fcntl, fd, F_GETFD, 0) < 0 && SYS4(NR_openat, AT_FDCWD, "/", O_PATH | O_CLOEXEC, 0) != fd)
			sys_exit(EXIT_OURS);
}

static const char *value_of(char ***argument, const char *name, const char *word)
{
	size_t length = length_of(name);

	if (word[length] == '=')
		return word + length + 1;
	if (!(*argument)[1])
		stop(EXIT_OURS, "the option needs a value:", name, NULL);
	return *++*argument;
}

static int is_option(const char *word, const char *name)
{
	while (*name && *word == *name)
		word++, name++;
	return !*name && (!*word || *word == '=');
}

static enum mode mode_of(const char *word)
{
	if (same(word, "standard"))
		return MODE_STANDARD;
	if (same(word, "strict"))
		return MODE_STRICT;
	if (same(word, "seccomp"))
		return MODE_SECCOMP;
	if (same(word, "permissive"))
		return MODE_PERMISSIVE;
	stop(EXIT_OURS, "unknown mode", word, "known: standard, strict, seccomp, permissive");
}

static int descriptor_of(const char *option, const char *word, int least)
{
	int64_t number = number_of(word, 1 << 20);

	if (number < least)
		stop(EXIT_OURS, "not a number for", option, word);
	return (int)number;
}

static struct options read_options(char **argument)
{
	struct options options = {.policy_fd = -1, .status_fd = -1};

	if (*argument)
		argument++;
	for (; *argument && **argument == '-'; argument++) {
		const char *word = *argument;

		if (same(word, "--")) {
			argument++;
			break;
		}
		if (same(word, "-h") || same(word, "--help")) {
			struct text usage = {(char *)USAGE, sizeof(USAGE) - 1, 0};

			text_write(&usage, 1);
			sys_exit(0);
		}
		if (same(word, "-p"))
			options.policy = value_of(&argument, "-p", word);
		else if (is_option(word, "--policy"))
			options.policy = value_of(&argument, "--policy", word);
		else if (is_option(word, "--policy-fd"))
			options.policy_fd = descriptor_of("--policy-fd", value_of(&argument, "--policy-fd", word), 3);
		else if (same(word, "-m"))
			options.mode = mode_of(value_of(&argument, "-m", word));
		else if (is_option(word, "--mode"))
			options.mode = mode_of(value_of(&argument, "--mode", word));
		else if (is_option(word, "--report"))
			options.report = value_of(&argument, "--report", word);
		else if (is_option(word, "--status-fd"))
			options.status_fd = descriptor_of("--status-fd", value_of(&argument, "--status-fd", word), 1);
		else if (is_option(word, "--preserve-fds"))
			options.preserve = descriptor_of("--preserve-fds", value_of(&argument, "--preserve-fds", word), 0);
		else if (same(word, "--check"))
			options.check = 1;
		else if (same(word, "--json"))
			options.json = 1;
		else if (same(word, "-v") || same(word, "--verbose"))
			options.verbose = 1;
		else
			stop(EXIT_OURS, "unknown option", word, "scmm-enforce --help tells what there is");
	}
	options.program = argument;
	if (!options.policy && options.policy_fd < 0)
		stop(EXIT_OURS, "no policy was given", NULL, "scmm-enforce -p POLICY -- PROGRAM");
	if (options.policy && options.policy_fd >= 0)
		stop(EXIT_OURS, "two policies were given", NULL, "either --policy or --policy-fd");
	if (options.policy_fd >= 0 && options.policy_fd == options.status_fd)
		stop(EXIT_OURS, "--policy-fd and --status-fd are the same", NULL, NULL);
	/* Before anything that we open ourselves gets its number. */
	if (options.status_fd >= 0 && SYS3(NR_fcntl, options.status_fd, F_GETFD, 0) < 0)
		stop(EXIT_OURS, "the descriptor of --status-fd is not open", NULL, NULL);
	if (!*argument && !options.check)
		stop(EXIT_OURS, "no program was given", NULL, "scmm-enforce -p POLICY -- PROGRAM");
	if (options.json && !options.check)
		stop(EXIT_OURS, "--json goes with --check", NULL, "--status-fd has the same as JSON");
	if (options.report && (options.check || options.mode != MODE_PERMISSIVE))
		stop(EXIT_OURS, "--report goes with --mode permissive", NULL, "the other modes refuse, and the kernel's log has that");
	return options;
}

static int open_policy(const char *name)
{
	long fd = SYS4(NR_openat, AT_FDCWD, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0);

	if (fd == -ELOOP)
		stop(EXIT_OURS, "the policy", name, "is a symbolic link; give the file itself");
	if (fd < 0)
		stop_error(EXIT_OURS, "cannot open the policy", name, fd);
	return (int)fd;
}

/* The bytes of a file that is open, in memory of our own, which nobody changes any more. */
static struct bytes read_policy(int fd, const char *name)
{
	struct file_status status;
	size_t size, done = 0;
	unsigned char *bytes, beyond;
	long room, error;

	if (SYS3(NR_fcntl, fd, F_GETFD, 0) < 0)
		stop(EXIT_OURS, "the policy", name, "is not open");
	if (sys_fstat(fd, &status) || (status.mode & S_IFMT) != S_IFREG)
		stop(EXIT_OURS, "the policy", name, "is no regular file");
	if (status.uid && status.uid != (uint32_t)SYS0(NR_getuid))
		stop(EXIT_OURS, "the policy", name, "belongs to another user, who could change it");
	if (status.mode & 022)
		stop(EXIT_OURS, "the policy", name, "may be written by others; take that right away (chmod go-w)");
	if (!status.size || status.size > POLICY_MOST)
		stop(EXIT_OURS, "the policy", name, status.size ? "is larger than 64 MiB" : "is empty");
	size = (size_t)status.size;
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

static void check_policy(const struct options *options, struct policy *policy)
{
	TEXT(descriptor, 32);
	const char *name = options->policy;
	struct bytes file;
	struct wrong wrong;

	if (!name) {
		text_string(&descriptor, "descriptor ");
		text_number(&descriptor, (uint64_t)options->policy_fd);
		descriptor.at[descriptor.length] = 0;
		name = descriptor.at;
	}
	file = read_policy(options->policy ? open_policy(name) : options->policy_fd, name);
	if (policy_check(file, MACHINE_AUDIT, policy, &wrong)) {
		TEXT(why, 256);
		text_string(&why, wrong.why);
		text_string(&why, " (byte ");
		text_number(&why, wrong.offset);
		text_string(&why, ")");
		why.at[why.length < why.room ? why.length : why.room - 1] = 0;
		stop(EXIT_OURS, "the policy", name, why.at);
	}
	if (policy->has_filters && !policy->filter.count)
		stop(EXIT_OURS, "the policy", name, "is for another architecture than " MACHINE_NAME);
}

/* The filter's verdict on one call without arguments that matter. */
static int may(const struct filter *filter, uint32_t nr, uint64_t first)
{
	uint64_t args[6] = {first};
	uint32_t action = filter->count ? filter_verdict(filter, MACHINE_AUDIT, nr, args) & 0xffff0000u : 0x7fff0000u;

	return action == 0x7fff0000u || action == 0x7ffc0000u;
}

static long load_filter(const struct filter *filter)
{
	struct {
		unsigned short count;
		const unsigned char *instructions;
	} program = {(unsigned short)filter->count, filter->instructions};

	return SYS3(NR_seccomp, SECCOMP_SET_MODE_FILTER, filter->flags, &program);
}

/* What would be enforced, without doing anything. */
/* What the mode seccomp leaves out. */
static void filter_alone(const struct policy *policy, struct status *status)
{
	int layers[] = {policy->handled_fs != 0, policy->handled_net != 0, policy->scoped != 0, policy->given != 0};
	TEXT(reason, 128);

	text_string(&reason, "the mode is seccomp: the filter alone is applied");
	for (int i = 0, told = 0; i < 4; i++)
		if (layers[i]) {
			status_lower(status, LAYER_FILES + i, NOT_ENFORCED, told ? NULL : &reason);
			told = 1;
		}
}

static void assess(const struct options *options, const struct policy *policy, const struct who *who, struct status *status)
{
	long why;

	status_begin(status, options->mode);
	status->abi = landlock_abi(&why);
	if (options->mode == MODE_PERMISSIVE) {
		permissive_assess(policy, 0, status);
		return;
	}
	if (policy->filter.count)
		status_lower(status, LAYER_CALLS, FULLY, NULL);
	if (options->mode == MODE_SECCOMP) {
		filter_alone(policy, status);
		return;
	}
	landlock_prepare(policy, who, status, 1);
	who_check(policy, who, status);
}

static void close_all_but(const struct options *options)
{
	/* The one for the status is ours, whatever number it has. */
	if (options->status_fd > 2)
		SYS3(NR_fcntl, options->status_fd, F_SETFD, FD_CLOEXEC);
	descriptors_close_from(3 + options->preserve);
}

static const char *search_path(char **environment)
{
	for (; *environment; environment++) {
		const char *one = *environment, *name = "PATH=";

		while (*name && *one == *name)
			one++, name++;
		if (!*name)
			return one;
	}
	return "/usr/local/bin:/usr/bin:/bin";
}

/* The next place to look for a program in, or NULL; an empty directory is the current one. */
static const char *candidate(const char **path, const char *name, char *room, size_t size)
{
	size_t length = 0, more = length_of(name);

	if (!*path)
		return NULL;
	while ((*path)[length] && (*path)[length] != ':')
		length++;
	if (length + more + 3 > size) {
		room[0] = 0;
	} else {
		size_t at = 0;

		for (; at < length; at++)
			room[at] = (*path)[at];
		if (!length)
			room[at++] = '.';
		room[at++] = '/';
		for (size_t i = 0; i <= more; i++)
			room[at + i] = name[i];
	}
	*path = (*path)[length] ? *path + length + 1 : NULL;
	return room;
}

static int has_slash(const char *name)
{
	while (*name && *name != '/')
		name++;
	return *name;
}

/* Whether there is anything to execute, while it can still be said without the filter's leave. */
static void find_program(const char *name, char **environment)
{
	char room[4096];
	const char *path = search_path(environment), *one;

	if (has_slash(name) || !*name) {
		long fd = *name ? SYS4(NR_openat, AT_FDCWD, name, O_PATH | O_CLOEXEC, 0) : -ENOENT;

		if (fd == -ENOENT || fd == -ENOTDIR)
			stop(EXIT_NOT_FOUND, "there is no program", name, NULL);
		if (fd >= 0)
			SYS1(NR_close, fd);
		return;
	}
	while ((one = candidate(&path, name, room, sizeof(room)))) {
		long fd = *one ? SYS4(NR_openat, AT_FDCWD, one, O_PATH | O_CLOEXEC, 0) : -ENOENT;

		if (fd == -ENOENT || fd == -ENOTDIR)
			continue;
		if (fd >= 0)
			SYS1(NR_close, fd);
		return;
	}
	stop(EXIT_NOT_FOUND, "there is no program", name, "it is in no directory of PATH");
}

/* execve and nothing else: the filter is in force. */
static long execute(char **program, char **environment)
{
	char room[4096];
	const char *path = search_path(environment), *one;
	long error = -ENOENT, tried;

	if (has_slash(*program))
		return SYS3(NR_execve, *program, program, environment);
	while ((one = candidate(&path, *program, room, sizeof(room)))) {
		if (!*one)
			continue;
		tried = SYS3(NR_execve, one, program, environment);
		if (tried == -EACCES)
			error = tried;
		else if (tried != -ENOENT && tried != -ENOTDIR)
			return tried;
	}
	return error;
}

static _Noreturn void not_executed(const char *program, long error)
{
	const char *why = error == -ENOENT ? "its interpreter or loader is not there"
			: error == -EACCES ? "it is not executable, or the policy does not let it be executed"
					   : NULL;

	if (why)
		stop(error == -ENOENT ? EXIT_NOT_FOUND : EXIT_NOT_EXECUTABLE, "cannot execute", program, why);
	stop_error(EXIT_NOT_EXECUTABLE, "cannot execute", program, error);
}

static void tell_status(const struct options *options, const struct status *status)
{
	if (options->verbose || (status_whole(status) != FULLY && status_whole(status) != NOT_ASKED))
		status_text(status, 2);
	if (options->status_fd >= 0)
		status_json(status, options->status_fd);
}

static int open_report(const char *name)
{
	struct file_status status;
	long fd;

	if (!name)
		return 2;
	fd = SYS4(NR_openat, AT_FDCWD, name, O_WRONLY | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600);
	if (fd == -ELOOP)
		stop(EXIT_OURS, "the report", name, "is a symbolic link; give the file itself");
	if (fd < 0)
		stop_error(EXIT_OURS, "cannot open the report", name, fd);
	if (sys_fstat((int)fd, &status) || (status.mode & S_IFMT) != S_IFREG)
		stop(EXIT_OURS, "the report", name, "is no regular file");
	if (SYS2(NR_ftruncate, fd, 0) < 0)
		stop(EXIT_OURS, "the report", name, "cannot be emptied");
	return (int)fd;
}

/* Permissive mode: the program in a child of ours, or at least its violations in the kernel's log. */
static _Noreturn void permit(const struct options *options, const struct policy *policy, char **environment)
{
	struct supervision job = {.policy = policy, .execute = execute, .program = options->program, .environment = environment};
	struct status status;
	long error;

	find_program(*options->program, environment);
	status_begin(&status, options->mode);
	status.abi = landlock_abi(&error);
	job.report = open_report(options->report);
	close_all_but(options);
	error = policy->permissive.count ? supervise_begin(&job) : 0;
	permissive_assess(policy, error, &status);
	tell_status(options, &status);
	/* Whoever reads it is to see its end. */
	if (options->status_fd > 2)
		SYS1(NR_close, options->status_fd);
	if (policy->permissive.count && !error) {
		error = supervise_run(&job);
		if (error >= 0)
			supervise_end(error);
		not_executed(*options->program, error);
	}
	if (error && job.report != 2) {
		TEXT(line, 256);
		text_string(&line, "scmm-enforce: ");
		permissive_words(&line, error);
		text_string(&line, "\n");
		text_write(&line, job.report);
	}
	if (error && (error = permissive_load(policy)) < 0)
		stop_error(EXIT_OURS, "the kernel refuses the permissive filter", NULL, error);
	not_executed(*options->program, execute(options->program, environment));
}

static _Noreturn void enforce(const struct options *options, const struct policy *policy, const struct who *who, char **environment)
{
	struct status status;
	int ruleset = -1;
	long error, abi = landlock_abi(&error);

	if (options->mode == MODE_STRICT) {
		assess(options, policy, who, &status);
		if (status_whole(&status) != FULLY) {
			status_text(&status, 2);
			stop(EXIT_OURS, "not all of the policy can be enforced here, and the mode is strict: nothing is run", NULL, NULL);
		}
	}
	find_program(*options->program, environment);
	status_begin(&status, options->mode);
	status.abi = abi;
	/* Without it, neither Landlock nor a filter can be had by who is not root; and no program gains rights by its file. */
	if ((error = SYS5(NR_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)) < 0)
		stop_error(EXIT_OURS, "no-new-privileges cannot be set", NULL, error);
	if (options->mode == MODE_SECCOMP) {
		filter_alone(policy, &status);
	} else {
		ruleset = landlock_prepare(policy, who, &status, 0);
		if (ruleset == -2) {
			status_text(&status, 2);
			stop(EXIT_OURS, "the policy's Landlock rules cannot be applied: nothing is run", NULL, NULL);
		}
		if (ruleset >= 0 && (error = landlock_enter(ruleset, abi)) < 0)
			stop_error(EXIT_OURS, "the kernel refuses the Landlock domain", NULL, error);
		if (who_become(policy, who, &status)) {
			status_text(&status, 2);
			stop(EXIT_OURS, "the program cannot be run as the policy says: nothing is run", NULL, NULL);
		}
	}
	if (policy->filter.count)
		status_lower(&status, LAYER_CALLS, FULLY, NULL);
	if (options->mode == MODE_STRICT && status_whole(&status) != FULLY) {
		status_text(&status, 2);
		stop(EXIT_OURS, "not all of the policy can be enforced here, and the mode is strict: nothing is run", NULL, NULL);
	}
	tell_status(options, &status);
	close_all_but(options);
	if (policy->filter.count && (error = load_filter(&policy->filter)) < 0)
		stop_error(EXIT_OURS, "the kernel refuses the filter", NULL, error);
	error = execute(options->program, environment);
	/* The filter decides whether there is anything left to say. */
	if (may(&policy->filter, NR_write, 2))
		not_executed(*options->program, error);
	sys_exit(error == -ENOENT ? EXIT_NOT_FOUND : EXIT_NOT_EXECUTABLE);
}

/* Called by the entry with what the kernel has put on the stack. */
__attribute__((used)) _Noreturn void launcher(long *stack)
{
	char **arguments = (char **)(stack + 1), **environment = arguments + stack[0] + 1;
	static struct policy policy;
	static struct who who;
	struct options options;
	struct status status;

	hold_stdio();
	options = read_options(arguments);
	check_policy(&options, &policy);
	who_find(&policy, &who);
	if (!options.check && options.mode == MODE_PERMISSIVE)
		permit(&options, &policy, environment);
	if (!options.check)
		enforce(&options, &policy, &who, environment);
	assess(&options, &policy, &who, &status);
	if (options.json)
		status_json(&status, 1);
	else
		status_text(&status, 1);
	/* Nothing asked is all of it. */
	sys_exit(status_whole(&status) <= FULLY ? 0 : 1);
}
