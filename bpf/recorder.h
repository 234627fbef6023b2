/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
/*
 * The wire layout between recorder.bpf.c and scmm_oci/recorder/wire.py.
 *
 * Every structure is naturally aligned and has no hidden padding, so that Python can unpack it with
 * a fixed struct format. tests/unit/test_wire.py compiles this header and compares each size and offset.
 */
#ifndef SCMM_RECORDER_H
#define SCMM_RECORDER_H

/* Largest syscall number kept, plus one: x32 ends at 547, every other ABI below 512 (Linux 6.18). */
#define SCMM_NR_MAX 576
/* Recordings at once. */
#define SCMM_SLOTS 256
/* Cgroups followed at once, over all recordings, and below one container. */
#define SCMM_CGROUPS 16384
#define SCMM_CGROUPS_PER_SLOT 1024
/* Session 0 is the container's own process; late entrants follow; the last one takes all further ones. */
#define SCMM_SESSIONS 8
#define SCMM_PHASES 3
#define SCMM_ABIS 3
/* Call tables for all recordings together unless the user side asks for another number: 7 MiB. */
#define SCMM_SETS 256
/* Of which one recording may have: all sessions and phases of the native ABI, and some for the others. */
#define SCMM_SETS_PER_SLOT 32
/* errno values end at 133 (EHWPOISON); bit n stands for errno n. */
#define SCMM_ERRNO_WORDS 3
#define SCMM_ERRNO_MAX (SCMM_ERRNO_WORDS * 64)

enum scmm_phase {
	SCMM_SETUP = 0,		/* until the thread's seccomp filter is loaded */
	SCMM_RUNTIME = 1,	/* from there to the execve of the payload */
	SCMM_APP = 2,		/* the payload and everything it starts */
};

enum scmm_abi {
	SCMM_NATIVE = 0,
	SCMM_COMPAT = 1,	/* 32-bit: i386 on x86_64, arm on aarch64 */
	SCMM_X32 = 2,
};

/* What could not be kept, per slot. Any of them but SESSIONS_SHARED and BAD_NUMBER makes a capture incomplete. */
enum scmm_counter {
	SCMM_LOST_CGROUPS = 0,		/* child cgroups that did not fit into the cgroup table */
	SCMM_LOST_THREADS = 1,		/* threads without task storage: their calls are not recorded */
	SCMM_LOST_CALLS = 2,		/* calls for which no call table was left */
	SCMM_LEFT_CGROUP = 3,		/* threads of the payload that moved out of the recorded cgroups */
	SCMM_BAD_NUMBER = 4,		/* calls with a number no kernel has: answered ENOSYS, so nothing is lost */
	SCMM_SESSIONS_SHARED = 5,	/* late entrants that share the last session */
	SCMM_COUNTERS = 6,
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
	__u64 counters[SCMM_COUNTERS];
	__u32 set_of[SCMM_SESSIONS * SCMM_PHASES * SCMM_ABIS];	/* index + 1 into the sets; 0: none yet */
};

/* Set by the user side when the recorder is loaded. */
struct scmm_config {
	__u32 v1_controller;	/* the v1 controller that tells containers apart, see controller_ssid(); 0: none */
	__u32 v1_hierarchy;	/* and that hierarchy's number */
	__u32 sets;		/* entries of the sets map */
	__u32 fresh;		/* sets never handed out yet begin here */
};

struct scmm_call {
	__u64 entered;
	__u64 succeeded;
	__u64 errnos[SCMM_ERRNO_WORDS];
	__u32 denied;		/* refused before it began, by a seccomp filter that was there already */
	__u32 denied_errno;	/* with this errno, the last time */
};

struct scmm_set {
	__u32 epoch;		/* of the recording that has it; 0: free */
	__u16 session;
	__u8 phase;
	__u8 abi;
	struct scmm_call calls[SCMM_NR_MAX];
};

#endif
