/* scmm-enforce: apply a compiled policy, and become the program.
 *
 * One static program without a C library, for any image. It reads the policy whole and checks all of it before it acts
 * on any; then Landlock, ids and capabilities, the filter, and execve. What this kernel cannot hold is said. */
#include "connect.h"
#include "descriptors.h"
#include "filters.h"
#include "guard.h"
#include "handover.h"
#include "input.h"
#include "landlock.h"
#include "options.h"
#include "program.h"
#include "stop.h"
#include "supervise.h"
#include "sys.h"
#include "text.h"
#include "who.h"

/* Descriptors 0 to 2 that are closed are taken until the program starts: nothing else may come to be one of them. */
static void hold_stdio(void)
{
	for (int fd = 0; fd < 3; fd++)
		if (SYS3(NR_fcntl, fd, F_GETFD, 0) < 0 && SYS4(NR_openat, AT_FDCWD, "/", O_PATH | O_CLOEXEC, 0) != fd)
			sys_exit(EXIT_OURS);
}

static const int DEADLY[] = {SIGPIPE, SIGXFSZ};
enum { DEADLY_COUNT = sizeof(DEADLY) / sizeof(*DEADLY) };
static struct action were[DEADLY_COUNT];

/* Where nobody reads what we say, or there is no room for it, that is an error like others, and not our end. */
static void ignore_signals(void)
{
	const struct action ignored = {.handler = SIG_IGN};

	for (int i = 0; i < DEADLY_COUNT; i++)
		SYS4(NR_rt_sigaction, DEADLY[i], &ignored, &were[i], 8);
}

/* The program finds what we found. */
static void restore_signals(void)
{
	for (int i = 0; i < DEADLY_COUNT; i++)
		SYS4(NR_rt_sigaction, DEADLY[i], &were[i], 0, 8);
}

/* The filter's verdict on one call without arguments that matter. */
static int may(const struct filter *filter, uint32_t nr, uint64_t first)
{
	uint64_t args[6] = {first};
	uint32_t action = filter->count ? filter_verdict(filter, MACHINE_AUDIT, nr, args) & 0xffff0000u : 0x7fff0000u;

	return action == 0x7fff0000u || action == 0x7ffc0000u;
}

/* Whether there is to be a listener: somebody is there, or would be. */
static int is_asked(const struct options *options)
{
	return has_listener(options) || options->mode == MODE_ASK;
}

/* How far the filter is the policy's. */
static void assess_calls(const struct options *options, const struct policy *policy, struct status *status)
{
	TEXT(reason, 160);

	if (!policy->filter.count)
		return;
	status_lower(status, LAYER_CALLS, FULLY, NULL);
	if (options->mode == MODE_ASK) {
		text_string(&reason, "calls: a monitor decides about those that the policy would refuse");
		status_lower(status, LAYER_CALLS, PARTIALLY, &reason);
	} else if (!is_asked(options) && filter_asks(policy, 0)) {
		text_string(&reason, "calls: nobody is asked about those with the action notify: they fail with ENOSYS");
		status_lower(status, LAYER_CALLS, FULLY, &reason);
	}
}

/* A listener that nobody is ever asked by is a mistake. */
static void check_asks(const struct options *options, const struct policy *policy)
{
	if (!is_asked(options) || filter_asks(policy, options->mode == MODE_ASK))
		return;
	if (options->mode == MODE_ASK)
		stop(EXIT_OURS, "there is nothing to ask about", NULL, "the policy refuses no call");
	stop(EXIT_OURS, "there is nothing to ask a monitor about", NULL,
	     "the policy has no call with the action notify; with --mode ask it is asked about what the policy refuses");
}

/* Nothing of a policy but its filter holds: what the mode seccomp leaves out. */
static void filter_alone(const struct policy *policy, struct status *status)
{
	TEXT(reason, 128);

	text_string(&reason, "the mode is seccomp: the filter alone is applied");
	status_lower_each(status, policy_layers(policy) & ~(1u << LAYER_CALLS), &reason);
}

/* What lacks, as far as it can be told by looking. */
static void look(const struct options *options, const struct policy *policy, const struct who *who, struct status *status)
{
	status_begin(status, options->mode);
	assess_calls(options, policy, status);
	landlock_prepare(policy, who, status, LOOK);
	who_check(policy, who, status);
}

/* All but the filter. 0, or -1 with a reason in the status. */
static int apply(const struct options *options, const struct policy *policy, const struct who *who, struct status *status,
		 enum effort effort)
{
	long error;
	int ruleset;

	status_begin(status, options->mode);
	status->abi = landlock_abi(&error);
	assess_calls(options, policy, status);
	/* Without it, neither Landlock nor a filter can be had by who is not root; and no program gains rights by its file. */
	if ((error = SYS5(NR_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)) < 0) {
		TEXT(reason, 64);

		text_string(&reason, "no-new-privileges cannot be set: ");
		text_error(&reason, error);
		status_lower_each(status, policy_layers(policy), &reason);
		return -1;
	}
	if (options->mode == MODE_SECCOMP) {
		filter_alone(policy, status);
		return 0;
	}
	ruleset = landlock_prepare(policy, who, status, effort);
	if (ruleset == -2 || (ruleset >= 0 && landlock_enter(policy, ruleset, status)))
		return -1;
	if (ruleset < 0 && options->guard)
		guard(policy, status->abi);
	return who_become(policy, who, status);
}

static int apply_filter(const struct options *options, const struct policy *policy, struct status *status)
{
	TEXT(reason, 64);
	long error = !policy->filter.count ? 0 : is_asked(options) ? filter_listen(policy, options->mode == MODE_ASK) : filter_load(policy);

	if (error >= 0)
		return 0;
	text_string(&reason, is_asked(options) ? "calls: the kernel gives no listener: " : "calls: the kernel refuses the filter: ");
	filter_words(&reason, error);
	status_lower(status, LAYER_CALLS, NOT_ENFORCED, &reason);
	return -1;
}

static void end_when_over(long child, const int *is_over)
{
	while (!__atomic_load_n(is_over, __ATOMIC_ACQUIRE)) {
		uint64_t pause[2] = {0, 100000};

		if (SYS4(NR_wait4, child, 0, WNOHANG | WALL, 0) == child)
			return;
		SYS5(NR_ppoll, 0, 0, pause, 0, 8);
	}
	SYS2(NR_kill, child, SIGKILL);
	SYS4(NR_wait4, child, 0, WALL, 0);
}

/* What comes of it in a child, which becomes nothing. Its memory is ours. */
static void try(const struct options *options, const struct policy *policy, const struct who *who, struct status *status)
{
	struct trial {
		struct status status;
		int is_over;
	} *trial;
	const uint64_t no_core[2] = {0, 0};
	long child, at = SYS6(NR_mmap, 0, sizeof(*trial), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (at < 0 && at > -4096)
		stop_error(EXIT_OURS, "no memory to try it", NULL, at);
	trial = (struct trial *)at;
	child = SYS5(NR_clone, SIGCHLD, 0, 0, 0, 0);
	if (child < 0)
		stop_error(EXIT_OURS, "no process to try it", NULL, child);
	if (!child) {
		SYS4(NR_prlimit64, 0, RLIMIT_CORE, no_core, 0);
		if (!apply(options, policy, who, &trial->status, TRY))
			apply_filter(options, policy, &trial->status);
		/* Not by a call: the filter is in force. */
		__atomic_store_n(&trial->is_over, 1, __ATOMIC_RELEASE);
		sys_exit(0);
	}
	/* It may be asked whether it may end, and nobody would answer. */
	if (is_asked(options))
		end_when_over(child, &trial->is_over);
	else
		SYS4(NR_wait4, child, 0, WALL, 0);
	if (!__atomic_load_n(&trial->is_over, __ATOMIC_ACQUIRE))
		stop(EXIT_OURS, "the process that tried it was ended", NULL, NULL);
	status_copy(&trial->status, status);
}

static void close_all_but(const struct options *options)
{
	/* The one for the status is ours, whatever number it has. */
	if (options->status_fd > 2)
		SYS3(NR_fcntl, options->status_fd, F_SETFD, FD_CLOEXEC);
	descriptors_close_from(3 + options->preserve);
}

static void tell_status(const struct options *options, const struct status *status)
{
	long error;

	if (options->verbose || (!options->quiet && status_whole(status) != FULLY && status_whole(status) != NOT_ASKED))
		status_text(status, 2);
	if (options->status_fd < 0)
		return;
	/* Who wants to know what holds does not want the program without. */
	if ((error = status_json(status, options->status_fd)) < 0)
		stop_error(EXIT_OURS, "the status cannot be written to its descriptor", NULL, error);
}

/* What was there is lost: so it has to be a report of ours, and not the policy. */
static int open_report(const struct options *options, const struct policy *policy)
{
	const char *name = options->report;
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
	if (status.device == policy->device && status.inode == policy->inode)
		stop(EXIT_OURS, "the report", name, "is the policy");
	if (status.uid != (uint32_t)SYS0(NR_geteuid))
		stop(EXIT_OURS, "the report", name, "belongs to another user; give a new file");
	if (status.links > 1)
		stop(EXIT_OURS, "the report", name, "has another name too (a hard link), which would lose what it has; give a new file");
	if (status.mode & 022)
		stop(EXIT_OURS, "the report", name, "may be written by others; take that right away (chmod go-w)");
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
	job.report = open_report(options, policy);
	close_all_but(options);
	/* From here on all signals are blocked, or the program is the next. */
	restore_signals();
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

static _Noreturn void run_nothing(const struct status *status, const char *why)
{
	status_text(status, 2);
	stop(EXIT_OURS, why, NULL, NULL);
}

/* Instead of what was told before. */
static _Noreturn void take_back(const struct options *options, const struct status *status)
{
	if (options->status_fd >= 0)
		status_json(status, options->status_fd);
	run_nothing(status, "the policy cannot be applied here: nothing is run");
}

struct asking {
	struct handover job;
	const struct options *options;
	struct status *status;
};

/* Nothing came of it. Whoever says so is not under the filter. */
static void end_asking(const struct handover *job, const struct text *reason, long error)
{
	const struct asking *asking = (const struct asking *)job;

	if (!reason)
		not_executed(*job->program, error);
	status_lower(asking->status, LAYER_CALLS, NOT_ENFORCED, reason);
	take_back(asking->options, asking->status);
}

/* The filter with a listener, and the program. */
static _Noreturn void ask(const struct options *options, const struct policy *policy, struct connection connection, struct status *status,
			  char **environment)
{
	const struct asking asking = {
		.job = {
			.policy = policy,
			.is_twin = options->mode == MODE_ASK,
			.connection = connection.fd,
			.is_met = connection.is_met,
			.told = {status_mode(options->mode), options->metadata, options->state, found_program(*options->program)},
			.execute = execute,
			.program = options->program,
			.environment = environment,
			.end = end_asking,
		},
		.options = options,
		.status = status,
	};

	hand_over(&asking.job);
}

static _Noreturn void enforce(const struct options *options, const struct policy *policy, const struct who *who, char **environment)
{
	static const char not_all[] = "not all of the policy can be enforced here, and the mode is strict: nothing is run";
	struct status status;
	struct connection connection = {-1, 0};
	long error;

	if (options->mode == MODE_STRICT) {
		look(options, policy, who, &status);
		if (status_whole(&status) > FULLY)
			run_nothing(&status, not_all);
	}
	find_program(*options->program, environment);
	/* As who called us, and before anything keeps us from it. */
	if (options->listener)
		connection = connect_to(options->listener);
	else if (options->listener_fd >= 0)
		connection = connected(options->listener_fd);
	if (apply(options, policy, who, &status, APPLY))
		run_nothing(&status, "the policy cannot be applied here: nothing is run");
	if (options->mode == MODE_STRICT && status_whole(&status) > FULLY)
		run_nothing(&status, not_all);
	tell_status(options, &status);
	close_all_but(options);
	restore_signals();
	if (connection.fd >= 0)
		ask(options, policy, connection, &status, environment);
	if (apply_filter(options, policy, &status))
		take_back(options, &status);
	error = execute(options->program, environment);
	/* The filter decides whether there is anything left to say. */
	if (may(&policy->filter, NR_write, 2))
		not_executed(*options->program, error);
	sys_exit(error == -ENOENT ? EXIT_NOT_FOUND : EXIT_NOT_EXECUTABLE);
}

/* What would be enforced here. */
static _Noreturn void check(const struct options *options, const struct policy *policy, const struct who *who)
{
	struct status status;
	long error;

	if (options->mode != MODE_PERMISSIVE) {
		try(options, policy, who, &status);
	} else {
		status_begin(&status, options->mode);
		status.abi = landlock_abi(&error);
		permissive_assess(policy, policy->permissive.count ? supervise_try(policy) : 0, &status);
	}
	error = options->json ? status_json(&status, 1) : status_text(&status, 1);
	if (!error && options->status_fd >= 0)
		error = status_json(&status, options->status_fd);
	if (error)
		stop_error(EXIT_OURS, "cannot write what would be enforced", NULL, error);
	/* Nothing asked is all of it. */
	sys_exit(status_whole(&status) <= FULLY ? 0 : 1);
}

/* Called by the entry with what the kernel has put on the stack. */
__attribute__((used)) _Noreturn void launcher(long *stack)
{
	char **arguments = (char **)(stack + 1), **environment = arguments + stack[0] + 1;
	static struct policy policy;
	static struct who who;
	struct options options;

	hold_stdio();
	ignore_signals();
	options = read_options(arguments);
	read_policy(&options, &policy);
	check_asks(&options, &policy);
	who_find(&policy, &who);
	if (options.check)
		check(&options, &policy, &who);
	if (options.mode == MODE_PERMISSIVE)
		permit(&options, &policy, environment);
	enforce(&options, &policy, &who, environment);
}
