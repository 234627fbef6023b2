// SPDX-License-Identifier: (GPL-2.0-only OR MIT)
/*
 * The recorder: per recorded container ("slot"), which system calls its threads made, by session, phase
 * and ABI, with what came of them; and of the program's own calls, which arguments, files, addresses and programs
 * there were, and which call followed which. Facts are kept in maps and read once at the end, so nothing can
 * overflow on the way; what cannot be kept is counted (enum scmm_counter).
 *
 * Tracepoints only: hardened kernels refuse fentry, kprobes and LSM programs.
 */
#include "kernel.bpf.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>
#include "recorder.h"
#include "state.bpf.h"
#include "paths.bpf.h"
#include "facts.bpf.h"
#include "sockets.bpf.h"
#include "programs.bpf.h"

#define PR_SET_SECCOMP 22
#define SECCOMP_MODE_FILTER 2
#define SECCOMP_SET_MODE_FILTER 1
#define SECCOMP_FILTER_FLAG_NEW_LISTENER (1UL << 3)
#define ERESTARTNOINTR 513
#define SA_RESTART 0x10000000

/*
 * Keep that three states followed one another, and what the next three begin with. Repetitions are none. from_to: from <<
 * 16 | to.
 */
__noinline int keep_triple(struct scmm_thread *thread, u32 from_to, u32 abi)
{
	u32 from = from_to >> 16, to = from_to & 0xffff, one = 1;
	struct scmm_triple_key key = {};
	struct scmm_slot *slot;
	long failed;

	if (!thread || from == to)
		return 0;
	key.before = from < SCMM_NR_MAX && from != SCMM_FROM_FOREIGN ? thread->from2 : SCMM_FROM_NONE;
	thread->from2 = from < SCMM_NR_MAX ? from : SCMM_FROM_NONE;
	if (key.before >= SCMM_NR_MAX)
		return 0;
	key.epoch = thread->epoch;
	key.from = from;
	key.to = to;
	key.abi = abi;
	key.stage = thread->stage;
	if (bpf_map_lookup_elem(&triples, &key))
		return 0;
	slot = live_slot(thread->slot, thread->epoch);
	if (!slot)
		return 0;
	failed = slot->triples >= SCMM_TRIPLES_PER_SLOT ? -1 : bpf_map_update_elem(&triples, &key, &one, BPF_NOEXIST);
	if (!failed)
		__sync_fetch_and_add(&slot->triples, 1);
	else if (failed != -EEXIST)
		count(slot, SCMM_LOST_ORDER);
	return 0;
}

/* Keep that this call followed the one before it in this thread. */
static __always_inline void keep_order(struct scmm_thread *thread, struct scmm_plan *plan, struct pt_regs *regs, u32 nr,
				       u32 abi)
{
	struct scmm_edges *table;
	u32 from = thread->from, to, index;
	u64 bit, word;

	if (thread->restart) {
		/* The kernel makes an interrupted call again: the program did not. */
		bool again = thread->restart == nr + 1 || plan->bits & SCMM_PLAN_RESTART;

		thread->restart = 0;
		if (again)
			return;
	}
	to = state_of(regs, nr, abi, plan->refined, plan->extra) & 0x3ff;
	CHECKED(to); /* whichever way it was found: the verifier looks at what follows only once */
	if (thread->from_abi != abi && from < SCMM_FROM_ANY)
		from = SCMM_FROM_FOREIGN;
	if (thread->flags & SCMM_DEEP)
		keep_triple(thread, from << 16 | to, abi);
	thread->from = to;
	thread->from_abi = abi;
	if (from >= SCMM_NR_MAX) {
		/* What ran before it was recorded has no beginning to be told. */
		if (from != SCMM_FROM_NONE)
			count_loss(thread, SCMM_LOST_ORDER);
		return;
	}
	index = abi == SCMM_NATIVE && thread->edges ? thread->edges : assign_edges(thread, abi);
	if (!index)
		return;
	if (abi == SCMM_NATIVE)
		thread->edges = index;
	index--;
	table = bpf_map_lookup_elem(&edges, &index);
	if (!table || table->epoch != thread->epoch)
		return;
	bit = from * SCMM_NR_MAX + to;
	word = bit / 64;
	if (word >= SCMM_EDGE_WORDS)
		return;
	CHECKED(word);
	if (!(table->bits[word] >> (bit % 64) & 1))
		__sync_fetch_and_or(&table->bits[word], 1ULL << (bit % 64));
}

/* A call that brings its process to another stage has been entered. */
__noinline int reach(struct scmm_thread *thread, u32 stage)
{
	struct task_struct *task = bpf_get_current_task_btf();

	if (!thread || stage <= thread->stage)
		return 0;
	if (note_stage(task->group_leader, thread->epoch, stage))
		count_loss(thread, SCMM_LOST_ORDER);
	thread->stage = stage;
	thread->edges = 0;
	/* The other threads look for it with their next call. */
	__sync_fetch_and_add(&state.stages, 1);
	new_generation();
	return 0;
}

SEC("tp_btf/sys_enter")
int BPF_PROG(scmm_sys_enter, struct pt_regs *regs, long id)
{
	struct scmm_thread *thread = recorded((u64)regs);
	struct scmm_plan *plan;
	struct scmm_call *call;
	struct scmm_set *set;
	long nr = (int)id;
	u32 abi, index;
	u64 bit;

	if (!thread)
		return 0;
	abi = abi_of(bpf_get_current_task_btf(), &nr);
	thread->pending_nr = SCMM_UNCOUNTED;
	if (nr < 0 || nr >= SCMM_CALLS) {
		count_loss(thread, SCMM_BAD_NUMBER);
		return 0;
	}
	index = abi == SCMM_NATIVE && thread->set ? thread->set : assign_set(thread, abi);
	set = index ? set_at(index - 1) : 0;
	if (!set || set->epoch != thread->epoch) {
		/* If the recording this thread belonged to is over: begin anew with its next call. */
		if (index || !live_slot(thread->slot, thread->epoch))
			forget();
		return 0;
	}
	if (abi == SCMM_NATIVE)
		thread->set = index;
	thread->pending_set = index;
	thread->pending_nr = nr;
	call = call_at(set, nr);
	if (!call)
		return 0;
	if (!__sync_fetch_and_add(&call->entered, 1))
		call->first = bpf_ktime_get_ns();
	if (thread->phase != SCMM_APP)
		return 0;
	bit = 1ULL << (thread->program & (SCMM_PROGRAMS - 1));
	if (!(call->programs & bit) && !(thread->flags & SCMM_NEW))
		__sync_fetch_and_or(&call->programs, bit);
	plan = plan_of(abi, nr);
	if (!plan)
		return 0;
	keep_order(thread, plan, regs, nr, abi);
	if (plan->bits & SCMM_PLAN_ARGUMENTS)
		keep_arguments((u64)regs, thread, nr, abi);
	if (plan->bits & (SCMM_PLAN_LISTEN | SCMM_PLAN_ACCEPT | SCMM_PLAN_SOCKETCALL))
		reach(thread, plan->bits & SCMM_PLAN_LISTEN ? SCMM_LISTENING :
			      plan->bits & SCMM_PLAN_ACCEPT ? SCMM_ACCEPTING :
							      stage_of_socketcall(early_argument(regs, 0, abi)));
	return 0;
}

static __always_inline bool loads_filter(struct pt_regs *regs, long nr, long ret)
{
#if defined(__TARGET_ARCH_x86)
	u64 first = regs->di, second = regs->si;
#else
	u64 first = regs->orig_x0, second = regs->regs[1];
#endif
	if (nr == NR_PRCTL)
		return ret == 0 && (u32)first == PR_SET_SECCOMP && second == SECCOMP_MODE_FILTER;
	if (nr != NR_SECCOMP || (u32)first != SECCOMP_SET_MODE_FILTER || ret < 0)
		return false;
	/* With TSYNC and without a listener, a positive result is the thread that refused: seccomp(2). */
	return ret == 0 || (second & SECCOMP_FILTER_FLAG_NEW_LISTENER);
}

/*
 * The end of a call that had no beginning. A seccomp filter that was there already runs before the
 * sys_enter tracepoint; a call it does not let through is skipped, and only its end is traced.
 */
static __noinline int count_denied(struct scmm_thread *thread, u64 address, long ret)
{
	struct pt_regs *regs = (void *)address;
#if defined(__TARGET_ARCH_x86)
	long nr = (int)BPF_CORE_READ(regs, orig_ax);
#else
	long nr = BPF_CORE_READ(regs, syscallno);
#endif
	struct scmm_call *call;
	struct scmm_set *set;
	u32 abi, index;

	/* Signal returns have no number here. */
	if (nr < 0 || !thread)
		return 0;
	abi = abi_of(bpf_get_current_task_btf(), &nr);
	if (nr < 0 || nr >= SCMM_CALLS)
		return 0;
	index = assign_set(thread, abi);
	if (!index)
		return 0;
	set = set_at(index - 1);
	if (!set || set->epoch != thread->epoch)
		return 0;
	call = call_at(set, nr);
	if (!call)
		return 0;
	__sync_fetch_and_add(&call->denied, 1);
	/* A filter may also answer with a value: USER_NOTIF, TRAP, or errno 0. */
	if (ret < 0 && ret > -SCMM_ERRNO_MAX)
		call->denied_errno = -ret;
	return 0;
}

/* The socket calls' numbers in i386's socketcall(2), linux/net.h. */
enum socketcall {
	SYS_BIND = 2,
	SYS_CONNECT = 3,
	SYS_LISTEN = 4,
	SYS_SENDTO = 11,
	SYS_SENDMSG = 16,
	SYS_SENDMMSG = 20,
};

/*
 * A socketcall's own arguments, which lie in memory, in the place of its two. What kind of call it is, and in op
 * which operation.
 */
static __always_inline u32 unpack_socketcall(struct scratch *s, struct scmm_thread *thread, u32 *op, u32 *address,
					     long ret)
{
	u64 call = s->arguments[0];
	u32 words[6] = {};
	/* As many as the call has: net/socket.c, nargs. */
	u32 size = call == SYS_SENDTO ? 24 : call == SYS_SENDMMSG ? 16 : call == SYS_LISTEN ? 8 : 12;

	if (bpf_probe_read_user(words, size, (void *)s->arguments[1])) {
		if (ret >= 0 && (call <= SYS_LISTEN || call == SYS_SENDTO || call == SYS_SENDMSG || call == SYS_SENDMMSG))
			count_loss(thread, SCMM_LOST_SOCKETS);
		return KIND_NONE;
	}
	for (int i = 0; i < 6; i++)
		s->arguments[i] = words[i];
	*address = call == SYS_SENDTO ? 4 : 1;
	*op = call == SYS_BIND ? SOCKET_BIND : call == SYS_CONNECT ? SOCKET_CONNECT : SOCKET_SENDTO;
	switch (call) {
	case SYS_BIND:
	case SYS_CONNECT:
	case SYS_SENDTO:
		return KIND_ADDRESS;
	case SYS_LISTEN:
		return KIND_LISTEN;
	case SYS_SENDMSG:
		return KIND_MESSAGE;
	case SYS_SENDMMSG:
		return KIND_MESSAGES;
	}
	return KIND_NONE;
}

/* Keep what a call that ends was made with. */
static __always_inline int keep_facts(struct pt_regs *regs, struct scmm_thread *thread, u32 nr_abi, long ret)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct scmm_plan *plan = plan_of(nr_abi >> 16, nr_abi & 0xffff);
	struct scratch *s = scratch();
	struct scmm_slot *slot;
	u32 abi = nr_abi >> 16, detail = 0, narrow = abi != SCMM_NATIVE, kind, op, address;
	u64 file, first;

	if (!s || !plan || !thread)
		return 0;
	slot = live_slot(thread->slot, thread->epoch);
	if (!slot)
		return 0;
	s->mntns = slot->mntns;
	s->steps = MOST_STEPS_OF_CALL;
	copy_arguments(s, regs, abi);
	if (plan->bits & SCMM_PLAN_MEMORY)
		keep_memory(s, thread, plan, nr_abi, ret);
	if (plan->flags != SCMM_NO_ARGUMENT) {
		first = argument(s, plan->flags);
		if (plan->bits & SCMM_PLAN_FLAGS_MEMORY && bpf_probe_read_user(&first, sizeof(first), (void *)first))
			first = 0;
		detail = first;
	}
	detail = (detail & plan->mask) | plan->implied;

	kind = plan->kind;
	op = plan->ops[0];
	address = plan->names[0];
	if (kind == KIND_SOCKETCALL)
		kind = unpack_socketcall(s, thread, &op, &address, ret);
	switch (kind) {
	case KIND_OPEN:
		if (ret >= 0) {
			file = file_of(ret);
			if (file)
				keep_file(thread, file, OP_OPEN, detail, ret);
			else
				count(slot, SCMM_LOST_FILES);
			return 0;
		}
		break;
	case KIND_CHDIR:
		if (ret == 0) {
			struct fs_struct *fs = BPF_CORE_READ(task, fs);

			s = new_fact(detail, 0);
			if (!s || !fs)
				return 0;
			walk_path(thread, &fs->pwd);
			s->fact.base_length = s->length;
			keep(thread, SCMM_FILE | OP_CHDIR << 8, ret);
			return 0;
		}
		break;
	case KIND_EXEC:
		if (ret >= 0)
			return 0;
		break;
	case KIND_NAMES:
		if (op == OP_CHROOT && ret == 0) {
			/* From now on its name would mean another file. */
			struct fs_struct *fs = BPF_CORE_READ(task, fs);

			s = new_fact(detail, 0);
			if (!s || !fs)
				return 0;
			walk_path(thread, &fs->root);
			s->fact.base_length = s->length;
			keep(thread, SCMM_FILE | OP_CHROOT << 8, ret);
			return 0;
		}
		break;
	case KIND_DESCRIPTOR:
		file = file_of(argument(s, 0));
		if (file)
			keep_file(thread, file, op, detail, ret);
		else if (ret >= 0)
			count(slot, SCMM_LOST_FILES); /* another thread has closed it */
		return 0;
	case KIND_DEVICE:
		file = file_of(argument(s, 0));
		if (file)
			keep_device(thread, file, op, ret);
		else if (ret >= 0)
			count(slot, SCMM_LOST_FILES);
		return 0;
	case KIND_ADDRESS:
		/* The address's length comes after it; what is longer than any, the kernel refuses without a look. */
		if ((u32)argument(s, address + 1) > sizeof(s->address))
			return 0;
		return user_address(thread, argument(s, 0), argument(s, address),
				    (u32)argument(s, address + 1) | (u64)op << 32, ret);
	case KIND_LISTEN:
		return keep_listening(thread, argument(s, 0), ret);
	case KIND_MESSAGE:
		return user_message(thread, argument(s, 0), argument(s, 1), narrow, ret);
	case KIND_MESSAGES:
		return user_messages(thread, argument(s, 0), argument(s, 1), narrow, ret);
	default:
		return 0;
	}
	if (plan->names[0] == SCMM_NO_ARGUMENT)
		return 0;
	first = name(thread, plan, 0, detail, 0, ret);
	if (plan->names[1] != SCMM_NO_ARGUMENT)
		name(thread, plan, 1, detail, first, ret);
	return 0;
}

static __always_inline u64 stack_of(u64 regs)
{
	u64 stack = 0;

	if (regs)
		bpf_probe_read_kernel(&stack, sizeof(stack),
				      (void *)regs + bpf_core_field_offset(struct pt_regs, sp));
	return stack;
}

/*
 * The thread goes on where a signal handler interrupted it: the newest that interrupted this stack, as newer ones may
 * have been left by siglongjmp(3). If none did (a handler can change where it returns to), the newest.
 */
static __always_inline void leave_handler(struct scmm_thread *thread)
{
	u64 stack = stack_of(thread->regs), top;

	for (int i = SCMM_HANDLERS - 1; i >= 0; i--) {
		if (i < thread->depth && thread->handlers[i].stack == stack) {
			thread->depth = i + 1;
			break;
		}
	}
	top = thread->depth - 1;
	if (!thread->depth) {
		/* More handlers than places: where this one began is forgotten. */
		thread->from = SCMM_NR_MAX;
		thread->from2 = SCMM_FROM_NONE;
		return;
	}
	thread->depth--;
	if (top >= SCMM_HANDLERS)
		return;
	CHECKED(top);
	thread->from = thread->handlers[top].from;
	thread->from2 = thread->handlers[top].from2;
	thread->from_abi = thread->handlers[top].from_abi;
	thread->restart = thread->handlers[top].restart;
}

/* The program of a thread that ran it before it was recorded. */
static __always_inline void note_running(struct scmm_thread *thread, struct scmm_call *call)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct scmm_slot *slot = live_slot(thread->slot, thread->epoch);
	struct scratch *s = scratch();

	thread->flags &= ~SCMM_NEW;
	if (!s || !slot)
		return;
	/* Not what another recording left there: its mount namespace would be taken for this one's. */
	s->mntns = slot->mntns;
	s->script = 0;
	s->steps = MOST_STEPS_OF_CALL;
	note_program(thread, (u64)BPF_CORE_READ(task, mm, exe_file));
	__sync_fetch_and_or(&call->programs, 1ULL << (thread->program & (SCMM_PROGRAMS - 1)));
}

SEC("tp_btf/sys_exit")
int BPF_PROG(scmm_sys_exit, struct pt_regs *regs, long ret)
{
	struct scmm_thread *thread = ending((u64)regs);
	struct scmm_plan *plan;
	struct scmm_call *call;
	struct scmm_set *set;
	u64 error;
	long nr;
	u32 abi;

	if (!thread)
		return 0;
	nr = thread->pending_nr;
	thread->pending_nr = SCMM_NO_CALL;
	if (nr < 0 || nr >= SCMM_NR_MAX) {
		if (nr != SCMM_UNCOUNTED)
			count_denied(thread, (u64)regs, ret);
		return 0;
	}
	set = set_at(thread->pending_set - 1);
	if (!set || set->epoch != thread->epoch)
		return 0;
	call = call_at(set, nr);
	abi = set->abi;
	plan = plan_of(abi, nr);
	if (!call || !plan)
		return 0;
	error = -ret;
	/* What rt_sigreturn leaves is the interrupted code's register, not a result. */
	if (ret >= 0 || error > 4095 || plan->bits & SCMM_PLAN_SIGRETURN) {
		__sync_fetch_and_add(&call->succeeded, 1);
	} else if (error < SCMM_ERRNO_MAX) {
		u64 bit = 1ULL << (error & 63);

		if (!(call->errnos[error >> 6] & bit))
			__sync_fetch_and_or(&call->errnos[error >> 6], bit);
	} else if (error >= ERESTARTSYS && error <= ERESTART_RESTARTBLOCK) {
		/* The kernel's own codes, which no program sees: what comes of them is known when a signal is delivered. */
		thread->restart = nr + 1;
		thread->restart_code = error;
	}
	if (thread->phase == SCMM_APP) {
		if (thread->flags & SCMM_NEW)
			note_running(thread, call);
		if (plan->bits & SCMM_PLAN_SIGRETURN)
			leave_handler(thread);
		else if (plan->kind || plan->bits & SCMM_PLAN_MEMORY)
			keep_facts(regs, thread, nr | abi << 16, ret);
		return 0;
	}
	if (thread->phase == SCMM_SETUP && abi == SCMM_NATIVE && loads_filter(regs, nr, ret)) {
		thread->phase = SCMM_RUNTIME;
		thread->set = 0;
	}
	return 0;
}

/* A signal handler is about to run: what it calls does not follow what it interrupts. */
SEC("tp_btf/signal_deliver")
int BPF_PROG(scmm_signal, int sig, void *info, struct k_sigaction *action)
{
	struct scmm_thread *thread;
	struct scmm_call *call;
	struct scmm_set *set;
	u32 restart;
	u64 at;

	at = seated();
	thread = at ? thread_at(at - 1) : 0;
	/* SIG_DFL is 0, SIG_IGN is 1. */
	if (!thread || thread->phase != SCMM_APP || (u64)BPF_CORE_READ(action, sa.sa_handler) <= 1)
		return 0;
	restart = thread->restart;
	if (restart && thread->restart_code != ERESTARTNOINTR &&
	    !(thread->restart_code == ERESTARTSYS && BPF_CORE_READ(action, sa.sa_flags) & SA_RESTART)) {
		/* The program sees EINTR. */
		set = set_at(thread->pending_set - 1);
		call = set && set->epoch == thread->epoch ? call_at(set, restart - 1) : 0;
		if (call)
			__sync_fetch_and_or(&call->errnos[0], 1ULL << EINTR);
		restart = 0;
	}
	if (thread->depth >= SCMM_HANDLERS) {
		/* The oldest is forgotten; handlers that were left by siglongjmp(3) fill the places, too. */
		for (int i = 0; i < SCMM_HANDLERS - 1; i++)
			thread->handlers[i] = thread->handlers[i + 1];
		thread->depth = SCMM_HANDLERS - 1;
	}
	at = thread->depth;
	if (at >= SCMM_HANDLERS)
		return 0;
	CHECKED(at);
	thread->handlers[at].stack = stack_of(thread->regs);
	thread->handlers[at].from = thread->from;
	thread->handlers[at].from2 = thread->from2;
	thread->handlers[at].from_abi = thread->from_abi;
	thread->handlers[at].restart = restart;
	thread->depth = at + 1;
	thread->from = SCMM_FROM_SIGNAL;
	thread->from2 = SCMM_FROM_NONE;
	thread->restart = 0;
	return 0;
}

/*
 * Whether what a thread executes without having loaded a filter is the program, not part of the set-up: a runtime
 * executes itself anew before it enters the container's mounts, and runs createContainer hooks in them, as
 * children of the container's first process.
 */
static __always_inline bool is_payload(struct scmm_slot *slot, struct task_struct *task, struct scmm_thread *thread)
{
	if (thread->flags & SCMM_FOLLOWED)
		return true;
	if (slot->mntns && slot->mntns != BPF_CORE_READ(task, nsproxy, mnt_ns, ns.inum))
		return false;
	return thread->session != 1 || slot->init == bpf_get_current_pid_tgid() >> 32;
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(scmm_exec, struct task_struct *task, int old_pid, struct linux_binprm *bprm)
{
	u32 index = seated();
	struct scmm_thread *thread = index ? thread_at(index - 1) : 0;
	struct scmm_slot *slot;
	struct scratch *s = scratch();
	u64 name, interpreter;

	if (!thread || !s)
		return 0;
	slot = live_slot(thread->slot, thread->epoch);
	if (!slot)
		return 0;
	if (thread->phase == SCMM_SETUP && !is_payload(slot, task, thread))
		return 0;
	if (thread->phase != SCMM_APP) {
		thread->phase = SCMM_APP;
		thread->set = 0;
	}
	thread->flags &= ~SCMM_NEW;
	thread->from = SCMM_FROM_EXEC;
	thread->from2 = SCMM_FROM_NONE;
	thread->restart = 0;
	thread->depth = 0;
	/* A thread that was not the first is now, and has what the first one had. */
	if (thread->stage && note_stage(task, thread->epoch, thread->stage))
		count(slot, SCMM_LOST_ORDER);
	s->mntns = slot->mntns;
	s->steps = MOST_STEPS_OF_CALL;
	name = (u64)BPF_CORE_READ(bprm, filename);
	interpreter = (u64)BPF_CORE_READ(bprm, interp);
	s->script = name == interpreter ? 0 : name;
	note_program(thread, (u64)BPF_CORE_READ(bprm, file));
	if (name != interpreter)
		note_scripts(task, thread, name);
	return 0;
}

SEC("tp_btf/sched_process_fork")
int BPF_PROG(scmm_fork, struct task_struct *parent, struct task_struct *child)
{
	struct scmm_seat *seat = bpf_task_storage_get(&seats, parent, 0, 0);
	struct scmm_thread *thread = seat && seat->index ? thread_at(seat->index - 1) : 0;
	struct scmm_thread *copy;
	struct scmm_slot *slot;
	bool threaded;
	u32 index;

	if (!thread) {
		/* clone3(2) can put a child of anyone into a recorded cgroup. */
		if (config.v1_controller || is_hot(BPF_CORE_READ(child, cgroups, dfl_cgrp, kn, id)))
			new_generation();
		return 0;
	}
	slot = live_slot(thread->slot, thread->epoch);
	if (!slot)
		return 0;
	threaded = BPF_CORE_READ(child, tgid) == BPF_CORE_READ(parent, tgid);
	if (slot->flags & SCMM_NO_FOLLOW && !threaded) {
		count(slot, SCMM_UNFOLLOWED);
		return 0;
	}
	seat = bpf_task_storage_get(&seats, child, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!seat) {
		count(slot, SCMM_LOST_THREADS);
		return 0;
	}
	index = begin(slot, thread->slot, thread->epoch, thread->phase | thread->flags << 8);
	copy = index ? thread_at(index - 1) : 0;
	if (!copy)
		return 0;
	copy->place = thread->place;
	copy->session = thread->session;
	copy->set = thread->set;
	copy->program = thread->program;
	copy->from = threaded ? SCMM_FROM_THREAD : SCMM_FROM_FORK;
	look_for_stage(thread, parent->group_leader);
	copy->stage = thread->stage;
	copy->stages = thread->stages;
	copy->edges = thread->edges;
	if (copy->stage && !threaded && note_stage(child, thread->epoch, copy->stage))
		count(slot, SCMM_LOST_ORDER);
	copy->pending_nr = SCMM_UNCOUNTED; /* it begins with the end of its parent's call */
	/* A child that is forked in a signal handler returns from it, too. */
	copy->depth = thread->depth;
	for (int i = 0; i < SCMM_HANDLERS; i++)
		copy->handlers[i] = thread->handlers[i];
	seat->index = index;
	seat->slot = thread->slot;
	seat->epoch = thread->epoch;
	seat->phase = thread->phase;
	seat->flags = thread->flags;
	new_generation();
	return 0;
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(scmm_exit, struct task_struct *task)
{
	struct scmm_seat *seat = bpf_task_storage_get(&seats, task, 0, 0);

	if (!seat)
		return 0;
	end(seat, 0);
	bpf_task_storage_delete(&seats, task);
	return 0;
}

/* A process or thread has moved to another cgroup, maybe a recorded one. */
SEC("tp_btf/cgroup_attach_task")
int BPF_PROG(scmm_cgroup_attach, struct cgroup *to, const char *path, struct task_struct *task)
{
	new_generation();
	return 0;
}

/* A cgroup made below a recorded one belongs to the same recording. */
SEC("tp_btf/cgroup_mkdir")
int BPF_PROG(scmm_cgroup_mkdir, struct cgroup *cgroup, const char *path)
{
	struct scmm_cgroup_key key = {};
	struct scmm_target *target, copy;
	struct scmm_slot *slot;

	key.hierarchy = BPF_CORE_READ(cgroup, root, hierarchy_id);
	key.id = BPF_CORE_READ(cgroup, self.parent, cgroup, kn, id);
	target = bpf_map_lookup_elem(&targets, &key);
	if (!target)
		return 0;
	copy = *target;
	slot = live_slot(copy.slot, copy.epoch);
	if (!slot)
		return 0;
	key.id = BPF_CORE_READ(cgroup, kn, id);
	/* A bound for each recording, so that none takes the room of the others. */
	if (slot->cgroups >= SCMM_CGROUPS_PER_SLOT || bpf_map_update_elem(&targets, &key, &copy, BPF_NOEXIST)) {
		count(slot, SCMM_LOST_CGROUPS);
		return 0;
	}
	make_hot(key.id);
	__sync_fetch_and_add(&slot->cgroups, 1);
	return 0;
}

SEC("tp_btf/cgroup_rmdir")
int BPF_PROG(scmm_cgroup_rmdir, struct cgroup *cgroup, const char *path)
{
	struct scmm_cgroup_key key = {};
	struct scmm_target *target;
	struct scmm_slot *slot;

	key.hierarchy = BPF_CORE_READ(cgroup, root, hierarchy_id);
	key.id = BPF_CORE_READ(cgroup, kn, id);
	target = bpf_map_lookup_elem(&targets, &key);
	if (!target)
		return 0;
	slot = live_slot(target->slot, target->epoch);
	if (slot && slot->cgroups)
		__sync_fetch_and_add(&slot->cgroups, -1);
	bpf_map_delete_elem(&targets, &key);
	return 0;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
