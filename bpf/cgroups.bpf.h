/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
/* What the recorder and the watch both ask of a task: its ABI, and its cgroup where the host has cgroup v1. */
#ifndef SCMM_CGROUPS_BPF_H
#define SCMM_CGROUPS_BPF_H

#include "states.h"

#if defined(__TARGET_ARCH_x86)
#define TS_COMPAT 0x0002
#define X32_BIT 0x40000000
#elif defined(__TARGET_ARCH_arm64)
#define TIF_32BIT 22
#else
#error "unknown target architecture"
#endif

/* Keeps the compiler from using another copy of a number than the one that was checked. */
#define CHECKED(number) asm volatile("" : "+r"(number))

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

/* The task's cgroup in the hierarchy of a v1 controller, 0 where it cannot be read. */
static __always_inline struct cgroup *v1_cgroup(struct task_struct *task, u32 controller)
{
	struct css_set *set = BPF_CORE_READ(task, cgroups);
	struct cgroup_subsys_state *css = 0;
	int ssid = controller_ssid(controller);

	if (ssid < 0 || !set)
		return 0;
	bpf_probe_read_kernel(&css, sizeof(css),
			      (void *)set + bpf_core_field_offset(struct css_set, subsys) + ssid * sizeof(css));
	return css ? BPF_CORE_READ(css, cgroup) : 0;
}

/* Its id, 0 where it cannot be read. */
static __noinline u64 v1_cgroup_id(struct task_struct *task, u32 controller)
{
	struct cgroup *cgroup = v1_cgroup(task, controller);

	return cgroup ? BPF_CORE_READ(cgroup, kn, id) : 0;
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

#endif
