#include "supervise.h"
#include "filters.h"
#include "sys.h"
#include "text.h"
#include "violations.h"

/* linux/seccomp.h */
#define SECCOMP_GET_NOTIF_SIZES 3
#define NOTIF_RECV 0xC0502100u
#define NOTIF_SEND 0xC0182101u
#define NOTIF_ID_VALID 0x40082102u
#define NOTIF_CONTINUE 1u

/* linux/sched.h, asm-generic/signal.h, asm-generic/siginfo.h, linux/wait.h, linux/prctl.h */
#define CLONE_FILES 0x400
#define CLOSE_RANGE_UNSHARE 2
#define SIGHUP 1
#define SIGINT 2
#define SIGQUIT 3
#define SIGTERM 15
#define SIGCONT 18
#define SIGSTOP 19
#define SIGTSTP 20
#define SIGTTIN 21
#define SIGTTOU 22
#define SIG_BLOCK 0
#define SIG_SETMASK 2
#define SI_KERNEL 0x80
#define WUNTRACED 2
#define PR_SET_PDEATHSIG 1
#define PR_SET_CHILD_SUBREAPER 36
#define CAP_SYS_ADMIN 21

/* In memory of the child and its parent. */
struct shared {
	/* What seccomp(2) returned, once `loaded` is 1. */
	long result;
	int loaded;
	/* Why the program could not be executed. */
	long error;
};

struct answer {
	uint64_t id;
	int64_t value;
	int32_t error;
	uint32_t flags;
};

/* Without it, who may not administrate can load no filter (seccomp(2)); who may is left all that programs gain. */
static int needs_no_new_privileges(void)
{
	struct {
		uint32_t version;
		int32_t pid;
	} header = {LINUX_CAPABILITY_VERSION_3, 0};
	struct {
		uint32_t effective, permitted, inheritable;
	} data[2] = {{0}};

	return SYS2(NR_capget, &header, data) < 0 || !(data[0].effective >> CAP_SYS_ADMIN & 1);
}

static long prepare(void)
{
	return needs_no_new_privileges() ? SYS5(NR_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) : 0;
}

long permissive_load(const struct policy *policy)
{
	long error = prepare();

	return error < 0 ? error : filter_load_twin(policy, RET_LOG | 1, 0);
}

void permissive_words(struct text *text, long no_listener)
{
	if (!no_listener) {
		text_string(text, "calls: what the policy would refuse is told, and done");
		return;
	}
	text_string(text, "calls: violations are in the kernel's log only (dmesg, audit), as no listener can be had: ");
	filter_words(text, no_listener);
}

static void say(struct status *status, enum layer layer, const char *why)
{
	TEXT(reason, 192);

	text_string(&reason, why);
	status_lower(status, layer, NOT_ENFORCED, &reason);
}

void permissive_assess(const struct policy *policy, long no_listener, struct status *status)
{
	TEXT(reason, 192);

	if (policy->permissive.count) {
		permissive_words(&reason, no_listener);
		status_lower(status, LAYER_CALLS, NOT_ENFORCED, &reason);
		if (needs_no_new_privileges())
			say(status, LAYER_CALLS, "calls: programs gain no rights by their files, as only root may watch them then");
	}
	if (policy->handled_fs)
		say(status, LAYER_FILES, "files: not watched, as no kernel has a permissive Landlock");
	if (policy->handled_net || policy->has_addresses)
		say(status, LAYER_PORTS, "ports: not watched, as no kernel has a permissive Landlock");
	if (policy->scoped)
		say(status, LAYER_SCOPES, "scopes: not watched, as no kernel has a permissive Landlock");
	if (policy->given)
		say(status, LAYER_IDENTITY, "identity: user, groups and capabilities stay as they are");
}

/* In the child, which has our table of descriptors: the listener comes to be ours in the moment in which there is one,
 * without a right to the child, and without another call of the child's that would itself be asked about. */
static _Noreturn void become(const struct supervision *job, long parent, const uint64_t *mask, const struct action *action)
{
	struct shared *shared = job->shared;
	long result;

	/* Without us, what the policy refuses would fail with ENOSYS. */
	SYS2(NR_prctl, PR_SET_PDEATHSIG, SIGKILL);
	if (SYS0(NR_getppid) != parent)
		sys_exit(1);
	SYS4(NR_rt_sigaction, SIGCHLD, action, 0, 8);
	SYS4(NR_rt_sigprocmask, SIG_SETMASK, mask, 0, 8);
	result = prepare();
	if (result >= 0)
		result = filter_listen(job->policy, 1);
	shared->result = result;
	__atomic_store_n(&shared->loaded, 1, __ATOMIC_RELEASE);
	if (result >= 0)
		shared->error = job->execute(job->program, job->environment);
	sys_exit(1);
}

static void end_child(const struct supervision *job)
{
	SYS2(NR_kill, job->child, SIGKILL);
	SYS4(NR_wait4, job->child, 0, WALL, 0);
}

/* Whether we can have calls go on (Linux 5.5): there is no call with this id, so the flag is what is judged. */
static int can_continue(int listener)
{
	struct answer answer = {.id = ~0ull, .flags = NOTIF_CONTINUE};

	return SYS3(NR_ioctl, listener, NOTIF_SEND, &answer) == -ENOENT;
}

/* What seccomp(2) returned in the child. It can tell us by no call, as this might be asked about, so look again until it
 * is done, which takes as long as the kernel checks the filter. */
static long wait_for_listener(const struct supervision *job)
{
	while (!__atomic_load_n(&job->shared->loaded, __ATOMIC_ACQUIRE)) {
		/* The kernel writes back how much of it is left. */
		uint64_t pause[2] = {0, 100000};
		int status;

		if (SYS4(NR_wait4, job->child, &status, WNOHANG | WALL, 0) == job->child)
			return -ECHILD;
		SYS5(NR_ppoll, 0, 0, pause, 0, 8);
	}
	return job->shared->result;
}

static void shut(uint32_t first, uint32_t last)
{
	if (first > last || SYS3(NR_close_range, first, last, 0) >= 0)
		return;
	/* Before Linux 5.9. */
	for (uint32_t fd = first; fd <= last && fd < 1 << 20; fd++)
		SYS1(NR_close, fd);
}

long supervise_begin(struct supervision *job)
{
	const uint64_t all = ~0ull;
	const struct action standard = {0};
	struct action action;
	uint16_t sizes[3];
	uint64_t mask;
	long result, parent = SYS0(NR_getpid);

	if ((result = SYS3(NR_seccomp, SECCOMP_GET_NOTIF_SIZES, 0, sizes)) < 0)
		return result;
	if (sizes[0] > sizeof(struct notification) || sizes[1] > sizeof(struct answer))
		return -EINVAL;
	result = SYS6(NR_mmap, 0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (result < 0 && result > -4096)
		return result;
	job->shared = (struct shared *)result;
	/* Before there is a child: its end must not be missed, and nothing may end us while it lives. */
	SYS4(NR_rt_sigprocmask, SIG_BLOCK, &all, &mask, 8);
	SYS4(NR_rt_sigaction, SIGCHLD, &standard, &action, 8);
	/* So that we are told of the end of all that the program leaves behind. */
	SYS5(NR_prctl, PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
	job->signals = (int)SYS4(NR_signalfd4, -1, &all, 8, O_CLOEXEC | O_NONBLOCK);
	result = job->signals < 0 ? job->signals : SYS5(NR_clone, CLONE_FILES | SIGCHLD, 0, 0, 0, 0);
	if (!result)
		become(job, parent, &mask, &action);
	if (result > 0) {
		job->child = (int)result;
		result = wait_for_listener(job);
		if (result >= 0 && !can_continue((int)result)) {
			SYS1(NR_close, result);
			result = -EINVAL;
		}
		if (result < 0 && result != -ECHILD)
			end_child(job);
	}
	if (result < 0) {
		SYS1(NR_close, job->signals);
		SYS5(NR_prctl, PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0);
		SYS4(NR_rt_sigaction, SIGCHLD, &action, 0, 8);
		SYS4(NR_rt_sigprocmask, SIG_SETMASK, &mask, 0, 8);
		return result;
	}
	job->listener = (int)result;
	/* Engines' profiles refuse unshare(2). */
	job->has_own_files = SYS1(NR_unshare, CLONE_FILES) >= 0 || SYS3(NR_close_range, ~0u, ~0u, CLOSE_RANGE_UNSHARE) >= 0;
	return 0;
}

static long become_nothing(char **program, char **environment)
{
	(void)program;
	(void)environment;
	return -ECHILD;
}

long supervise_try(const struct policy *policy)
{
	struct supervision job = {.policy = policy, .execute = become_nothing};
	long error = supervise_begin(&job);

	if (!error)
		end_child(&job);
	return error;
}

/* Whoever is at the other end of the program's pipes is to see the program close them; all but standard error. */
static void close_all_but_ours(const struct supervision *job)
{
	int keep[] = {2, job->listener, job->signals, job->report};
	enum { COUNT = sizeof(keep) / sizeof(*keep) };
	uint32_t begin = 0;

	for (int i = 0; i < COUNT; i++)
		for (int j = i + 1; j < COUNT; j++)
			if (keep[j] < keep[i]) {
				int other = keep[i];

				keep[i] = keep[j];
				keep[j] = other;
			}
	for (int i = 0; i < COUNT; i++) {
		if (keep[i] > 0)
			shut(begin, (uint32_t)keep[i] - 1);
		begin = (uint32_t)keep[i] + 1;
	}
	shut(begin, ~0u);
}

static void let_go_on(const struct supervision *job, struct violations *violations)
{
	struct notification call = {0};
	struct answer answer = {.flags = NOTIF_CONTINUE};

	/* It may be gone already (ENOENT). */
	if (SYS3(NR_ioctl, job->listener, NOTIF_RECV, &call) < 0)
		return;
	violation_look(violations, &call);
	/* What was read was the caller's memory only if it still waits. */
	answer.id = call.id;
	if (SYS3(NR_ioctl, job->listener, NOTIF_ID_VALID, &call.id) < 0 || SYS3(NR_ioctl, job->listener, NOTIF_SEND, &answer) < 0)
		return;
	violation_tell(violations);
}

/* The program's end, and that of what it has left behind. 1 when all are gone. */
static int collect(const struct supervision *job, int *is_over, long *status)
{
	for (;;) {
		int one = 0;
		long pid = SYS4(NR_wait4, -1, &one, WNOHANG | WUNTRACED | WALL, 0);

		if (pid <= 0)
			return pid == -ECHILD;
		if ((one & 0xff) == 0x7f) {
			int signal = one >> 8 & 0xff;

			/* From the terminal: the shell waits for us. */
			if (pid == job->child && (signal == SIGTSTP || signal == SIGTTIN || signal == SIGTTOU))
				SYS2(NR_kill, SYS0(NR_getpid), SIGSTOP);
			/* Stopped for good, as nobody is left to continue it: without us, Linux would do the same (kill_orphaned_pgrp). */
			if (*is_over) {
				SYS2(NR_kill, pid, SIGHUP);
				SYS2(NR_kill, pid, SIGCONT);
			}
		} else if (pid == job->child && !*is_over) {
			*is_over = 1;
			*status = one;
		}
	}
}

/* Pass a signal on. 1 if there is no program any more to pass it to, and it would have ended us. */
static int pass(const struct supervision *job, uint32_t signal, int32_t code, uint32_t sender, int is_over)
{
	if (is_over)
		return signal == SIGHUP || signal == SIGINT || signal == SIGQUIT || signal == SIGTERM;
	/* What the kernel sends (from the terminal) goes to the program as well; and what the program sends comes from it. */
	if (code != SI_KERNEL && sender != (uint32_t)job->child && sender != (uint32_t)SYS0(NR_getpid))
		SYS2(NR_kill, job->child, signal);
	return 0;
}

long supervise_run(struct supervision *job)
{
	struct violations *violations = violations_begin(&job->policy->filter, job->report);
	struct poll polled[2] = {{job->listener, POLLIN, 0}, {job->signals, POLLIN, 0}};
	int is_over = 0, is_left = 0;
	long status = 0;

	/* Else the program's would be closed too: it may not have been executed yet. */
	if (job->has_own_files)
		close_all_but_ours(job);
	while (!is_left) {
		/* struct signalfd_siginfo: signo, errno, code, pid. */
		uint32_t signal[32];

		if (SYS5(NR_ppoll, polled, 2, 0, 0, 8) < 0)
			continue;
		if (polled[0].seen & POLLIN)
			let_go_on(job, violations);
		else if (polled[0].seen)
			polled[0].fd = -1;
		if (!polled[1].seen || SYS3(NR_read, job->signals, signal, sizeof(signal)) != (long)sizeof(signal))
			continue;
		if (signal[0] == SIGCHLD) {
			/* What the first process of a PID namespace leaves behind ends with it. */
			if (collect(job, &is_over, &status) || (is_over && SYS0(NR_getpid) == 1))
				break;
		} else {
			is_left = pass(job, signal[0], (int32_t)signal[2], signal[3], is_over);
		}
	}
	violations_sum(violations);
	if (is_left) {
		static const char line[] = "scmm-enforce: what the program has left behind is watched no longer; calls that the "
					   "policy would refuse fail there with ENOSYS\n";
		struct text text = {(char *)line, sizeof(line) - 1, 0};

		text_write(&text, job->report);
	}
	return job->shared->error < 0 ? job->shared->error : status;
}

_Noreturn void supervise_end(long status)
{
	const uint64_t no_core[2] = {0, 0}, none = 0;
	const struct action standard = {0};
	long signal = status & 0x7f;

	if (!signal)
		sys_exit((int)(status >> 8 & 0xff));
	/* The program has left its own, if it was to. */
	SYS4(NR_prlimit64, 0, RLIMIT_CORE, no_core, 0);
	SYS4(NR_rt_sigaction, signal, &standard, 0, 8);
	SYS4(NR_rt_sigprocmask, SIG_SETMASK, &none, 0, 8);
	SYS2(NR_kill, SYS0(NR_getpid), signal);
	/* As the first process of a container we cannot be killed by ourselves. */
	sys_exit(128 + (int)signal);
}
