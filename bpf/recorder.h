/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
/*
 * The wire layout between recorder.bpf.c and scmm_oci/recorder/wire.py.
 *
 * Every structure is naturally aligned and has no hidden padding, so that Python can unpack it with
 * a fixed struct format. tests/unit/test_wire.py compiles this header and compares each size and offset.
 */
#ifndef SCMM_RECORDER_H
#define SCMM_RECORDER_H

#include "states.h"

/* Recordings at once. */
#define SCMM_SLOTS 256
/* Cgroups followed at once, over all recordings, and below one container. */
#define SCMM_CGROUPS 16384
#define SCMM_CGROUPS_PER_SLOT 1024
/* Session 0 is the container's own process; late entrants follow; the last one takes all further ones. */
#define SCMM_SESSIONS 8
#define SCMM_PHASES 3
/* Call tables for all recordings together unless the user side asks for another number: 9 MiB. */
#define SCMM_SETS 256
/* Of which one recording may have: all sessions and phases of the native ABI, and some for the others. */
#define SCMM_SETS_PER_SLOT 32
/* Tables of order for all recordings together: 40 KiB each, a recording takes one for each ABI and stage that it reaches. */
#define SCMM_EDGES 256
#define SCMM_EDGE_WORDS (SCMM_NR_MAX * SCMM_NR_MAX / 64)
/*
 * Facts kept for all recordings together unless the user side asks for another number; one recording may have half.
 * They take memory as they come: 256 bytes each, 1 KiB with more than SCMM_SHORT bytes of names, 16 KiB with more
 * than SCMM_MEDIUM.
 */
#define SCMM_FACTS 131072
#define SCMM_FACTS_MEDIUM 65536
#define SCMM_FACTS_LONG 1024
#define SCMM_SHORT 96
#define SCMM_MEDIUM 864
#define SCMM_LONG 8192
/* Argument values for all recordings, for one recording, and for one argument: beyond, that one is open-ended. */
#define SCMM_ARGUMENTS 65536
#define SCMM_ARGUMENTS_PER_SLOT 16384
#define SCMM_VALUES 128
/* Three calls that followed one another, for all recordings and for one. */
#define SCMM_TRIPLES 65536
#define SCMM_TRIPLES_PER_SLOT 16384
/* Programs that can be told apart; the last number stands for all further ones. */
#define SCMM_PROGRAMS 64
/* Signal handlers inside one another whose place is remembered. */
#define SCMM_HANDLERS 4
/* Calls and arguments that a thread made lately, by hash. */
#define SCMM_RECENT 8
/* Threads recorded at once unless the user side asks for another number: 2 MiB. */
#define SCMM_THREADS 16384
/* Arguments kept of one call. */
#define SCMM_SPECS 4
/* Bits of a filter on cgroup ids. */
#define SCMM_HOT_WORDS 64
/* errno values end at 133 (EHWPOISON); bit n stands for errno n. */
#define SCMM_ERRNO_WORDS 3
#define SCMM_ERRNO_MAX (SCMM_ERRNO_WORDS * 64)

enum scmm_phase {
	SCMM_SETUP = 0,		/* until the thread's seccomp filter is loaded */
	SCMM_RUNTIME = 1,	/* from there to the execve of the payload */
	SCMM_APP = 2,		/* the payload and everything it starts */
};

/* What could not be kept, per slot. Any of them but SESSIONS_SHARED and BAD_NUMBER makes a capture incomplete. */
enum scmm_counter {
	SCMM_LOST_CGROUPS = 0,		/* child cgroups that did not fit into the cgroup table */
	SCMM_LOST_THREADS = 1,		/* threads without task storage: their calls are not recorded */
	SCMM_LOST_CALLS = 2,		/* calls for which no call table was left */
	SCMM_LEFT_CGROUP = 3,		/* threads of the payload that moved out of the recorded cgroups */
	SCMM_BAD_NUMBER = 4,		/* calls with a number no kernel has: answered ENOSYS, so nothing is lost */
	SCMM_SESSIONS_SHARED = 5,	/* late entrants that share the last session */
	SCMM_LOST_ARGUMENTS = 6,	/* argument values that did not fit */
	SCMM_LOST_FILES = 7,		/* names that did not fit, or could not be read */
	SCMM_LOST_SOCKETS = 8,		/* the same of socket addresses */
	SCMM_LOST_PROGRAMS = 9,		/* executed programs about which something could not be found out */
	SCMM_LOST_ORDER = 10,		/* calls whose place in the order could not be kept */
	SCMM_PROGRAMS_SHARED = 11,	/* programs that share the last number */
	SCMM_UNFOLLOWED = 12,		/* child processes that were not to be followed */
	SCMM_COUNTERS = 13,
};

enum scmm_slot_flag {
	SCMM_ATTACHED = 1,		/* what runs already is the program, in the phase app */
	SCMM_NO_FOLLOW = 2,		/* child processes are not recorded */
	SCMM_DEPTH_3 = 4,		/* three calls that followed one another are kept, too */
};

enum scmm_thread_flag {
	SCMM_FOLLOWED = 1,		/* recorded wherever it goes, not for its cgroup */
	SCMM_NEW = 2,			/* its program is yet to be noted */
	SCMM_DEEP = 4,			/* its recording has SCMM_DEPTH_3 */
};

struct scmm_cgroup_key {
	__u64 id;		/* inode number of the cgroup directory */
	__u32 hierarchy;	/* first field of /proc/PID/cgroup: 0 is cgroup v2 */
	__u32 pad;
};

struct scmm_target {
	__u32 slot;
	__u32 epoch;		/* must equal scmm_slot.epoch: a slot is used again by later recordings */
};

struct scmm_slot {
	__u32 epoch;		/* 0: free */
	__u32 mntns;		/* inode of the container's mount namespace; 0: shares the host's */
	__u32 sessions;		/* number given out */
	__u32 sets;		/* number given out */
	__u32 init;		/* process that was seen first, in the initial pid namespace */
	__u32 cgroups;		/* cgroups below the container's own, now */
	__u32 flags;		/* enum scmm_slot_flag */
	__u32 threads;		/* recorded threads that live */
	__u32 facts;		/* number kept, of those in the maps facts… */
	__u32 arguments;	/* number kept */
	__u32 programs;		/* numbers given out */
	__u32 triples;		/* number kept */
	__u32 edges_of[SCMM_ABIS * SCMM_STAGES];	/* index + 1 into the tables of order; 0: none yet */
	__u64 started;		/* CLOCK_MONOTONIC, ns */
	__u64 counters[SCMM_COUNTERS];
	__u32 set_of[SCMM_SESSIONS * SCMM_PHASES * SCMM_ABIS];	/* index + 1 into the sets; 0: none yet */
};

/* Written by the user side only. */
struct scmm_config {
	__u32 v1_controller;	/* the v1 controller that tells containers apart, see controller_ssid(); 0: none */
	__u32 v1_hierarchy;	/* and that hierarchy's number */
	__u32 sets;		/* entries of the sets map */
	__u32 edges;		/* entries of the map of tables of order */
	__u32 facts_per_slot;
	__u32 threads;		/* … and of threads */
	__u32 generation;	/* counts up when a thread may have become one to record, see struct scmm_last */
	__u32 pad;
	__u64 seed;		/* of the hashes, so that nobody can aim at a collision */
	__u64 hot[SCMM_HOT_WORDS];	/* bit ID mod 4096 is set for every cgroup id that is a target */
};

/* Written by the programs only. */
struct scmm_state {
	__u32 fresh;		/* sets never handed out yet begin here */
	__u32 fresh_edges;	/* the same for tables of order, and of threads */
	__u32 fresh_threads;
	__u32 generation;	/* as in the configuration */
	__u32 stages;		/* counts up when a process comes to another stage */
	__u32 pad;
	__u64 hot[SCMM_HOT_WORDS];	/* as in the configuration, of cgroups that were made below targets */
};

struct scmm_call {
	__u64 entered;
	__u64 succeeded;
	__u64 errnos[SCMM_ERRNO_WORDS];
	__u32 denied;		/* refused before it began, by a seccomp filter that was there already */
	__u32 denied_errno;	/* with this errno, the last time */
	__u64 programs;		/* bit n: program n made it; only in the phase app */
	__u64 first;		/* when it was made first, CLOCK_MONOTONIC in ns */
};

struct scmm_set {
	__u32 epoch;		/* of the recording that has it; 0: free */
	__u16 session;
	__u8 phase;
	__u8 abi;
	struct scmm_call calls[SCMM_NR_MAX];
};

struct scmm_edges {
	__u32 epoch;		/* of the recording that has it; 0: free */
	__u16 abi;
	__u16 stage;		/* enum scmm_stage */
	__u64 bits[SCMM_EDGE_WORDS];	/* bit FROM * SCMM_NR_MAX + TO */
};

/* What a signal handler interrupted. */
struct scmm_handler {
	__u64 stack;		/* the stack pointer then, to which the handler's end returns */
	__u16 from;
	__u16 restart;
	__u8 from_abi;
	__u8 pad;
	__u16 from2;
};

/* In the storage of a process's first thread. */
struct scmm_reached {
	__u32 epoch;		/* of the recording that saw it */
	__u32 stage;		/* enum scmm_stage */
};

/* That three calls followed one another. The map's value is 1. */
struct scmm_triple_key {
	__u32 epoch;
	__u16 before;
	__u16 from;
	__u16 to;
	__u8 abi;
	__u8 stage;
};

/*
 * In a task's storage: where its state is. The user side writes it for processes that it follows, without an index;
 * the rest says how the state begins.
 */
struct scmm_seat {
	__u32 index;		/* of its struct scmm_thread + 1; 0: none yet */
	__u32 slot;
	__u32 epoch;
	__u8 phase;
	__u8 flags;		/* enum scmm_thread_flag */
	__u16 pad;
};

/*
 * What the recorder knows of one thread. In an array, not in the task's storage: an array is looked into without a call,
 * and on processors that guard against return prediction each call costs as much as all the rest.
 */
struct scmm_thread {
	__u64 regs;		/* address of its struct pt_regs, which no other living thread has; 0: not seen yet */
	__u64 place;		/* address of its css_set when it was seen last */
	__u32 slot;
	__u32 epoch;
	__u32 session;		/* number + 1; 0: not given yet */
	__u32 set;		/* index + 1 of the native call table of this phase; 0: look it up */
	__s32 pending_nr;	/* the call it is in, or one of enum scmm_pending */
	__u32 pending_set;	/* and the table that call was entered into */
	__u32 edges;		/* index + 1 of the native table of order of this stage; 0: look it up */
	__u16 from;		/* the state before: a call, a class or a beginning */
	__u8 from_abi;
	__u8 phase;
	__u8 program;
	__u8 flags;		/* enum scmm_thread_flag */
	__u8 depth;		/* signal handlers it is in */
	__u8 stage;		/* of its process, as far as it has seen */
	__u16 restart;		/* number + 1 of a call that ended to be made again by the kernel, or 0 */
	__u16 restart_code;	/* ERESTART… */
	__u32 missed;		/* epoch of a recording that goes without it, and has counted it as lost */
	__u32 stages;		/* scmm_state.stages when it looked for its process's stage last */
	__u16 from2;		/* with SCMM_DEEP: the last state that was another than from */
	__u16 pad[3];
	struct scmm_handler handlers[SCMM_HANDLERS];
	__u64 nsproxy;		/* address of its struct nsproxy when it was looked at last … */
	__u64 top;		/* … and then of the mount where its mount namespace begins; 0: not the container's */
	__u64 root_mount;	/* mount and dentry of its root directory, when that was found to be … */
	__u64 root_dentry;	/* … the root of its mount namespace */
	__u64 recent[SCMM_RECENT];
};

/* Of a CPU: which thread made a call there last, and where its state is. */
struct scmm_last {
	__u64 regs;
	__u32 index;		/* + 1; 0: it is not recorded */
	__u32 generation;	/* the sum of both generations then: since, no thread has become one to record */
};

enum scmm_pending {
	SCMM_NO_CALL = -1,
	SCMM_UNCOUNTED = -2,	/* in a call that is not to be counted when it ends */
};

/* How an argument is read: bits of scmm_plan.specs[]. 0 is none. */
enum scmm_spec {
	SCMM_SPEC_INDEX = 7,	/* index + 1 */
	SCMM_SPEC_WIDE = 8,	/* 64 bits count */
	SCMM_SPEC_PAIR = 16,	/* with the next argument: first << 32 | second */
	SCMM_SPEC_MEMORY = 32,	/* the argument points to it … */
	SCMM_SPEC_OFFSET = 6,	/* … this shift gives the offset in words of 8 bytes, 0 to 3 */
};

enum scmm_plan_bit {
	SCMM_PLAN_ARGUMENTS = 1,	/* specs of registers */
	SCMM_PLAN_MEMORY = 2,		/* specs of memory */
	SCMM_PLAN_SIGRETURN = 4,
	SCMM_PLAN_RESTART = 8,		/* restart_syscall */
	SCMM_PLAN_FLAGS_MEMORY = 16,	/* the flags are what the flags argument points to */
	SCMM_PLAN_LISTEN = 32,		/* the process listens from here on */
	SCMM_PLAN_ACCEPT = 64,
	SCMM_PLAN_SOCKETCALL = 128,	/* … one of these, by its first argument */
};

#define SCMM_NO_ARGUMENT 7

/* What to keep of a call; scmm_oci/recorder/plans.py makes it from scmm_oci/tables. */
struct scmm_plan {
	__u8 bits;		/* enum scmm_plan_bit */
	__u8 kind;		/* scmm_oci/tables/operations.py, KINDS */
	__u8 ops[2];		/* … OPERATIONS, of up to two names */
	__u8 dirfds[2];		/* argument index, or SCMM_NO_ARGUMENT: the current directory */
	__u8 names[2];		/* argument index; SCMM_NO_ARGUMENT: no such name */
	__u8 flags;		/* argument index, or SCMM_NO_ARGUMENT */
	__u8 specs[SCMM_SPECS];
	__u8 refined;		/* enum scmm_refined; 0: it has no classes */
	__u16 extra;		/* number of its second class */
	__u32 mask;		/* which flags matter */
	__u32 implied;		/* flags that the call has of itself */
	__u32 masks[SCMM_SPECS];	/* which of the low 32 bits of an argument matter */
};

enum scmm_fact_kind {
	SCMM_FILE = 1,
	SCMM_SOCKET = 2,
	SCMM_PROGRAM = 3,
};

enum scmm_fact_state {
	SCMM_AS_NAMED = 1,	/* data begins with a name out of the arguments */
	SCMM_OUTSIDE = 2,	/* the walk ended elsewhere than at the root of the mount namespace */
	SCMM_DELETED = 4,
	SCMM_INTERNAL = 8,	/* on a file system that cannot be mounted by users: pipes, sockets, memfd */
	SCMM_CREATED = 16,
	SCMM_TOO_DEEP = 32,
	SCMM_FOREIGN_MOUNTS = 64,	/* seen from another mount namespace than the container's */
};

/* Of what a fact is: a hash of its data and of all that tells it apart. */
struct scmm_fact_key {
	__u64 a;
	__u64 b;
	__u32 epoch;
	__u8 kind;		/* enum scmm_fact_kind */
	__u8 op;
	__u8 size;		/* 0: short, 1: medium, 2: long. The map facts has those of size 0, and stubs of the others */
	__u8 pad;
};

struct scmm_fact {
	__u64 programs;		/* bit n: program n did it */
	__u64 first;		/* CLOCK_MONOTONIC, ns */
	__u64 errnos[SCMM_ERRNO_WORDS];
	__u64 other;		/* a second name: key.a of the first */
	__u32 succeeded;
	__u32 failed;
	__u32 detail;		/* flags; of programs and what was executed: the program's number */
	__u32 info;		/* files: the type bits of the inode's mode; sockets: type | protocol << 16 */
	__u16 name_length;	/* bytes of the name that data begins with */
	__u16 base_length;	/* and of the components after it, last one first, each with a slash after it */
	__u32 sessions;		/* bit n: session n did it */
	__u8 state;		/* enum scmm_fact_state */
	__u8 size;		/* of which map the data is in */
	__u16 pad;
	__u32 pad2;
	/* then SCMM_SHORT, SCMM_MEDIUM or SCMM_LONG bytes of data */
};

/* Of an argument: a value, or (with SCMM_VALUE_COUNT) how many there are. The map's value is a count. */
struct scmm_argument_key {
	__u64 value;
	__u32 epoch;
	__u16 nr;
	__u8 abi;
	__u8 spec;		/* index into scmm_plan.specs */
};

#define SCMM_VALUE_COUNT 0x80

#endif
