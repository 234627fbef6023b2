/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
/* The recorder's maps, and how the slot, thread and call table of the current task are found. */
#ifndef SCMM_STATE_BPF_H
#define SCMM_STATE_BPF_H

#include "cgroups.bpf.h"
#include "states.bpf.h"

#if defined(__TARGET_ARCH_x86)
#define NR_PRCTL 157
#define NR_SECCOMP 317
#else
#define NR_PRCTL 167
#define NR_SECCOMP 277
#endif

/* Processes remembered that entered recorded containers from outside. */
#define PROCESSES 2048

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

/* Tables of order, handed out like the sets. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SCMM_EDGES);
	__uint(key_size, sizeof(u32));
	__uint(value_size, sizeof(struct scmm_edges));
} edges SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_QUEUE);
	__uint(max_entries, SCMM_EDGES);
	__type(value, u32);
} free_edges SEC(".maps");

/* Three calls that followed one another, of recordings that ask for them. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, SCMM_TRIPLES);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct scmm_triple_key);
	__type(value, u32);
} triples SEC(".maps");

/* Of processes that have come beyond the first stage. Goes with its task. */
struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct scmm_reached);
} reached SEC(".maps");

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
	__type(value, struct scmm_seat);
} seats SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SCMM_THREADS);
	__type(key, u32);
	__type(value, struct scmm_thread);
} threads SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_QUEUE);
	__uint(max_entries, SCMM_THREADS);
	__type(value, u32);
} free_threads SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct scmm_last);
} lasts SEC(".maps");

struct scmm_config config SEC(".data.config") = {};
struct scmm_state state SEC(".data.state") = {};
struct scmm_plan plans[SCMM_ABIS * SCMM_NR_MAX] SEC(".data.plans") = {};

/* Whether a cgroup id may be a target; most that are none are told apart without a look into the hash table. */
static __always_inline bool is_hot(u64 id)
{
	u32 word = id / 64 % SCMM_HOT_WORDS;

	return (config.hot[word] | state.hot[word]) >> (id % 64) & 1;
}

static __always_inline void make_hot(u64 id)
{
	__sync_fetch_and_or(&state.hot[id / 64 % SCMM_HOT_WORDS], 1ULL << (id % 64));
}

static __always_inline struct scmm_target *target_of(struct task_struct *task)
{
	struct scmm_cgroup_key key = {};
	struct scmm_target *target = 0;

	key.id = bpf_get_current_cgroup_id();
	if (is_hot(key.id))
		target = bpf_map_lookup_elem(&targets, &key);
	if (target || !config.v1_controller)
		return target;
	key.id = v1_cgroup_id(task, config.v1_controller);
	if (!is_hot(key.id))
		return 0;
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

static __always_inline void count_loss(struct scmm_thread *thread, enum scmm_counter counter)
{
	struct scmm_slot *slot = live_slot(thread->slot, thread->epoch);

	if (slot)
		count(slot, counter);
}

static __always_inline struct scmm_set *set_at(u32 index)
{
	return bpf_map_lookup_elem(&sets, &index);
}

static __always_inline struct scmm_call *call_at(struct scmm_set *set, u64 nr)
{
	if (nr >= SCMM_NR_MAX)
		return 0;
	CHECKED(nr);
	return &set->calls[nr];
}

static __always_inline struct scmm_plan *plan_of(u32 abi, u32 nr)
{
	u64 index = abi * SCMM_NR_MAX + nr;

	if (index >= SCMM_ABIS * SCMM_NR_MAX)
		return 0;
	CHECKED(index);
	return &plans[index];
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
	/* What ran before the recording began is all one session: the container's own. */
	if (slot->flags & SCMM_ATTACHED && process.started <= slot->started)
		return 1;
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

static __always_inline struct scmm_thread *thread_at(u32 index)
{
	return bpf_map_lookup_elem(&threads, &index);
}

static __always_inline u32 generation(void)
{
	return config.generation + state.generation;
}

static __always_inline void new_generation(void)
{
	__sync_fetch_and_add(&state.generation, 1);
}

/* Take a place for a thread's state, and begin it; its index + 1, or 0. */
static __noinline u32 begin(struct scmm_slot *slot, u32 slot_index, u32 epoch, u32 phase_flags)
{
	struct scmm_thread *thread;
	u32 index;

	if (bpf_map_pop_elem(&free_threads, &index)) {
		if (state.fresh_threads >= config.threads)
			goto lost;
		index = __sync_fetch_and_add(&state.fresh_threads, 1);
	}
	thread = thread_at(index);
	if (!thread)
		goto lost;
	thread->regs = 0;
	thread->place = 0;
	thread->session = 0;
	thread->set = 0;
	thread->edges = 0;
	thread->phase = phase_flags;
	thread->flags = phase_flags >> 8;
	thread->pending_nr = SCMM_NO_CALL;
	thread->pending_set = 0;
	thread->nsproxy = 0;
	thread->root_mount = 0;
	thread->from = SCMM_FROM_NONE;
	thread->from2 = SCMM_FROM_NONE;
	thread->from_abi = SCMM_NATIVE;
	/* What ran before may have listened before. */
	thread->stage = thread->flags & SCMM_NEW ? SCMM_STAGE_UNKNOWN : SCMM_STARTING;
	thread->stages = state.stages - 1;
	thread->restart = 0;
	thread->depth = 0;
	thread->missed = 0;
	thread->program = 0;
	thread->slot = slot_index;
	thread->epoch = epoch;
	if (slot) {
		if (slot->flags & SCMM_DEPTH_3)
			thread->flags |= SCMM_DEEP;
		__sync_fetch_and_add(&slot->threads, 1);
	}
	return index + 1;
lost:
	if (slot)
		count(slot, SCMM_LOST_THREADS);
	return 0;
}

/* Give the place of a thread's state back. left: it goes on, outside of the recorded cgroups. */
static __noinline int end(struct scmm_seat *seat, int left)
{
	struct scmm_thread *thread;
	struct scmm_slot *slot;
	u32 index;

	if (!seat || !seat->index)
		return 0;
	index = seat->index - 1;
	seat->index = 0;
	thread = thread_at(index);
	if (!thread)
		return 0;
	slot = live_slot(thread->slot, thread->epoch);
	if (slot) {
		__sync_fetch_and_add(&slot->threads, -1);
		if (left && thread->phase == SCMM_APP)
			count(slot, SCMM_LEFT_CGROUP);
	}
	thread->regs = 0;
	thread->epoch = 0;
	bpf_map_push_elem(&free_threads, &index, 0);
	return 0;
}

/*
 * A thread seen for the first time, or in another css_set than before: the index + 1 of its state, or 0 if it is not
 * to be recorded.
 */
static __noinline u32 find_place(struct task_struct *task, u64 place)
{
	struct scmm_seat *seat = bpf_task_storage_get(&seats, task, 0, 0);
	struct scmm_target *target = target_of(task);
	struct scmm_slot *slot, *own;
	struct scmm_thread *thread;
	u32 phase_flags = SCMM_SETUP;

	slot = target ? live_slot(target->slot, target->epoch) : 0;
	own = seat && seat->flags & SCMM_FOLLOWED ? live_slot(seat->slot, seat->epoch) : 0;
	if (own) {
		thread = seat->index ? thread_at(seat->index - 1) : 0;
		if (thread && thread->epoch != seat->epoch)
			end(seat, 0);
		if (!seat->index)
			seat->index = begin(own, seat->slot, seat->epoch, seat->phase | seat->flags << 8);
		thread = seat->index ? thread_at(seat->index - 1) : 0;
		if (!thread)
			return 0;
		/* Two recordings want it; the one whose cgroup it is in goes without, and says so. */
		if (slot && slot->epoch != seat->epoch && slot->epoch != thread->missed) {
			thread->missed = slot->epoch;
			count(slot, SCMM_LEFT_CGROUP);
		}
		thread->place = place;
		if (!thread->session)
			thread->session = 1;
		return seat->index;
	}
	if (!slot) {
		if (seat) {
			end(seat, 1);
			bpf_task_storage_delete(&seats, task);
		}
		return 0;
	}
	seat = bpf_task_storage_get(&seats, task, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!seat) {
		count(slot, SCMM_LOST_THREADS);
		return 0;
	}
	seat->flags = 0;
	seat->slot = target->slot;
	seat->epoch = target->epoch;
	thread = seat->index ? thread_at(seat->index - 1) : 0;
	if (thread && (thread->slot != target->slot || thread->epoch != target->epoch)) {
		end(seat, 1);
		thread = 0;
	}
	if (!thread) {
		if (slot->flags & SCMM_ATTACHED && BPF_CORE_READ(task, group_leader, start_time) <= slot->started)
			phase_flags = SCMM_APP | SCMM_NEW << 8;
		seat->index = begin(slot, target->slot, target->epoch, phase_flags);
		thread = seat->index ? thread_at(seat->index - 1) : 0;
		if (!thread)
			return 0;
	}
	thread->place = place;
	if (!thread->session)
		thread->session = join_session(task, slot, target->epoch);
	return seat->index;
}

/* Note that a process is at a stage, where its other threads see it. 0, or an error. */
static __noinline int note_stage(struct task_struct *leader, u32 epoch, u32 stage)
{
	struct scmm_reached *known;

	if (!leader)
		return -1;
	known = bpf_task_storage_get(&reached, leader, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!known)
		return -1;
	if (known->epoch != epoch) {
		known->stage = 0;
		known->epoch = epoch;
	}
	/* Stages only grow, so somebody else is quicker as often as there are more of them. */
#pragma unroll
	for (int i = 1; i < SCMM_STAGES; i++) {
		u32 old = known->stage;

		if (old >= stage || __sync_val_compare_and_swap(&known->stage, old, stage) == old)
			break;
	}
	return 0;
}

/* Have the thread see what stage another thread has brought its process to. */
static __always_inline void look_for_stage(struct scmm_thread *thread, struct task_struct *leader)
{
	struct scmm_reached *known;
	u32 now = state.stages;

	if (thread->stages == now)
		return;
	/* Before looking, as with generations. */
	thread->stages = now;
	known = leader ? bpf_task_storage_get(&reached, leader, 0, 0) : 0;
	if (known && known->epoch == thread->epoch && known->stage > thread->stage) {
		thread->stage = known->stage;
		thread->edges = 0;
	}
}

/* The index + 1 of the state of the current thread, or 0: without the memory of what this CPU saw last. */
static __noinline u32 find_thread(u64 regs)
{
	struct task_struct *task = bpf_get_current_task_btf();
	u64 place = (u64)BPF_CORE_READ(task, cgroups);
	struct scmm_seat *seat = 0;
	struct scmm_thread *thread;
	u32 index = 0;

	if (task->bpf_storage)
		seat = bpf_task_storage_get(&seats, task, 0, 0);
	if (!seat && !config.v1_controller && !is_hot(bpf_get_current_cgroup_id()))
		return 0;
	/* One that is followed may be missed by a recording that has begun since. */
	if (seat && seat->index && !(seat->flags & SCMM_FOLLOWED)) {
		thread = thread_at(seat->index - 1);
		if (thread && thread->place == place && thread->epoch == seat->epoch &&
		    live_slot(thread->slot, thread->epoch))
			index = seat->index;
	}
	/* The address of the css_set stands for its cgroups in all hierarchies: while it is the same, they are. */
	if (!index)
		index = find_place(task, place);
	thread = index ? thread_at(index - 1) : 0;
	if (!thread)
		return 0;
	thread->regs = regs;
	look_for_stage(thread, task->group_leader);
	return index;
}

/*
 * The recorder's state of the thread that begins a call, or nothing if it is not to be recorded. Most calls are made by
 * the thread that made the last one on this CPU, and need no call of ours to find it.
 */
static __always_inline struct scmm_thread *recorded(u64 regs)
{
	struct scmm_thread *thread;
	struct scmm_last *last;
	u32 zero = 0;

	last = bpf_map_lookup_elem(&lasts, &zero);
	if (!last)
		return 0;
	if (last->regs == regs && last->generation == generation()) {
		if (!last->index)
			return 0;
		thread = thread_at(last->index - 1);
		if (thread && thread->regs == regs)
			return thread;
	}
	/* Before looking, so that what happens meanwhile counts. */
	last->generation = generation();
	last->index = find_thread(regs);
	last->regs = regs;
	return last->index ? thread_at(last->index - 1) : 0;
}

/* The state of the current thread as it is, if it has one; for the ends of calls and for what is no call. */
__noinline u32 seated(void)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct scmm_seat *seat;

	if (!task->bpf_storage)
		return 0;
	seat = bpf_task_storage_get(&seats, task, 0, 0);
	return seat ? seat->index : 0;
}

/* The recorder's state of the thread that ends a call, or nothing. */
static __always_inline struct scmm_thread *ending(u64 regs)
{
	struct scmm_thread *thread;
	struct scmm_last *last;
	u32 zero = 0, index;

	last = bpf_map_lookup_elem(&lasts, &zero);
	if (last && last->regs == regs && last->generation == generation()) {
		if (!last->index)
			return 0;
		thread = thread_at(last->index - 1);
		if (thread && thread->regs == regs)
			return thread;
	}
	index = seated();
	return index ? thread_at(index - 1) : 0;
}

/* The recording that a thread belonged to is over. */
__noinline int forget(void)
{
	struct task_struct *task = bpf_get_current_task_btf();

	end(bpf_task_storage_get(&seats, task, 0, 0), 0);
	bpf_task_storage_delete(&seats, task);
	return 0;
}

/* Find or hand out the call table for the thread's session and phase; its index + 1, or 0. */
__noinline u32 assign_set(struct scmm_thread *thread, u32 abi)
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
		if (state.fresh >= config.sets)
			goto lost;
		number = __sync_fetch_and_add(&state.fresh, 1);
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

/* The same for the slot's table of order of an ABI, and of the stage that the thread's process is at. */
__noinline u32 assign_edges(struct scmm_thread *thread, u32 abi)
{
	struct scmm_edges *table;
	struct scmm_slot *slot;
	u64 place;
	u32 number;

	if (!thread)
		return 0;
	slot = live_slot(thread->slot, thread->epoch);
	if (!slot)
		return 0;
	place = abi * SCMM_STAGES + thread->stage;
	if (place >= SCMM_ABIS * SCMM_STAGES)
		return 0;
	CHECKED(place);
	if (slot->edges_of[place])
		return slot->edges_of[place];
	if (bpf_map_pop_elem(&free_edges, &number)) {
		if (state.fresh_edges >= config.edges)
			goto lost;
		number = __sync_fetch_and_add(&state.fresh_edges, 1);
	}
	table = bpf_map_lookup_elem(&edges, &number);
	if (!table)
		goto lost;
	table->abi = abi;
	table->stage = place % SCMM_STAGES;
	table->epoch = thread->epoch;
	if (__sync_val_compare_and_swap(&slot->edges_of[place], 0, number + 1)) {
		table->epoch = 0;
		bpf_map_push_elem(&free_edges, &number, 0);
	}
	return slot->edges_of[place];
lost:
	count(slot, SCMM_LOST_ORDER);
	return 0;
}

#endif
