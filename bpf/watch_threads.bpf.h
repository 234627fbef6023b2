/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
/* The watch's maps, and how the state of the thread that makes a call is found. */
#ifndef SCMM_WATCH_THREADS_BPF_H
#define SCMM_WATCH_THREADS_BPF_H

#include "cgroups.bpf.h"
#include "states.bpf.h"

#define SIGKILL 9
#define SIGSTOP 19

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, SCMM_CGROUPS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct scmm_cgroup_key);
	__type(value, struct scmm_target);
} targets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SCMM_WATCHES);
	__type(key, u32);
	__type(value, struct scmm_watch);
} watches SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SCMM_WATCHES);
	__type(key, u32);
	__type(value, struct scmm_live);
} live SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SCMM_MACHINES);
	__uint(key_size, sizeof(u32));
	__uint(value_size, sizeof(struct scmm_machine));
} machines SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SCMM_DEEPS);
	__uint(key_size, sizeof(u32));
	__uint(value_size, sizeof(struct scmm_deep));
} deeps SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SCMM_WATCHES * SCMM_WATCH_ALERTS);
	__type(key, u32);
	__type(value, struct scmm_alert);
} alerts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct scmm_member);
} members SEC(".maps");

/*
 * The states of most threads, where a hash of their registers' address says. An array is looked into without a call, and
 * on processors that guard against return prediction a call costs as much as all the rest. A thread whose place is taken
 * has its state in its storage.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SCMM_WATCH_PLACES);
	__type(key, u32);
	__type(value, struct scmm_watched);
} places SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct scmm_stranger);
} strangers SEC(".maps");

struct scmm_watch_config config SEC(".data.config") = {};
struct scmm_watch_state state SEC(".data.state") = {};
struct scmm_watch_plan plans[SCMM_ABIS * SCMM_NR_MAX] SEC(".data.plans") = {};

/* From kernel 6.2 on, a task of which we keep the address can be read without asking for it anew. */
extern void *bpf_rdonly_cast(void *object, u32 type) __ksym __weak;

static __always_inline u32 generation(void)
{
	return config.generation + state.generation;
}

static __always_inline void new_generation(void)
{
	__sync_fetch_and_add(&state.generation, 1);
}

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

static __always_inline struct scmm_live *live_of(u32 watch, u32 epoch)
{
	struct scmm_live *found = bpf_map_lookup_elem(&live, &watch);

	return found && epoch && found->epoch == epoch ? found : 0;
}

/* The record of a watch that lives. */
static __always_inline struct scmm_watch *watch_of(u32 watch, u32 epoch)
{
	return live_of(watch, epoch) ? bpf_map_lookup_elem(&watches, &watch) : 0;
}

static __always_inline void count(struct scmm_watch *watch, enum scmm_watch_counter counter)
{
	__sync_fetch_and_add(&watch->counters[counter], 1);
}

/* Cgroups below one another; more than a kernel has memory for. */
#define MOST_LEVELS (1 << 20)

struct climb {
	u64 cgroup;
	struct scmm_cgroup_key key;
	u32 found;
	u32 pad;
};

static long climb_up(u32 index, void *context)
{
	struct climb *climb = context;
	struct cgroup *cgroup = (void *)climb->cgroup;

	cgroup = BPF_CORE_READ(cgroup, self.parent, cgroup);
	if (!cgroup)
		return 1;
	climb->cgroup = (u64)cgroup;
	climb->key.id = BPF_CORE_READ(cgroup, kn, id);
	climb->found = is_hot(climb->key.id) && bpf_map_lookup_elem(&targets, &climb->key);
	return climb->found;
}

/* What a cgroup belongs to for which there was no room: to what the next one above it does that is known. */
static __noinline struct scmm_target *target_above(struct cgroup *cgroup, u32 hierarchy)
{
	struct climb climb = {};

	if (!state.crowded)
		return 0;
	climb.cgroup = (u64)cgroup;
	climb.key.hierarchy = hierarchy;
	bpf_loop(MOST_LEVELS, climb_up, &climb, 0);
	return climb.found ? bpf_map_lookup_elem(&targets, &climb.key) : 0;
}

static __always_inline struct scmm_target *target_of(struct task_struct *task)
{
	struct scmm_cgroup_key key = {};
	struct scmm_target *target = 0;

	key.id = bpf_get_current_cgroup_id();
	if (is_hot(key.id)) {
		target = bpf_map_lookup_elem(&targets, &key);
		if (!target)
			target = target_above(BPF_CORE_READ(task, cgroups, dfl_cgrp), 0);
	}
	if (target || !config.v1_controller)
		return target;
	key.id = v1_cgroup_id(task, config.v1_controller);
	if (!is_hot(key.id))
		return 0;
	key.hierarchy = config.v1_hierarchy;
	target = bpf_map_lookup_elem(&targets, &key);
	return target ? target : target_above(v1_cgroup(task, config.v1_controller), key.hierarchy);
}

static __always_inline struct scmm_watched *place_at(u32 index)
{
	return bpf_map_lookup_elem(&places, &index);
}

/* Kernel stacks that live at the same time differ in these bits of their address. */
static __always_inline u32 hash_of(u64 regs)
{
	u32 low = regs;

	return (low >> 12) * 0x9e3779b1U >> 18;
}

_Static_assert(1 << (32 - 18) == SCMM_WATCH_PLACES, "the hash has as many values as there are places");

/* A thread's state, if it has one. */
static __always_inline struct scmm_watched *state_of_member(struct scmm_member *member)
{
	if (!member || !member->place)
		return 0;
	return member->place == SCMM_HERE ? &member->here : place_at(member->place - 1);
}

static __always_inline struct scmm_member *member_of(struct task_struct *task)
{
	return task->bpf_storage ? bpf_task_storage_get(&members, task, 0, 0) : 0;
}

/*
 * Functions that are not static are verified once, by themselves; what is rarely gone would otherwise be verified for
 * each way that leads there, and loading is what a container's start waits for.
 */

/* An address as a number: such functions take no pointers to what is the kernel's. */
static __always_inline u64 as_number(void *address)
{
	u32 zero = 0;
	struct scmm_stranger *stranger = bpf_map_lookup_elem(&strangers, &zero);

	if (!stranger)
		return 0;
	stranger->asked = (u64)address;
	barrier();
	return *(volatile u64 *)&stranger->asked;
}

/* Give a thread's state back. */
__noinline int release(struct scmm_member *member)
{
	struct scmm_watched *w = state_of_member(member);
	struct scmm_watch *watch;
	u64 regs;

	if (!w || !member)
		return 0;
	watch = watch_of(w->watch, w->epoch);
	if (watch)
		__sync_fetch_and_add(&watch->threads, -1);
	member->place = 0;
	w->epoch = 0;
	/* An exchange, so that whoever takes the place next writes after us. */
	regs = w->regs;
	__sync_val_compare_and_swap(&w->regs, regs, 0);
	return 0;
}

/* Have a place for the state of a thread with these registers, one more of a watch's; all of it but those is anew. */
__noinline int take(struct scmm_member *member, u64 regs, u32 number, u32 epoch)
{
	struct scmm_watch *watch = watch_of(number, epoch);
	u32 index = hash_of(regs);
	struct scmm_watched *w = place_at(index);

	if (!member || !watch)
		return 0;
	if (w && !w->regs && !__sync_val_compare_and_swap(&w->regs, 0, regs)) {
		member->place = index + 1;
	} else {
		member->place = SCMM_HERE;
		w = &member->here;
		w->regs = regs;
	}
	w->task = 0;
	w->place = 0;
	w->ip = 0;
	w->generation = 0;
	w->epoch = epoch;
	w->watch = number;
	w->machine = 0;
	w->from = SCMM_FROM_ANY;
	w->from2 = SCMM_FROM_NONE;
	w->from_abi = SCMM_NATIVE;
	w->phase = SCMM_STARTUP;
	w->flags = 0;
	w->at = 0;
	w->made = 0;
	member->depth = 0;
	member->forgotten = 0;
	member->stopped = 0;
	__sync_fetch_and_add(&watch->threads, 1);
	return 0;
}

/* Whether a process serves, as its first thread says. */
static __always_inline bool serves(struct task_struct *task, u32 epoch)
{
	struct scmm_member *leader = bpf_task_storage_get(&members, task->group_leader, 0, 0);

	return leader && leader->serves == epoch;
}

static __always_inline u32 machine_of(struct scmm_watch *watch, u32 phase, u32 abi)
{
	u32 index = phase * SCMM_ABIS + abi;

	if (index >= SCMM_WATCH_PHASES * SCMM_ABIS)
		return 0;
	CHECKED(index);
	return watch->machines[index];
}

/* How the state of the current thread begins, which was not watched before. */
__noinline int enter(struct scmm_watched *w, u32 left)
{
	struct task_struct *task = bpf_get_current_task_btf();
	u32 tgid = bpf_get_current_pid_tgid() >> 32;
	struct scmm_watch *watch;
	struct scmm_live *alive;

	if (!w)
		return 0;
	alive = live_of(w->watch, w->epoch);
	watch = watch_of(w->watch, w->epoch);
	if (!watch || !alive)
		return 0;
	w->flags = SCMM_PAST_UNKNOWN;
	/* One that had no memory could have come out of it as anyone: whoever comes now could be what it has made. */
	if (left || watch->counters[SCMM_UNWATCHED])
		return 0;
	if (watch->flags & SCMM_WATCH_ATTACHED && BPF_CORE_READ(task, group_leader, start_time) <= alive->started)
		return 0;
	w->flags = SCMM_IN_SETUP;
	count(watch, SCMM_ENTERED);
	/* Of one that ran already the first process is not to be seen coming. */
	if (watch->flags & SCMM_WATCH_ATTACHED)
		return 0;
	if (!watch->init)
		__sync_val_compare_and_swap(&watch->init, 0, tgid);
	if (watch->init == tgid)
		w->flags |= SCMM_FIRST;
	return 0;
}

#endif
