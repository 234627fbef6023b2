/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
/*
 * What transitions lead from and to, in the recorder's and the watch's tables; scmm_oci/tables/states.py has the words.
 * tests/unit/test_wire.py compares the numbers.
 */
#ifndef SCMM_STATES_H
#define SCMM_STATES_H

/* Rows and columns of a table of order: calls, the further classes of some, and beginnings. */
#define SCMM_NR_MAX 576
/* Calls end below: x32's at 547, every other ABI's below 512 (Linux 6.18). */
#define SCMM_CALLS 548
#define SCMM_ABIS 3

/* Where an edge comes from that comes from no call: above all calls and classes. */
#define SCMM_FROM_ANY 570	/* the watch's: what the thread did before is not known */
#define SCMM_FROM_EXEC 571	/* a program begins */
#define SCMM_FROM_FORK 572	/* a process begins */
#define SCMM_FROM_THREAD 573
#define SCMM_FROM_SIGNAL 574	/* a signal handler begins */
#define SCMM_FROM_FOREIGN 575	/* the call before was one of another ABI */
/* No state: `from` when the past is not known, `from2` when there is none. */
#define SCMM_FROM_NONE 0xffff

enum scmm_abi {
	SCMM_NATIVE = 0,
	SCMM_COMPAT = 1,	/* 32-bit: i386 on x86_64, arm on aarch64 */
	SCMM_X32 = 2,
};

/*
 * How a call's class is found: a kind, the index of the argument, and whether the arguments lie where the first one
 * points to. Of the classes the first has the call's own number, the others follow one another from another number on.
 */
enum scmm_refined {
	SCMM_REFINED_KIND = 3,
	SCMM_BY_ACCESS = 1,	/* reads, writes */
	SCMM_BY_PROTECTION = 2,	/* not executable, executable */
	SCMM_BY_FAMILY = 3,	/* unix, inet, inet6, netlink, packet, others */
	SCMM_REFINED_INDEX = 2,	/* shift */
	SCMM_REFINED_MEMORY = 32,
};

/* How far a process has got. Of two that are known of one, the greater holds. */
enum scmm_stage {
	SCMM_STARTING = 0,
	SCMM_LISTENING = 1,	/* it has entered listen */
	SCMM_STAGE_UNKNOWN = 2,	/* it ran before it was recorded, and has not entered accept since */
	SCMM_ACCEPTING = 3,	/* it has entered accept or accept4 */
	SCMM_STAGES = 4,
};

#endif
