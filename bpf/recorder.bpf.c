// SPDX-License-Identifier: (GPL-2.0-only OR MIT)
/*
 * The recorder: per recorded container ("slot"), which system calls its threads made, by session, phase
 * and ABI, with what came of them. Facts are kept in maps and read once at the end, so nothing can
 * overflow on the way; what cannot be kept is counted (enum scmm_counter).
 *
 * Tracepoints only: hardened kernels refuse fentry, kprobes and LSM programs.
 */
#include "kernel.bpf.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>
#include "recorder.h"

/* thread.pending_nr: in no call, or in one that is not to be counted when it ends. */
#define NO_CALL (-1)
#define UNCOUNTED (-2)

#define PR_SET_SECCOMP 22
#define SECCOMP_MODE_FILTER 2
#define SECCOMP_SET_MODE_FILTER 1
#define SECCOMP_FILTER_FLAG_TSYNC (1UL << 0)
#define SECCOMP_FILTER_FLAG_NEW_LISTENER (1UL << 3)
#define SECCOMP_FILTER_FLAG_TSYNC_ESRCH (1UL << 4)

/* Processes remembered that entered recorded containers from outside. */
#define PROCESSES 2048

#if defined(__TARGET_ARCH_x86)
#define NR_PRCTL 157
#define NR_SECCOMP 317
#define NR_RT_SIGRETURN 15
#define TS_COMPAT 0x0002
#define X32_BIT 0x40000000
#elif defined(__TARGET_ARCH_arm64)
#define NR_PRCTL 167
#define NR_SECCOMP 277
#define NR_RT_SIGRETURN 139
#define TIF_32BIT 22
#else
#error "unknown target architecture"
#endif

/* What the recorder knows of one thread of a recorded container. */
struct thread {
	u64 place;		/* cgroup it was last seen in, see place_of() */
	u32 slot;
	u32 epoch;
	u32 session;		/* number + 1; 0: not given yet */
	u32 set;		/* index + 1 of the native call table of this phase; 0: look it up */
	s32 pending_nr;		/* the call it is in, or NO_CALL */
	u32 pending_set;	/* and the table that call was entered into */
	u8 phase;
	u8 pad[7];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, SCMM_CGROUPS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct scmm_cgroup_key);
	__type(value, struct scmm_target);
} targets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SCMM_SLOTS);
	__type(key, u32);
	__type(value, struct scmm_slot);
} slots SEC(".maps");

/*
 * One pool for all recordings, not a map of maps with one inner map each: the kernel waits out an RCU grace
 * period whenever user space changes a map of maps, 10 ms of every container start.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SCMM_SETS);
	__uint(key_size, sizeof(u32));
	__uint(value_size, sizeof(struct scmm_set));
} sets SEC(".maps");

/* Sets that earlier recordings gave back, zeroed. */
struct {
	__uint(type, BPF_MAP_TYPE_QUEUE);
	__uint(max_entries, SCMM_SETS);
	__type(value, u32);
} free_sets SEC(".maps");

/* A process, told from others that had its id before. */
struct process {
	u64 started;		/* start time of its first thread, ns */
	u32 tgid;
	u32 epoch;		/* of the recording */
};

/* Processes that came in from outside, and which session each began. The oldest make room. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, PROCESSES);
	__type(key, struct process);
	__type(value, u32);
} processes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct thread);
} threads SEC(".maps");

struct scmm_config config SEC(".data.config") = {};

/* A controller that this kernel was built without has no number; asked for it, the object would not load. */
#define SSID(controller)                                                   \
	(bpf_core_enum_value_exists(enum cgroup_subsys_id, controller) ?   \
		 (int)bpf_core_enum_value(enum cgroup_subsys_id, controller) : -1)

static __always_inline int controller_ssid(u32 controller)
{
	switch (controller) {
	case 1:
		return SSID(memory_cgrp_id);
	case 2:
		return SSID(pids_cgrp_id);
	case 3:
		return SSID(devices_cgrp_id);
	case 4:
		return SSID(freezer_cgrp_id);
	case 5:
		return SSID(cpu_cgrp_id);
	case 6:
		return SSID(perf_event_cgrp_id);
	case 7:
		return SSID(net_cls_cgrp_id);
	}
	return -1;
}

/* The id of the task's cgroup in the v1 hierarchy named in `config`, 0 where it cannot be read. */
static __noinline u64 v1_cgroup_id(struct task_struct *task)
{
	struct css_set *set = BPF_CORE_READ(task, cgroups);
	struct cgroup_subsys_state *css = 0;
	int ssid = controller_ssid(config.v1_controller);

	if (ssid < 0 || !set)
		return 0;
	bpf_probe_read_kernel(&css, sizeof(css),
			      (void *)set + bpf_core_field_offset(struct css_set, subsys) + ssid * sizeof(css));
	return css ? BPF_CORE_READ(css, cgroup, kn, id) : 0;
}

/*
 * A number that changes when the current task moves to another cgroup of a hierarchy that is watched: its cgroup
 * v2 id, or, where a v1 hierarchy is watched too, the address of its css_set, which stands for all hierarchies.
 *
 * Here and below, pointers are followed by helpers or probe reads, not by typed loads: for each typed step the
 * verifier searches all of the kernel's BTF by name, which made loading 10 ms slower.
 */
static __always_inline u64 place_of(struct task_struct *task)
{
	if (config.v1_controller)
		return (u64)BPF_CORE_READ(task, cgroups);
	return bpf_get_current_cgroup_id();
}

static __always_inline struct scmm_target *target_of(struct task_struct *task)
{
	struct scmm_cgroup_key key = {};
	struct scmm_target *target;

	key.id = bpf_get_current_cgroup_id();
	target = bpf_map_lookup_elem(&targets, &key);
	if (target || !config.v1_controller)
		return target;
	key.id = v1_cgroup_id(task);
	key.hierarchy = config.v1_hierarchy;
	return bpf_map_lookup_elem(&targets, &key);
}

static __always_inline struct scmm_slot *live_slot(u32 index, u32 epoch)
{
	struct scmm_slot *slot = bpf_map_lookup_elem(&slots, &index);

	return slot && slot->epoch == epoch ? slot : 0;
}

static __always_inline void count(struct scmm_slot *slot, enum scmm_counter counter)
{
	__sync_fetch_and_add(&slot->counters[counter], 1);
}

static __always_inline struct scmm_set *set_at(u32 index)
{
	return bpf_map_lookup_elem(&sets, &index);
}

static __always_inline struct scmm_call *call_at(struct scmm_set *set, u32 nr)
{
	/* Keeps the compiler from moving the check to where the verifier has forgotten it. */
	asm volatile("" : "+r"(nr));
	return nr < SCMM_NR_MAX ? &set->calls[nr] : 0;
}

/*
 * The session of a process that came into the container from outside: that of its thread group, or a new
 * one. Two threads that race here may use up two numbers; the user side numbers sessions anew.
 */
static __always_inline u32 join_session(struct task_struct *task, struct scmm_slot *slot, u32 epoch)
{
	struct process process = {};
	u32 number, *known;

	/* A process id may be used again while a recording runs, but not with the same start. */
	process.started = BPF_CORE_READ(task, group_leader, start_time);
	process.tgid = bpf_get_current_pid_tgid() >> 32;
	process.epoch = epoch;
	known = bpf_map_lookup_elem(&processes, &process);
	if (known)
		return *known + 1;
	number = __sync_fetch_and_add(&slot->sessions, 1);
	if (!number)
		slot->init = process.tgid;
	if (number >= SCMM_SESSIONS) {
		count(slot, SCMM_SESSIONS_SHARED);
		number = SCMM_SESSIONS - 1;
	}
	if (bpf_map_update_elem(&processes, &process, &number, BPF_NOEXIST)) {
		known = bpf_map_lookup_elem(&processes, &process);
		if (known)
			return *known + 1;
	}
	return number + 1;
}

static __always_inline void begin(struct thread *thread, struct scmm_target *target, u64 place)
{
	if (thread->slot == target->slot && thread->epoch == target->epoch)
		return;
	thread->session = 0;
	thread->set = 0;
	thread->phase = SCMM_SETUP;
	thread->pending_nr = NO_CALL;
	thread->slot = target->slot;
	thread->epoch = target->epoch;
	thread->place = place;
}

/* A thread seen for the first time, or in another cgroup than before. */
static __noinline int find_place(struct task_struct *task, u64 place)
{
	struct thread *thread = bpf_task_storage_get(&threads, task, 0, 0);
	struct scmm_target *target = target_of(task);
	struct scmm_slot *slot;

	slot = target ? live_slot(target->slot, target->epoch) : 0;
	if (!slot) {
		if (!thread)
			return 0;
		slot = live_slot(thread->slot, thread->epoch);
		if (slot && thread->phase == SCMM_APP)
			count(slot, SCMM_LEFT_CGROUP);
		bpf_task_storage_delete(&threads, task);
		return 0;
	}
	thread = bpf_task_storage_get(&threads, task, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!thread) {
		count(slot, SCMM_LOST_THREADS);
		return 0;
	}
	if (thread->epoch != target->epoch && thread->phase == SCMM_APP) {
		struct scmm_slot *left = live_slot(thread->slot, thread->epoch);

		if (left)
			count(left, SCMM_LEFT_CGROUP);
	}
	begin(thread, target, place);
	thread->place = place;
	if (!thread->session)
		thread->session = join_session(task, slot, target->epoch);
	return 1;
}

/* The recorder's state of the current thread, or nothing if it is not to be recorded. */
static __always_inline struct thread *recorded(struct task_struct *task)
{
	struct thread *thread = bpf_task_storage_get(&threads, task, 0, 0);
	u64 place = place_of(task);

	if (thread && thread->place == place)
		return thread;
	if (!find_place(task, place))
		return 0;
	return bpf_task_storage_get(&threads, task, 0, 0);
}

/* Find or hand out the call table for the thread's session and phase; its index + 1, or 0. */
static __noinline u32 assign_set(struct thread *thread, u32 abi)
{
	struct scmm_slot *slot;
	struct scmm_set *set;
	u32 place, number;

	if (!thread)
		return 0;
	slot = live_slot(thread->slot, thread->epoch);
	if (!slot)
		return 0;
	place = ((thread->session - 1) * SCMM_PHASES + thread->phase) * SCMM_ABIS + abi;
	if (place >= SCMM_SESSIONS * SCMM_PHASES * SCMM_ABIS)
		return 0;
	if (slot->set_of[place])
		return slot->set_of[place];
	if (slot->sets >= SCMM_SETS_PER_SLOT)
		goto lost;
	if (bpf_map_pop_elem(&free_sets, &number)) {
		if (config.fresh >= config.sets)
			goto lost;
		number = __sync_fetch_and_add(&config.fresh, 1);
	}
	set = set_at(number);
	if (!set)
		goto lost;
	set->session = thread->session - 1;
	set->phase = thread->phase;
	set->abi = abi;
	set->epoch = thread->epoch;
	if (__sync_val_compare_and_swap(&slot->set_of[place], 0, number + 1)) {
		/* Another thread was quicker. */
		set->epoch = 0;
		bpf_map_push_elem(&free_sets, &number, 0);
	} else {
		__sync_fetch_and_add(&slot->sets, 1);
	}
	return slot->set_of[place];
lost:
	count(slot, SCMM_LOST_CALLS);
	return 0;
}

static __always_inline u32 abi_of(struct task_struct *task, long *nr)
{
#if defined(__TARGET_ARCH_x86)
	if (task->thread_info.status & TS_COMPAT)
		return SCMM_COMPAT;
	if (*nr & X32_BIT) {
		*nr &= ~X32_BIT;
		return SCMM_X32;
	}
#else
	if (task->thread_info.flags & (1UL << TIF_32BIT))
		return SCMM_COMPAT;
#endif
	return SCMM_NATIVE;
}

SEC("tp_btf/sys_enter")
int BPF_PROG(scmm_sys_enter, struct pt_regs *regs, long id)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct thread *thread = recorded(task);
	struct scmm_slot *slot;
	struct scmm_call *call;
	struct scmm_set *set;
	long nr = (int)id;
	u32 abi, index;

	if (!thread)
		return 0;
	abi = abi_of(task, &nr);
	thread->pending_nr = UNCOUNTED;
	if (nr < 0 || nr >= SCMM_NR_MAX) {
		slot = live_slot(thread->slot, thread->epoch);
		if (slot)
			count(slot, SCMM_BAD_NUMBER);
		return 0;
	}
	index = abi == SCMM_NATIVE && thread->set ? thread->set : assign_set(thread, abi);
	set = index ? set_at(index - 1) : 0;
	if (!set || set->epoch != thread->epoch) {
		/* If the recording this thread belonged to is over: begin anew with its next call. */
		if (index || !live_slot(thread->slot, thread->epoch))
			bpf_task_storage_delete(&threads, task);
		return 0;
	}
	if (abi == SCMM_NATIVE)
		thread->set = index;
	thread->pending_set = index;
	thread->pending_nr = nr;
	call = call_at(set, nr);
	if (call)
		__sync_fetch_and_add(&call->entered, 1);
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
static __always_inline void count_denied(struct task_struct *task, struct thread *thread,
					 struct pt_regs *regs, long ret)
{
#if defined(__TARGET_ARCH_x86)
	long nr = (int)regs->orig_ax;
#else
	long nr = regs->syscallno;
#endif
	struct scmm_call *call;
	struct scmm_set *set;
	u32 abi, index;

	/* Signal returns have no number here. */
	if (nr < 0)
		return;
	abi = abi_of(task, &nr);
	if (nr < 0 || nr >= SCMM_NR_MAX)
		return;
	index = assign_set(thread, abi);
	if (!index)
		return;
	set = set_at(index - 1);
	if (!set || set->epoch != thread->epoch)
		return;
	call = call_at(set, nr);
	if (!call)
		return;
	__sync_fetch_and_add(&call->denied, 1);
	/* A filter may also answer with a value: USER_NOTIF, TRAP, or errno 0. */
	if (ret < 0 && ret > -SCMM_ERRNO_MAX)
		call->denied_errno = -ret;
}

SEC("tp_btf/sys_exit")
int BPF_PROG(scmm_sys_exit, struct pt_regs *regs, long ret)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct thread *thread = bpf_task_storage_get(&threads, task, 0, 0);
	struct scmm_call *call;
	struct scmm_set *set;
	u64 error;
	long nr;

	if (!thread)
		return 0;
	nr = thread->pending_nr;
	thread->pending_nr = NO_CALL;
	if (nr < 0 || nr >= SCMM_NR_MAX) {
		if (nr != UNCOUNTED)
			count_denied(task, thread, regs, ret);
		return 0;
	}
	set = set_at(thread->pending_set - 1);
	if (!set || set->epoch != thread->epoch)
		return 0;
	call = call_at(set, nr);
	if (!call)
		return 0;
	error = -ret;
	/* What rt_sigreturn leaves is the interrupted code's register, not a result. */
	if (ret >= 0 || error > 4095 || (nr == NR_RT_SIGRETURN && set->abi == SCMM_NATIVE)) {
		__sync_fetch_and_add(&call->succeeded, 1);
	} else if (error < SCMM_ERRNO_MAX) {
		u64 bit = 1ULL << (error & 63);

		/* 512 and above are the kernel's own restart codes, which no program sees. */
		if (!(call->errnos[error >> 6] & bit))
			__sync_fetch_and_or(&call->errnos[error >> 6], bit);
	}
	if (thread->phase == SCMM_SETUP && set->abi == SCMM_NATIVE && loads_filter(regs, nr, ret)) {
		thread->phase = SCMM_RUNTIME;
		thread->set = 0;
	}
	return 0;
}

/*
 * Whether what a thread executes without having loaded a filter is the program, not part of the set-up: a runtime
 * executes itself anew before it enters the container's mounts, and runs createContainer hooks in them, as
 * children of the container's first process.
 */
static __always_inline bool is_payload(struct scmm_slot *slot, struct task_struct *task, struct thread *thread)
{
	if (slot->mntns && slot->mntns != BPF_CORE_READ(task, nsproxy, mnt_ns, ns.inum))
		return false;
	return thread->session != 1 || slot->init == bpf_get_current_pid_tgid() >> 32;
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(scmm_exec, struct task_struct *task, int old_pid, struct linux_binprm *bprm)
{
	struct thread *thread = bpf_task_storage_get(&threads, task, 0, 0);
	struct scmm_slot *slot;

	if (!thread || thread->phase == SCMM_APP)
		return 0;
	if (thread->phase == SCMM_SETUP) {
		slot = live_slot(thread->slot, thread->epoch);
		if (!slot || !is_payload(slot, task, thread))
			return 0;
	}
	thread->phase = SCMM_APP;
	thread->set = 0;
	return 0;
}

SEC("tp_btf/sched_process_fork")
int BPF_PROG(scmm_fork, struct task_struct *parent, struct task_struct *child)
{
	struct thread *thread = bpf_task_storage_get(&threads, parent, 0, 0);
	struct thread *copy;
	struct scmm_slot *slot;

	if (!thread)
		return 0;
	slot = live_slot(thread->slot, thread->epoch);
	if (!slot)
		return 0;
	copy = bpf_task_storage_get(&threads, child, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!copy) {
		count(slot, SCMM_LOST_THREADS);
		return 0;
	}
	copy->place = thread->place;
	copy->slot = thread->slot;
	copy->epoch = thread->epoch;
	copy->session = thread->session;
	copy->phase = thread->phase;
	copy->set = thread->set;
	copy->pending_set = 0;
	copy->pending_nr = UNCOUNTED; /* it begins with the end of its parent's call */
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
	if (slot->cgroups >= SCMM_CGROUPS_PER_SLOT || bpf_map_update_elem(&targets, &key, &copy, BPF_NOEXIST))
		count(slot, SCMM_LOST_CGROUPS);
	else
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
