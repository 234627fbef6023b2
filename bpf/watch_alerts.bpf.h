/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
/* What a watch does about a violation, and how it tells of it. The way that is rarely gone. */
#ifndef SCMM_WATCH_ALERTS_BPF_H
#define SCMM_WATCH_ALERTS_BPF_H

#include "watch_threads.bpf.h"

/* Components and mounts on the way to the root. */
#define MOST_STEPS 256
#define NSEC_PER_SEC 1000000000ULL

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct upid {
	int nr;
};

struct pid {
	unsigned int level;
	struct upid numbers[1];
};

#pragma clang attribute pop

/* A violation, or a thread that moved out: enum scmm_alert_kind, enum scmm_abi, and states. */
#define EVENT(kind, abi, from2, from, to) \
	((u64)(kind) | (u64)(abi) << 8 | (u64)(from2) << 16 | (u64)(from) << 32 | (u64)(to) << 48)

/* Where a path is put together, with room for a name that does not fit any more. */
struct scratch {
	char path[SCMM_WATCH_PATH + 256];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct scratch);
} scratches SEC(".maps");

/* The way up to the root; addresses are numbers here, so that the verifier has nothing to follow. */
struct walk {
	u64 dentry;
	u64 mount;
	u64 top;
	u32 length;
	u32 whole;
};

static long step(u32 index, void *context)
{
	struct walk *walk = context;
	struct dentry *dentry = (void *)walk->dentry;
	struct mount *mount = (void *)walk->mount;
	u32 zero = 0;
	struct scratch *scratch = bpf_map_lookup_elem(&scratches, &zero);
	const unsigned char *name;
	u64 at = walk->length, parent;
	long read;

	if (!scratch)
		return 1;
	if (dentry == BPF_CORE_READ(mount, mnt.mnt_root)) {
		parent = (u64)BPF_CORE_READ(mount, mnt_parent);
		if (!parent || parent == walk->mount || walk->mount == walk->top) {
			walk->whole = walk->mount == walk->top;
			return 1;
		}
		walk->dentry = (u64)BPF_CORE_READ(mount, mnt_mountpoint);
		walk->mount = parent;
		return 0;
	}
	name = BPF_CORE_READ(dentry, d_name.name);
	CHECKED(at);
	if (at >= SCMM_WATCH_PATH)
		return 1;
	read = bpf_probe_read_kernel_str(&scratch->path[at], 256, name);
	if (read < 1 || read > 256)
		return 1;
	at += read - 1;
	CHECKED(at);
	/* What is cut off has no slash at its end. */
	if (at >= SCMM_WATCH_PATH) {
		walk->length = SCMM_WATCH_PATH;
		return 1;
	}
	scratch->path[at] = '/';
	walk->length = at + 1;
	parent = (u64)BPF_CORE_READ(dentry, d_parent);
	/* What hangs on no file system's root: a memfd, or a handle that was opened. */
	if (parent == walk->dentry)
		return 1;
	walk->dentry = parent;
	return 0;
}

/* The path of the current process's program. A rename meanwhile may give a mixture. */
__noinline int write_path(struct scmm_alert *alert)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct file *file = BPF_CORE_READ(task, mm, exe_file);
	struct vfsmount *mount = BPF_CORE_READ(file, f_path.mnt);
	struct walk walk = {};
	u32 zero = 0;
	struct scratch *scratch = bpf_map_lookup_elem(&scratches, &zero);

	if (!file || !mount || !scratch || !alert)
		return 0;
	walk.dentry = (u64)BPF_CORE_READ(file, f_path.dentry);
	walk.mount = (u64)mount - bpf_core_field_offset(struct mount, mnt);
	walk.top = (u64)BPF_CORE_READ(task, nsproxy, mnt_ns, root);
	bpf_loop(MOST_STEPS, step, &walk, 0);
	bpf_probe_read_kernel(alert->path, sizeof(alert->path), scratch->path);
	alert->path_length = walk.length;
	alert->path_whole = walk.whole;
	return 0;
}

/* Whether this watch may write another alert in this second. */
static __always_inline bool may_write(struct scmm_watch *watch, u64 now)
{
	u64 second = now / NSEC_PER_SEC;

	if (watch->second != second) {
		watch->second = second;
		watch->in_second = 0;
	}
	return __sync_fetch_and_add(&watch->in_second, 1) < SCMM_WATCH_RATE;
}

/* What the current thread does is told, with what was done about it (enum scmm_alert_action). */
__noinline int write_alert(struct scmm_watched *w, u64 event, u32 action)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct pt_regs *regs;
	u32 abi = event >> 8 & 0xff;
	u64 now = bpf_ktime_get_ns(), ids = bpf_get_current_pid_tgid(), seq;
	struct scmm_alert *alert;
	struct scmm_watch *watch;
	struct pid *pid = 0;
	u32 index;

	if (!w)
		return 0;
	regs = (void *)w->regs;
	watch = watch_of(w->watch, w->epoch);
	if (!watch)
		return 0;
	if (!may_write(watch, now)) {
		count(watch, SCMM_UNREPORTED);
		return 0;
	}
	seq = __sync_fetch_and_add(&watch->alerts, 1) + 1;
	index = w->watch * SCMM_WATCH_ALERTS + seq % SCMM_WATCH_ALERTS;
	alert = bpf_map_lookup_elem(&alerts, &index);
	if (!alert)
		return 0;
	/* Exchanges, so that whoever reads meanwhile sees that it is not whole. */
	alert->again = 0;
	__sync_lock_test_and_set(&alert->seq, 0);
	alert->at = now;
	alert->leader_started = BPF_CORE_READ(task, group_leader, start_time);
	alert->epoch = w->epoch;
	alert->watch = w->watch;
	alert->tgid = ids >> 32;
	alert->tid = ids;
	alert->from2 = event >> 16;
	alert->from = event >> 32;
	alert->to = event >> 48;
	alert->kind = event;
	alert->action = action;
	alert->phase = w->phase;
	alert->abi = abi;
	alert->made = w->made;
	alert->recent_at = w->at & (SCMM_WATCH_RECENT - 1);
	__builtin_memcpy(alert->recent, w->recent, sizeof(alert->recent));
#if defined(__TARGET_ARCH_x86)
	alert->ip = BPF_CORE_READ(regs, ip);
	if (abi == SCMM_COMPAT) {
		alert->args[0] = (u32)BPF_CORE_READ(regs, bx);
		alert->args[1] = (u32)BPF_CORE_READ(regs, cx);
		alert->args[2] = (u32)BPF_CORE_READ(regs, dx);
		alert->args[3] = (u32)BPF_CORE_READ(regs, si);
		alert->args[4] = (u32)BPF_CORE_READ(regs, di);
		alert->args[5] = (u32)BPF_CORE_READ(regs, bp);
	} else {
		alert->args[0] = BPF_CORE_READ(regs, di);
		alert->args[1] = BPF_CORE_READ(regs, si);
		alert->args[2] = BPF_CORE_READ(regs, dx);
		alert->args[3] = BPF_CORE_READ(regs, r10);
		alert->args[4] = BPF_CORE_READ(regs, r8);
		alert->args[5] = BPF_CORE_READ(regs, r9);
	}
#else
	alert->ip = BPF_CORE_READ(regs, pc);
	alert->args[0] = BPF_CORE_READ(regs, orig_x0);
	for (int i = 1; i < 6; i++)
		alert->args[i] = BPF_CORE_READ(regs, regs[i]);
#endif
	alert->ns_tgid = 0;
	bpf_probe_read_kernel(&pid, sizeof(pid),
			      (void *)BPF_CORE_READ(task, signal) + bpf_core_field_offset(struct signal_struct, pids) +
				      PIDTYPE_TGID * sizeof(pid));
	if (pid)
		bpf_probe_read_kernel(&alert->ns_tgid, sizeof(alert->ns_tgid),
				      (void *)pid + bpf_core_field_offset(struct pid, numbers) +
					      (u64)BPF_CORE_READ(pid, level) * bpf_core_type_size(struct upid) +
					      bpf_core_field_offset(struct upid, nr));
	bpf_get_current_comm(alert->comm, sizeof(alert->comm));
	alert->path_length = 0;
	alert->path_whole = 0;
	write_path(alert);
	count(watch, SCMM_ALERTED);
	__sync_lock_test_and_set(&alert->seq, seq);
	alert->again = seq;
	return 0;
}

static __always_inline void stop(struct scmm_watch *watch)
{
	if (bpf_send_signal(SIGSTOP))
		count(watch, SCMM_FAILED);
}

static __always_inline u32 kill_it(struct scmm_watch *watch)
{
	/* To the thread group, from the kernel: a container's first process gets it, too. */
	u32 action = bpf_send_signal(SIGKILL) ? SCMM_DID_FAIL : SCMM_DID_KILL;

	count(watch, action == SCMM_DID_KILL ? SCMM_KILLS : SCMM_FAILED);
	return action;
}

/*
 * The current thread makes a call while its watch is frozen. One that was stopped since then has not come back to its
 * program but by a SIGCONT that is not ours: of a timer, of another process's last call, or as who traces it wants.
 */
static __always_inline void hold(struct scmm_watch *watch, struct scmm_live *alive, struct scmm_member *member)
{
	u32 frozen = alive->frozen;

	if (frozen && member->stopped == frozen) {
		kill_it(watch);
		return;
	}
	member->stopped = frozen;
	stop(watch);
}

/* What the current thread does is not in its machine. */
__noinline int violate(struct scmm_watched *w, u64 event)
{
	u32 kind = event & 0xff, action = SCMM_DID_NOTHING;
	struct scmm_member *member;
	struct scmm_watch *watch;
	struct scmm_live *alive;

	if (!w)
		return 0;
	alive = live_of(w->watch, w->epoch);
	watch = watch_of(w->watch, w->epoch);
	if (!watch || !alive)
		return 0;
	count(watch, SCMM_VIOLATIONS);
	if (kind == SCMM_NOT_IN_HANDLER)
		count(watch, SCMM_NO_HANDLER);
	if (kind == SCMM_ABI_WITHOUT_MACHINE)
		count(watch, SCMM_NO_MACHINE);
	if (watch->action == SCMM_WATCH_KILL) {
		action = kill_it(watch);
	} else if (watch->action == SCMM_WATCH_FREEZE) {
		member = bpf_task_storage_get(&members, bpf_get_current_task_btf(), 0, 0);
		/* Microseconds: who was stopped before a thaw is told from who was stopped since. */
		__sync_val_compare_and_swap(&alive->frozen, 0, (u32)(bpf_ktime_get_ns() >> 10) | 1);
		if (member)
			member->stopped = alive->frozen;
		action = bpf_send_signal(SIGSTOP) ? SCMM_DID_FAIL : SCMM_DID_FREEZE;
		count(watch, action == SCMM_DID_FREEZE ? SCMM_FREEZES : SCMM_FAILED);
		/* Whatever the others do next stops them. */
		new_generation();
	}
	if (watch->action != SCMM_WATCH_COUNT)
		write_alert(w, event, action);
	return 0;
}

#endif
