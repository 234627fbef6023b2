// SPDX-License-Identifier: (GPL-2.0-only OR MIT)
/*
 * The watch: whether each call of a container's threads may come after the one that the same thread made before, and
 * what is done if not. Everything is decided here, without user space, when a call begins. Rules are those of
 * scmm_oci/policy/machine.py.
 *
 * Tracepoints only: hardened kernels refuse fentry, kprobes and LSM programs.
 */
#include "kernel.bpf.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>
#include "watch.h"
#include "watch_threads.bpf.h"
#include "watch_alerts.bpf.h"

/* Of the frame of a signal handler, from the stack pointer at its end on: where the interrupted stack pointer is. */
#if defined(__TARGET_ARCH_x86)
/* struct rt_sigframe without its first word; uc.uc_mcontext.sp. arch/x86/include/asm/sigframe.h, uapi/asm/sigcontext.h */
#define INTERRUPTED_STACK 160
#define NR_I386_LISTEN 363
#define NR_I386_ACCEPT4 364
#else
/* struct rt_sigframe: siginfo of 128 bytes; uc.uc_mcontext at 176, .sp at 256 there. arch/arm64/kernel/signal.c */
#define INTERRUPTED_STACK 560
#endif

static __always_inline u64 user_ip(struct pt_regs *regs)
{
#if defined(__TARGET_ARCH_x86)
	return regs->ip;
#else
	return regs->pc;
#endif
}

/* The current thread has moved out of what is watched. */
__noinline int leave(struct scmm_member *member)
{
	struct scmm_watched *w = state_of_member(member);
	struct scmm_watch *watch;

	if (!w || !member)
		return 0;
	watch = watch_of(w->watch, w->epoch);
	if (watch && !(w->flags & SCMM_IN_SETUP)) {
		member->left = w->epoch;
		count(watch, SCMM_LEFT);
		if (watch->action != SCMM_WATCH_COUNT)
			write_alert(w, EVENT(SCMM_MOVED_OUT, w->from_abi, w->from2, w->from, SCMM_FROM_NONE), 0);
	}
	release(member);
	return 0;
}

/*
 * Find the state of the current thread without what its place remembers, and keep there what it is watched by, in which
 * phase its process is, and by which machine it is judged: where it is as struct scmm_member has it; 0: not watched.
 */
__noinline u32 look_up(u64 regs)
{
	struct task_struct *task = bpf_get_current_task_btf();
	/* Before looking, so that what happens meanwhile counts. */
	u32 now = config.generation, own_now = state.generation, zero = 0;
	struct scmm_member *member = member_of(task);
	struct scmm_stranger *stranger;
	struct scmm_watched *w = 0;
	struct scmm_target *target;
	struct scmm_watch *watch;
	struct scmm_live *alive;
	u32 known = 0;

	target = member || config.v1_controller || is_hot(bpf_get_current_cgroup_id()) ? target_of(task) : 0;
	alive = target ? live_of(target->slot, target->epoch) : 0;
	watch = alive ? watch_of(target->slot, target->epoch) : 0;
	w = state_of_member(member);
	if (w && (!watch || w->epoch != target->epoch || w->watch != target->slot)) {
		known = live_of(w->watch, w->epoch) && !(w->flags & SCMM_IN_SETUP);
		leave(member);
		w = 0;
	}
	if (!watch)
		goto unwatched;
	if (!w) {
		member = bpf_task_storage_get(&members, task, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
		if (!member) {
			count(watch, SCMM_UNWATCHED);
			/* It cannot be judged. */
			if (watch->action == SCMM_WATCH_KILL)
				kill_it(watch);
			else if (watch->action == SCMM_WATCH_FREEZE)
				stop(watch);
			goto unwatched;
		}
		take(member, regs, target->slot, target->epoch);
		w = state_of_member(member);
		if (!w)
			goto unwatched;
		enter(w, known || member->left == target->epoch);
		/* As many as we would have remembered. */
		if (w->flags & SCMM_PAST_UNKNOWN)
			member->forgotten = SCMM_WATCH_HANDLERS;
	}
	w->task = (u64)task;
	w->place = (u64)BPF_CORE_READ(task, cgroups);
	w->phase = serves(task, w->epoch) ? SCMM_SERVING : SCMM_STARTUP;
	w->machine = w->flags & SCMM_IN_SETUP ? 0 : machine_of(watch, w->phase, SCMM_NATIVE);
	w->generation = now + own_now;
	if (alive->frozen) {
		/* Looked at anew with each call, until it is thawed. */
		w->generation--;
		hold(watch, alive, member);
	}
	return member->place;
unwatched:
	stranger = bpf_map_lookup_elem(&strangers, &zero);
	if (stranger) {
		stranger->generation = now;
		stranger->own_generation = own_now;
		stranger->regs = regs;
	}
	return 0;
}

/* Its process goes over to the serving phase. */
__noinline int serve(u32 number, u32 epoch)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct scmm_watch *watch = watch_of(number, epoch);
	struct scmm_member *leader;

	if (!watch)
		return 0;
	leader = bpf_task_storage_get(&members, task->group_leader, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!leader) {
		count(watch, SCMM_UNWATCHED);
		return 0;
	}
	if (leader->serves != epoch) {
		leader->serves = epoch;
		count(watch, SCMM_SERVE);
		/* Its other threads look anew. */
		new_generation();
	}
	return 0;
}

/* Whether (from2, from) has a list of its own, and `to` is in it: 0: no, so the row holds; 1: yes; 2: it is not. */
__noinline u32 look_deep(u32 index, u32 from2, u32 from, u32 to)
{
	struct scmm_deep *deep = bpf_map_lookup_elem(&deeps, &index);
	u64 bit = from2 * SCMM_NR_MAX + from, word = bit / 64;
	u32 key = (from2 << 20 | from << 10 | to) + 1, slot, at;

	if (!deep || word >= SCMM_MACHINE_WORDS)
		return 0;
	CHECKED(word);
	if (!(deep->pairs[word] >> (bit % 64) & 1))
		return 0;
	slot = key * deep->multiplier >> 18;
	for (int probe = 0; probe < SCMM_TRIPLE_PROBES; probe++) {
		at = (slot + probe) & (SCMM_TRIPLE_SLOTS - 1);
		CHECKED(at);
		if (at >= SCMM_TRIPLE_SLOTS)
			return 2;
		if (deep->triples[at] == key)
			return 1;
		if (!deep->triples[at])
			return 2;
	}
	return 2;
}

_Static_assert(1 << (32 - 18) == SCMM_TRIPLE_SLOTS, "the hash has as many values as there are slots");

/*
 * The thread goes on where a signal handler interrupted it: the newest that interrupted this stack, as newer ones may
 * have been left by siglongjmp(3). If none did (a handler can change where it returns to), the newest. Whether there
 * was any.
 */
__noinline u32 leave_handler(struct scmm_watched *w, u32 native)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct scmm_member *member = bpf_task_storage_get(&members, task, 0, 0);
	struct pt_regs *regs;
	u64 stack = 0, top;

	if (!w)
		return 1;
	regs = (void *)w->regs;
	w->from = SCMM_FROM_ANY;
	w->from2 = SCMM_FROM_NONE;
	if (!member)
		return 1;
	if (!member->depth) {
		if (member->forgotten) {
			member->forgotten--;
			return 1;
		}
		return 0;
	}
	if (native)
		bpf_probe_read_user(&stack, sizeof(stack), (void *)BPF_CORE_READ(regs, sp) + INTERRUPTED_STACK);
	for (int i = SCMM_WATCH_HANDLERS - 1; i >= 0; i--) {
		if (i < member->depth && member->handlers[i].stack == stack) {
			member->depth = i + 1;
			break;
		}
	}
	top = member->depth - 1;
	member->depth = top;
	CHECKED(top);
	if (top >= SCMM_WATCH_HANDLERS)
		return 1;
	w->from = member->handlers[top].from;
	w->from2 = member->handlers[top].from2;
	w->from_abi = member->handlers[top].from_abi;
	w->ip = member->handlers[top].ip;
	return 1;
}

/* A call with a number that no kernel has, which changes nothing. */
__noinline int count_no_call(u32 number, u32 epoch)
{
	struct scmm_watch *watch = watch_of(number, epoch);

	if (watch)
		count(watch, SCMM_NO_CALLS);
	return 0;
}

__noinline u32 other_machine(u32 number, u32 epoch, u32 phase, u32 abi)
{
	struct scmm_watch *watch = watch_of(number, epoch);

	return watch ? machine_of(watch, phase, abi) : 0;
}

/* The current task, which is a thread's. */
static __always_inline struct task_struct *task_of(struct scmm_watched *w)
{
	if (bpf_rdonly_cast)
		return bpf_rdonly_cast((void *)w->task, bpf_core_type_id_kernel(struct task_struct));
	return bpf_get_current_task_btf();
}

/* Judge the call that a thread begins. */
static __always_inline int judge(struct scmm_watched *w, struct pt_regs *regs, struct task_struct *task, long nr)
{
	u32 abi = abi_of(task, &nr), from = w->from, from2 = w->from2, index = w->machine, to, at, verdict;
	struct scmm_watch_plan plan;
	struct scmm_machine *machine;
	u64 bit, word, place;

	if (w->flags & SCMM_IN_SETUP)
		return 0;
	if ((u64)nr >= SCMM_CALLS) {
		/* -1: who traces it has skipped the call. */
		if (nr != -1)
			count_no_call(w->watch, w->epoch);
		return 0;
	}
	CHECKED(abi);
	place = abi * SCMM_NR_MAX + nr;
	if (place >= SCMM_ABIS * SCMM_NR_MAX)
		return 0;
	CHECKED(place);
	plan = plans[place];
	if (plan.bits & SCMM_WATCH_RESTART)
		return 0;
	to = state_of(regs, nr, abi, plan.refined, plan.extra) & 0x3ff;
	/* Whatever way led here, the verifier need go on but once. */
	CHECKED(to);
	if (w->from_abi != abi) {
		w->from_abi = abi;
		if (from < SCMM_FROM_ANY) {
			from = SCMM_FROM_FOREIGN;
			from2 = SCMM_FROM_NONE;
		}
	}
	at = w->at++ & (SCMM_WATCH_RECENT - 1);
	CHECKED(at);
	if (at < SCMM_WATCH_RECENT)
		w->recent[at] = to;
	w->made++;
	if (abi != SCMM_NATIVE)
		index = other_machine(w->watch, w->epoch, w->phase, abi);
	index--;
	machine = bpf_map_lookup_elem(&machines, &index);
	bit = from * SCMM_NR_MAX + to;
	word = bit / 64;
	if (word >= SCMM_MACHINE_WORDS)
		return 0;
	CHECKED(word);
	verdict = machine && machine->bits[word] >> (bit % 64) & 1;
	if (machine && machine->deep && from2 < SCMM_NR_MAX && to != from) {
		u32 deep = look_deep(machine->deep - 1, from2, from, to);

		verdict = deep ? deep == 1 : verdict;
	}
	/* A call that was interrupted is made again by the kernel, from the same place. */
	if (!verdict) {
		if (to == w->from && from == to && user_ip(regs) == w->ip)
			verdict = 1;
		else
			violate(w, EVENT(machine ? SCMM_EDGE : SCMM_ABI_WITHOUT_MACHINE, abi, from2, from, to));
	}
	w->ip = user_ip(regs);
	if (to != from) {
		w->from2 = from;
		w->from = to;
	}
	if (machine && machine->switching && w->phase == SCMM_STARTUP) {
		u32 call = nr;

#if defined(__TARGET_ARCH_x86)
		if (plan.bits & SCMM_WATCH_SOCKETCALL) {
			u32 stage = stage_of_socketcall(early_argument(regs, 0, abi));

			call = stage == SCMM_LISTENING ? NR_I386_LISTEN : stage == SCMM_ACCEPTING ? NR_I386_ACCEPT4 : call;
		}
#endif
		word = call / 64;
		if (word < SCMM_STATE_WORDS) {
			CHECKED(word);
			if (machine->switches[word] >> (call % 64) & 1)
				serve(w->watch, w->epoch);
		}
	}
	if (plan.bits & SCMM_WATCH_SIGRETURN && !leave_handler(w, abi == SCMM_NATIVE) && verdict)
		violate(w, EVENT(SCMM_NOT_IN_HANDLER, abi, from2, from, to));
	return 0;
}

SEC("tp_btf/sys_enter")
int BPF_PROG(scmm_watch_enter, struct pt_regs *regs, long id)
{
	struct scmm_watched *w = place_at(hash_of((u64)regs));
	struct scmm_stranger *stranger;
	struct scmm_member *member;
	struct task_struct *task;
	u32 zero = 0, place;

	if (w && w->regs == (u64)regs) {
		task = task_of(w);
		if (w->generation == generation() && w->place == (u64)task->cgroups)
			goto found;
	} else {
		stranger = bpf_map_lookup_elem(&strangers, &zero);
		if (stranger && stranger->regs == (u64)regs && stranger->generation == config.generation &&
		    stranger->own_generation == state.generation)
			return 0;
	}
	place = look_up(as_number(regs));
	if (!place)
		return 0;
	if (place == SCMM_HERE) {
		member = bpf_task_storage_get(&members, bpf_get_current_task_btf(), 0, 0);
		if (!member)
			return 0;
		w = &member->here;
	} else {
		w = place_at(place - 1);
		if (!w)
			return 0;
	}
	task = task_of(w);
found:
	return judge(w, regs, task, (int)id);
}

/* A signal handler is about to run: what it calls does not follow what it interrupts. */
SEC("tp_btf/signal_deliver")
int BPF_PROG(scmm_watch_signal, int sig, void *info, struct k_sigaction *action)
{
	struct scmm_member *member = member_of(bpf_get_current_task_btf());
	struct scmm_watched *w = state_of_member(member);
	struct scmm_watch *watch;
	struct pt_regs *regs;
	u64 at;

	/* SIG_DFL is 0, SIG_IGN is 1. */
	if (!w || !member || w->flags & SCMM_IN_SETUP || (u64)BPF_CORE_READ(action, sa.sa_handler) <= 1)
		return 0;
	watch = watch_of(w->watch, w->epoch);
	if (!watch)
		return 0;
	if (member->depth >= SCMM_WATCH_HANDLERS) {
		/* The oldest is forgotten; handlers that were left by siglongjmp(3) fill the places, too. */
		for (int i = 0; i < SCMM_WATCH_HANDLERS - 1; i++)
			member->handlers[i] = member->handlers[i + 1];
		member->depth = SCMM_WATCH_HANDLERS - 1;
		if (member->forgotten < 255)
			member->forgotten++;
		count(watch, SCMM_LOST_HANDLERS);
	}
	at = member->depth;
	if (at >= SCMM_WATCH_HANDLERS)
		return 0;
	CHECKED(at);
	regs = (void *)w->regs;
	member->handlers[at].stack = BPF_CORE_READ(regs, sp);
	member->handlers[at].ip = w->ip;
	member->handlers[at].from = w->from;
	member->handlers[at].from2 = w->from2;
	member->handlers[at].from_abi = w->from_abi;
	member->depth = at + 1;
	w->from = SCMM_FROM_SIGNAL;
	w->from2 = SCMM_FROM_NONE;
	return 0;
}

/*
 * Whether what a thread executes that came from outside is the program, not part of the set-up: a runtime executes
 * itself anew before it enters the container's mounts, and runs createContainer hooks in them, as children of the
 * container's first process; and scmm-enforce stands before the program.
 */
static __always_inline bool is_payload(struct scmm_watch *watch, struct task_struct *task, struct scmm_watched *w,
				       struct linux_binprm *bprm)
{
	struct inode *inode = BPF_CORE_READ(bprm, file, f_inode);

	if (watch->mntns && watch->mntns != BPF_CORE_READ(task, nsproxy, mnt_ns, ns.inum))
		return false;
	if (watch->launcher_ino && watch->launcher_ino == BPF_CORE_READ(inode, i_ino) &&
	    watch->launcher_dev == BPF_CORE_READ(inode, i_sb, s_dev))
		return false;
	return !(w->flags & SCMM_FIRST) || watch->init == bpf_get_current_pid_tgid() >> 32;
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(scmm_watch_exec, struct task_struct *task, int old_pid, struct linux_binprm *bprm)
{
	struct scmm_member *member = member_of(bpf_get_current_task_btf());
	struct scmm_watched *w = state_of_member(member);
	struct scmm_watch *watch;

	if (!w || !member)
		return 0;
	watch = watch_of(w->watch, w->epoch);
	if (!watch || (w->flags & SCMM_IN_SETUP && !is_payload(watch, task, w, bprm)))
		return 0;
	/* If it was not its process's first thread, it is now, and what that one knew is gone. */
	if (w->phase == SCMM_SERVING)
		member->serves = w->epoch;
	member->depth = 0;
	member->forgotten = 0;
	w->flags = 0;
	w->from = SCMM_FROM_EXEC;
	w->from2 = SCMM_FROM_NONE;
	w->ip = 0;
	/* Its machine is looked up with its first call. */
	w->generation--;
	return 0;
}

/* A process or thread is made by one that has no state, or one of a watch that is over. */
static __always_inline int fork_of_other(struct task_struct *child)
{
	struct scmm_member *member;
	struct scmm_target *target;
	struct scmm_watch *watch;

	member = member_of(bpf_get_current_task_btf());
	if (member && member->left) {
		/* What one makes that has moved out is no one from outside if it moves in, either. */
		u32 left = member->left;

		member = bpf_task_storage_get(&members, child, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
		if (member)
			member->left = left;
	}
	if (!config.v1_controller && !is_hot(BPF_CORE_READ(child, cgroups, dfl_cgrp, kn, id)))
		return 0;
	target = target_of(bpf_get_current_task_btf());
	watch = target ? watch_of(target->slot, target->epoch) : 0;
	/* Its call began before the watch did: it is no one from outside, and nor is what it makes. */
	if (watch && watch->flags & SCMM_WATCH_ATTACHED) {
		member = bpf_task_storage_get(&members, child, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
		if (member)
			member->left = target->epoch;
	}
	/* clone3(2) can put a child of anyone into a watched cgroup. */
	new_generation();
	return 0;
}

SEC("tp_btf/sched_process_fork")
int BPF_PROG(scmm_watch_fork, struct task_struct *parent, struct task_struct *child)
{
	struct scmm_member *member = member_of(bpf_get_current_task_btf()), *copy;
	struct scmm_watched *w = state_of_member(member), *begun;
	bool thread = child->tgid == parent->tgid;
	struct scmm_watch *watch;
	u64 regs;

	watch = w ? watch_of(w->watch, w->epoch) : 0;
	if (!w || !watch || !member)
		return fork_of_other(child);
	copy = bpf_task_storage_get(&members, child, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!copy) {
		count(watch, SCMM_UNWATCHED);
		new_generation();
		return 0;
	}
	regs = as_number((void *)bpf_task_pt_regs(child));
	take(copy, regs, w->watch, w->epoch);
	begun = state_of_member(copy);
	if (!begun)
		return 0;
	begun->task = (u64)child;
	begun->place = w->place;
	begun->generation = w->generation;
	begun->machine = w->machine;
	begun->phase = w->phase;
	begun->flags = w->flags;
	begun->from = thread ? SCMM_FROM_THREAD : SCMM_FROM_FORK;
	/* A child that is forked in a signal handler returns from it, too. */
	copy->depth = member->depth;
	copy->forgotten = member->forgotten;
	__builtin_memcpy(copy->handlers, member->handlers, sizeof(copy->handlers));
	if (!thread && serves(parent, w->epoch))
		copy->serves = w->epoch;
	/* One whose state is in its storage could be taken for a stranger that had these registers. */
	if (copy->place == SCMM_HERE)
		new_generation();
	return 0;
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(scmm_watch_exit, struct task_struct *task)
{
	/* What a group leader knows of its process stays with it, for threads that outlive it. */
	release(member_of(bpf_get_current_task_btf()));
	return 0;
}

/* A process or thread has moved to another cgroup, maybe a watched one. */
SEC("tp_btf/cgroup_attach_task")
int BPF_PROG(scmm_watch_attach, struct cgroup *to, const char *path, struct task_struct *task)
{
	new_generation();
	return 0;
}

/* A cgroup made below a watched one belongs to the same watch. */
SEC("tp_btf/cgroup_mkdir")
int BPF_PROG(scmm_watch_mkdir, struct cgroup *cgroup, const char *path)
{
	struct scmm_cgroup_key key = {};
	struct scmm_target *target, copy;
	struct scmm_watch *watch;

	key.hierarchy = BPF_CORE_READ(cgroup, root, hierarchy_id);
	key.id = BPF_CORE_READ(cgroup, self.parent, cgroup, kn, id);
	target = bpf_map_lookup_elem(&targets, &key);
	if (!target)
		target = target_above(BPF_CORE_READ(cgroup, self.parent, cgroup), key.hierarchy);
	if (!target)
		return 0;
	copy = *target;
	watch = watch_of(copy.slot, copy.epoch);
	if (!watch)
		return 0;
	key.id = BPF_CORE_READ(cgroup, kn, id);
	make_hot(key.id);
	/* A bound for each watch, so that none takes the room of the others. */
	if (watch->cgroups >= SCMM_CGROUPS_PER_SLOT || bpf_map_update_elem(&targets, &key, &copy, BPF_NOEXIST)) {
		state.crowded = 1;
		count(watch, SCMM_UNWATCHED_CGROUPS);
		return 0;
	}
	__sync_fetch_and_add(&watch->cgroups, 1);
	return 0;
}

SEC("tp_btf/cgroup_rmdir")
int BPF_PROG(scmm_watch_rmdir, struct cgroup *cgroup, const char *path)
{
	struct scmm_cgroup_key key = {};
	struct scmm_target *target;
	struct scmm_watch *watch;

	key.hierarchy = BPF_CORE_READ(cgroup, root, hierarchy_id);
	key.id = BPF_CORE_READ(cgroup, kn, id);
	target = bpf_map_lookup_elem(&targets, &key);
	if (!target)
		return 0;
	watch = watch_of(target->slot, target->epoch);
	if (watch && watch->cgroups)
		__sync_fetch_and_add(&watch->cgroups, -1);
	bpf_map_delete_elem(&targets, &key);
	return 0;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
