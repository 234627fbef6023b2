/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
/*
 * The wire layout between watch.bpf.c and scmm_oci/watch/wire.py; tests/unit/test_watch_wire.py compares them. Every
 * structure is naturally aligned and has no hidden padding.
 */
#ifndef SCMM_WATCH_H
#define SCMM_WATCH_H

#include "states.h"
#include "recorder.h"	/* keys of cgroups, and how many there may be */

/* Watches at once. */
#define SCMM_WATCHES 256
/* Machines for all watches together unless the user side asks for another number, 41 KiB each; and depths. */
#define SCMM_MACHINES 128
#define SCMM_DEEPS 16
/* Start-up and serving. */
#define SCMM_WATCH_PHASES 2
/* The last alerts of each watch that are kept, and how many it may write within a second. */
#define SCMM_WATCH_ALERTS 16
#define SCMM_WATCH_RATE 16
/* Threads whose state is found at once, without asking for their storage. */
#define SCMM_WATCH_PLACES 16384
/* Calls that a thread made lately. */
#define SCMM_WATCH_RECENT 16
/* Signal handlers inside one another whose place is remembered. */
#define SCMM_WATCH_HANDLERS 8
#define SCMM_WATCH_NAME 64
#define SCMM_WATCH_PATH 256
#define SCMM_STATE_WORDS (SCMM_NR_MAX / 64)
#define SCMM_MACHINE_WORDS (SCMM_NR_MAX * SCMM_NR_MAX / 64)
/* Slots of a table of triples, a power of two, and how many are looked at for one of them. */
#define SCMM_TRIPLE_SLOTS 16384
#define SCMM_TRIPLE_PROBES 16

enum scmm_watch_action {
	SCMM_WATCH_COUNT = 0,
	SCMM_WATCH_ALERT = 1,
	SCMM_WATCH_FREEZE = 2,
	SCMM_WATCH_KILL = 3,
};

enum scmm_watch_flag {
	SCMM_WATCH_ATTACHED = 1,	/* what runs already is the program */
};

enum scmm_watch_phase {
	SCMM_STARTUP = 0,
	SCMM_SERVING = 1,
};

enum scmm_watch_counter {
	SCMM_VIOLATIONS = 0,
	SCMM_ALERTED = 1,		/* alerts that were written */
	SCMM_KILLS = 2,			/* kills sent */
	SCMM_FREEZES = 3,		/* violations that stopped their process */
	SCMM_FAILED = 4,		/* signals that the kernel did not send */
	SCMM_UNREPORTED = 5,		/* violations without an alert, as there were too many */
	SCMM_NO_HANDLER = 6,		/* violations: the end of a handler where none runs */
	SCMM_NO_MACHINE = 7,		/* violations: calls of an ABI that the policy says nothing of */
	SCMM_LEFT = 8,			/* threads that moved out of the watched cgroups */
	SCMM_UNWATCHED = 9,		/* threads for which there was no memory */
	SCMM_UNWATCHED_CGROUPS = 10,	/* cgroups below the container's for which there was no room; who is in them is watched by those above */
	SCMM_LOST_HANDLERS = 11,	/* interrupted places that were forgotten: too many handlers */
	SCMM_NO_CALLS = 12,		/* calls with a number that no kernel has */
	SCMM_ENTERED = 13,		/* threads that came in from outside */
	SCMM_SERVE = 14,		/* processes that began to serve */
	SCMM_WATCH_COUNTERS = 15,
};

enum scmm_alert_kind {
	SCMM_EDGE = 1,			/* the machine does not have it */
	SCMM_NOT_IN_HANDLER = 2,
	SCMM_ABI_WITHOUT_MACHINE = 3,
	SCMM_MOVED_OUT = 4,		/* no violation, and told once for each thread */
};

enum scmm_alert_action {
	SCMM_DID_NOTHING = 0,
	SCMM_DID_FREEZE = 1,
	SCMM_DID_KILL = 2,
	SCMM_DID_FAIL = 3,
};

/* Whether a watch lives, by number. Written by the user side; the programs set `frozen`. */
struct scmm_live {
	__u32 epoch;		/* 0: it does not */
	__u32 frozen;		/* all that its threads do is stop; another number each time, 0: they go on */
	__u64 started;		/* when all of it was in place: CLOCK_MONOTONIC, ns; before that, what is never reached */
};

/* A watch. Written whole by the user side at its beginning, and kept after its end until the next one takes its place. */
struct scmm_watch {
	__u32 epoch;
	__u32 mntns;		/* inode of the container's mount namespace; 0: shares the host's */
	__u32 init;		/* process that was seen first, in the initial pid namespace */
	__u32 flags;		/* enum scmm_watch_flag */
	__u32 action;		/* enum scmm_watch_action */
	__u32 cgroups;		/* cgroups below the container's own, now */
	__u32 threads;		/* watched threads that live */
	__u32 in_second;	/* alerts written in `second` */
	__u32 machines[SCMM_WATCH_PHASES * SCMM_ABIS];	/* index + 1; 0: none */
	__u64 launcher_dev;	/* file that is no program: device as struct super_block has it … */
	__u64 launcher_ino;	/* … and inode; 0: none */
	__u64 alerts;		/* numbers given out */
	__u64 second;		/* CLOCK_MONOTONIC, s */
	__u64 counters[SCMM_WATCH_COUNTERS];
	char name[SCMM_WATCH_NAME];
};

/* The order of calls in one phase and ABI; the same for all watches that have the same. */
struct scmm_machine {
	__u32 deep;		/* index + 1; 0: only the call before matters */
	__u32 switching;	/* 1: some state begins the serving phase */
	__u64 switches[SCMM_STATE_WORDS];	/* states that begin it */
	__u64 bits[SCMM_MACHINE_WORDS];	/* bit FROM * SCMM_NR_MAX + TO */
};

/*
 * What holds where the call before that is known. A triple is (FROM2 << 20 | FROM << 10 | TO) + 1 at the first free
 * slot from (triple * multiplier >> 18) on, modulo SCMM_TRIPLE_SLOTS; the user side chooses a multiplier by which none is
 * further away than SCMM_TRIPLE_PROBES.
 */
struct scmm_deep {
	__u32 multiplier;
	__u32 pad;
	__u64 pairs[SCMM_MACHINE_WORDS];	/* bit FROM2 * SCMM_NR_MAX + FROM: this pair has a list of its own */
	__u32 triples[SCMM_TRIPLE_SLOTS];	/* 0: free */
};

/* What is special about a call. */
enum scmm_watch_plan_bit {
	SCMM_WATCH_SIGRETURN = 1,
	SCMM_WATCH_RESTART = 2,		/* restart_syscall */
	SCMM_WATCH_SOCKETCALL = 4,
};

struct scmm_watch_plan {
	__u8 refined;		/* enum scmm_refined */
	__u8 bits;		/* enum scmm_watch_plan_bit */
	__u16 extra;		/* number of the second class */
};

struct scmm_alert {
	__u64 seq;		/* from 1; 0 while it is being written */
	__u64 at;		/* CLOCK_MONOTONIC, ns */
	__u64 leader_started;	/* start of the process, ns */
	__u64 ip;		/* where the call was made, in the program */
	__u64 args[6];
	__u32 epoch;
	__u32 watch;
	__u32 tgid;		/* in the initial pid namespace */
	__u32 tid;
	__u32 ns_tgid;		/* in its own */
	__u32 made;		/* calls that `recent` has, the last one before `recent_at` modulo its size */
	__u16 from2;
	__u16 from;
	__u16 to;
	__u16 path_length;
	__u8 kind;		/* enum scmm_alert_kind */
	__u8 action;		/* enum scmm_alert_action */
	__u8 phase;
	__u8 abi;
	__u8 path_whole;	/* it goes up to the root of its mount namespace */
	__u8 recent_at;
	__u8 pad[2];
	__u16 recent[SCMM_WATCH_RECENT];
	char comm[16];
	char path[SCMM_WATCH_PATH];	/* of the program: components, the last one first, each with a slash after it */
	__u64 again;		/* seq again: what was read between two equal numbers is whole */
};

/* Written by the user side only. */
struct scmm_watch_config {
	__u32 v1_controller;	/* as in struct scmm_config */
	__u32 v1_hierarchy;
	__u32 generation;	/* counts up when what threads have looked up may be something else */
	__u32 pad;
	__u64 hot[SCMM_HOT_WORDS];
};

/* Written by the programs only. */
struct scmm_watch_state {
	__u32 generation;
	__u32 crowded;		/* 1: there was no room for some cgroup */
	__u64 hot[SCMM_HOT_WORDS];
};

enum scmm_watched_flag {
	SCMM_IN_SETUP = 1,		/* came from outside, and is not judged until it executes the program */
	SCMM_FIRST = 2,			/* of the process that was seen first */
	SCMM_PAST_UNKNOWN = 4,		/* it may be in handlers that we have not seen begin */
};

/* What is needed of a thread at each of its calls. */
struct scmm_watched {
	__u64 regs;		/* address of its struct pt_regs, which no other living thread has; 0: free */
	__u64 task;		/* address of its struct task_struct */
	__u64 place;		/* address of its css_set when it was looked up */
	__u64 ip;		/* where it made the last call */
	__u32 generation;	/* when it was looked up */
	__u32 epoch;
	__u16 watch;
	__u16 machine;		/* index + 1 of the native one; 0: look */
	__u16 from;
	__u16 from2;
	__u8 from_abi;
	__u8 phase;
	__u8 flags;		/* enum scmm_watched_flag */
	__u8 at;		/* of `recent`, modulo its size */
	__u32 made;		/* calls that `recent` has */
	__u16 recent[SCMM_WATCH_RECENT];
};

/* What a signal handler interrupted. */
struct scmm_interrupted {
	__u64 stack;
	__u64 ip;
	__u16 from;
	__u16 from2;
	__u8 from_abi;
	__u8 pad[3];
};

#define SCMM_HERE 0xffffffff	/* a thread's state is in its storage */

/* In a task's storage. */
struct scmm_member {
	__u32 place;		/* index + 1 of its struct scmm_watched in the array, or SCMM_HERE; 0: it has none */
	__u32 left;		/* epoch of the watch that it moved out of */
	__u32 serves;		/* of a group leader: epoch of the watch in which its process serves; 0: it does not */
	__u8 depth;		/* handlers it is in */
	__u8 forgotten;		/* and those whose places are not remembered any more */
	__u16 pad;
	__u32 stopped;		/* `frozen` of the watch when it was stopped last */
	__u32 pad2;
	struct scmm_interrupted handlers[SCMM_WATCH_HANDLERS];
	struct scmm_watched here;
};

/* Of a CPU: which thread made a call there last that is not watched. */
struct scmm_stranger {
	__u64 regs;
	__u32 generation;
	__u32 own_generation;
	__u64 asked;		/* an address that is to be looked up, on its way between two functions */
};

#endif
