/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
/* Which state a call is: its number, or that of its class. For the recorder and the watch alike. */
#ifndef SCMM_STATES_BPF_H
#define SCMM_STATES_BPF_H

#include "states.h"

#define SCMM_O_WRITES (03 | 0100 | 01000)	/* O_ACCMODE, O_CREAT, O_TRUNC */
#define SCMM_PROT_EXEC 4

/* One of a call's first three arguments. No call of ours: the registers are read as they are. */
static __always_inline u64 early_argument(struct pt_regs *regs, u32 index, u32 abi)
{
#if defined(__TARGET_ARCH_x86)
	if (abi == SCMM_COMPAT)
		return (u32)(index == 0 ? regs->bx : index == 1 ? regs->cx : regs->dx);
	return index == 0 ? regs->di : index == 1 ? regs->si : regs->dx;
#else
	u64 value = index == 0 ? regs->orig_x0 : index == 1 ? regs->regs[1] : regs->regs[2];

	return abi == SCMM_COMPAT ? (u32)value : value;
#endif
}

static __always_inline u32 class_of(u32 kind, u32 value)
{
	if (kind == SCMM_BY_ACCESS)
		return (value & SCMM_O_WRITES) != 0;
	if (kind == SCMM_BY_PROTECTION)
		return (value & SCMM_PROT_EXEC) != 0;
	/* linux/socket.h */
	return value == 1 ? 0 : value == 2 ? 1 : value == 10 ? 2 : value == 16 ? 3 : value == 17 ? 4 : 5;
}

/*
 * The state of a call. refined: enum scmm_refined, extra: the number of its second class. A protection in memory that
 * cannot be read fails the call; it counts as the closer one.
 */
static __always_inline u32 state_of(struct pt_regs *regs, u32 nr, u32 abi, u32 refined, u32 extra)
{
	u32 value, which;

	if (!refined)
		return nr;
	if (refined & SCMM_REFINED_MEMORY) {
		/* i386's mmap has its arguments, 32 bits each, where the first one points to. */
		u64 place = early_argument(regs, 0, abi) + (refined >> SCMM_REFINED_INDEX & 7) * 4;

		if (bpf_probe_read_user(&value, sizeof(value), (void *)place))
			value = ~0U;
	} else {
		value = early_argument(regs, refined >> SCMM_REFINED_INDEX & 7, abi);
	}
	which = class_of(refined & SCMM_REFINED_KIND, value);
	return which ? extra + which - 1 : nr;
}

/* The stage that a process is at once it has entered socketcall(2) with this first argument. */
static __always_inline u32 stage_of_socketcall(u32 call)
{
	/* linux/net.h: SYS_LISTEN, SYS_ACCEPT, SYS_ACCEPT4 */
	return call == 4 ? SCMM_LISTENING : call == 5 || call == 18 ? SCMM_ACCEPTING : SCMM_STARTING;
}

#endif
