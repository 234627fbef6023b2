/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
/*
 * Facts: what was done with which file, address or program, and with which argument values. Each is kept once, in
 * hash maps that take memory as they fill; user space reads them at the end, so there is nothing to overflow on
 * the way. What does not fit is counted.
 */
#ifndef SCMM_FACTS_BPF_H
#define SCMM_FACTS_BPF_H

#include "paths.bpf.h"

#define EFAULT 14
#define EEXIST 17
#define EBADF 9
#define EINTR 4
#define ERESTARTSYS 512
#define ERESTART_RESTARTBLOCK 516
#define AT_FDCWD (-100)
#define AT_EMPTY_PATH 0x1000
#define S_IFMT 0170000
#define S_IFSOCK 0140000
#define S_IFCHR 0020000
#define S_IFBLK 0060000
#define O_TMPFILE_BIT 020000000
#define FMODE_CREATED (1U << 20)	/* linux/fs.h, since 4.19 */
#define FMODE_BACKING (3U << 24)	/* … since 6.5: one of two bits, by version */

/* Operations and kinds that need code of their own; OPERATIONS, KINDS in scmm_oci/tables/operations.py. */
enum op {
	OP_OPEN = 1,
	OP_EXECUTE = 2,
	OP_LOADER = 3,
	OP_SCRIPT = 4,
	OP_CHDIR = 5,
	OP_CHROOT = 6,
	OP_LINK_FROM = 26,
	OP_BIND = 30,
	OP_CONNECT = 31,
};

enum kind {
	KIND_NONE = 0,
	KIND_OPEN = 1,
	KIND_NAMES = 2,
	KIND_CHDIR = 3,
	KIND_EXEC = 4,
	KIND_DESCRIPTOR = 5,
	KIND_DEVICE = 6,
	KIND_ADDRESS = 7,
	KIND_LISTEN = 8,
	KIND_MESSAGE = 9,
	KIND_MESSAGES = 10,
	KIND_SOCKETCALL = 11,
};

struct fact_short {
	struct scmm_fact fact;
	u8 data[SCMM_SHORT];
};

struct fact_medium {
	struct scmm_fact fact;
	u8 data[SCMM_MEDIUM];
};

struct fact_long {
	struct scmm_fact fact;
	u8 data[SCMM_LONG];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, SCMM_FACTS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(key_size, sizeof(struct scmm_fact_key));
	__uint(value_size, sizeof(struct fact_short));
} facts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, SCMM_FACTS_MEDIUM);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(key_size, sizeof(struct scmm_fact_key));
	__uint(value_size, sizeof(struct fact_medium));
} facts_medium SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, SCMM_FACTS_LONG);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(key_size, sizeof(struct scmm_fact_key));
	__uint(value_size, sizeof(struct fact_long));
} facts_long SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, SCMM_ARGUMENTS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(key_size, sizeof(struct scmm_argument_key));
	__uint(value_size, sizeof(u64));
} arguments SEC(".maps");

static __always_inline enum scmm_counter loss_of(u32 kind)
{
	return kind == SCMM_FILE ? SCMM_LOST_FILES : kind == SCMM_SOCKET ? SCMM_LOST_SOCKETS : SCMM_LOST_PROGRAMS;
}

/* Begin a fact: nothing in the buffer, nothing known. */
static __always_inline struct scratch *new_fact(u32 detail, u32 info)
{
	struct scratch *s = scratch();

	if (!s)
		return 0;
	s->length = 0;
	s->fact.state = 0;
	s->fact.name_length = 0;
	s->fact.base_length = 0;
	s->fact.detail = detail;
	s->fact.info = info;
	s->fact.other = 0;
	return s;
}

static __always_inline struct fact_short *insert_fact(struct scratch *s, struct scmm_slot *slot,
						      struct scmm_fact_key *key)
{
	long failed = 0;

	if (slot->facts >= config.facts_per_slot)
		return 0;
	s->fact.programs = 0;
	s->fact.first = bpf_ktime_get_ns();
	s->fact.errnos[0] = s->fact.errnos[1] = s->fact.errnos[2] = 0;
	s->fact.succeeded = s->fact.failed = 0;
	s->fact.sessions = 0;
	s->fact.pad = 0;
	s->fact.pad2 = 0;
	s->fact.size = s->length <= SCMM_SHORT ? 0 : s->length <= SCMM_MEDIUM ? 1 : 2;
	if (s->fact.size) {
		key->size = s->fact.size;
		if (s->fact.size == 1)
			failed = bpf_map_update_elem(&facts_medium, key, &s->fact, BPF_NOEXIST);
		else
			failed = bpf_map_update_elem(&facts_long, key, &s->fact, BPF_NOEXIST);
		key->size = 0;
	}
	if (failed && failed != -EEXIST)
		return 0;
	failed = bpf_map_update_elem(&facts, key, &s->fact, BPF_NOEXIST);
	if (failed && failed != -EEXIST)
		return 0;
	if (!failed)
		__sync_fetch_and_add(&slot->facts, 1);
	return bpf_map_lookup_elem(&facts, key);
}

/*
 * Keep the fact in the buffer. kind_op: kind | op << 8. ret: how the call ended.
 * The part `a` of its key, to which a second name refers; for programs, the number.
 */
__noinline u64 keep(struct scmm_thread *thread, u32 kind_op, long ret)
{
	struct scmm_fact_key key = {};
	struct scratch *s = scratch();
	struct fact_short *kept;
	struct scmm_slot *slot;
	u64 bit, error = -ret;
	u32 steps;

	if (!s || !thread)
		return 0;
	slot = live_slot(thread->slot, thread->epoch);
	if (!slot)
		return 0;
	key.epoch = thread->epoch;
	key.kind = kind_op;
	key.op = kind_op >> 8;
	steps = 4 + s->length / 16;
	if (s->fact.state & SCMM_TOO_DEEP || s->steps < steps || hash_data()) {
		count(slot, loss_of(key.kind));
		return key.kind == SCMM_PROGRAM ? SCMM_PROGRAMS - 1 : 0;
	}
	s->steps -= steps;
	MIX(s, (u64)s->fact.info << 32 | (key.kind == SCMM_PROGRAM ? 0 : s->fact.detail));
	MIX(s, (u64)s->fact.name_length << 32 | (u64)s->fact.state << 16 | (u16)kind_op);
	MIX(s, s->fact.other);
	key.a = s->a;
	key.b = s->b;
	kept = bpf_map_lookup_elem(&facts, &key);
	if (!kept) {
		if (key.kind == SCMM_PROGRAM) {
			u32 number = __sync_fetch_and_add(&slot->programs, 1);

			if (number >= SCMM_PROGRAMS - 1) {
				number = SCMM_PROGRAMS - 1;
				count(slot, SCMM_PROGRAMS_SHARED);
			}
			s->fact.detail = number;
		}
		kept = insert_fact(s, slot, &key);
	}
	if (!kept) {
		count(slot, loss_of(key.kind));
		return key.kind == SCMM_PROGRAM ? SCMM_PROGRAMS - 1 : s->a;
	}
	bit = 1ULL << (thread->program & (SCMM_PROGRAMS - 1));
	if (!(kept->fact.programs & bit))
		__sync_fetch_and_or(&kept->fact.programs, bit);
	bit = 1ULL << ((thread->session - 1) & (SCMM_SESSIONS - 1));
	if (!(kept->fact.sessions & bit))
		__sync_fetch_and_or(&kept->fact.sessions, (u32)bit);
	if (ret >= 0 || error > 4095) {
		__sync_fetch_and_add(&kept->fact.succeeded, 1);
	} else {
		/* A call that a signal ends may be made again or not; here it ended. */
		if (error >= ERESTARTSYS && error <= ERESTART_RESTARTBLOCK)
			error = EINTR;
		__sync_fetch_and_add(&kept->fact.failed, 1);
		if (error < SCMM_ERRNO_MAX) {
			bit = 1ULL << (error & 63);
			if (!(kept->fact.errnos[error >> 6] & bit))
				__sync_fetch_and_or(&kept->fact.errnos[error >> 6], bit);
		}
	}
	return key.kind == SCMM_PROGRAM ? kept->fact.detail : s->a;
}

/* Registers are read as one block: each typed access costs the verifier a search through all of the kernel's types. */
static __always_inline void copy_arguments(struct scratch *s, struct pt_regs *regs, u32 abi)
{
#if defined(__TARGET_ARCH_x86)
	/* struct pt_regs, arch/x86/include/asm/ptrace.h: the entry code's stack, which does not change. */
	enum { BP = 4, BX = 5, R10 = 7, R9 = 8, R8 = 9, CX = 11, DX = 12, SI = 13, DI = 14, COUNT = 15 };
	u64 all[COUNT] = {};

	bpf_probe_read_kernel(all, sizeof(all), regs);
	if (abi == SCMM_COMPAT) {
		s->arguments[0] = (u32)all[BX];
		s->arguments[1] = (u32)all[CX];
		s->arguments[2] = (u32)all[DX];
		s->arguments[3] = (u32)all[SI];
		s->arguments[4] = (u32)all[DI];
		s->arguments[5] = (u32)all[BP];
		return;
	}
	s->arguments[0] = all[DI];
	s->arguments[1] = all[SI];
	s->arguments[2] = all[DX];
	s->arguments[3] = all[R10];
	s->arguments[4] = all[R8];
	s->arguments[5] = all[R9];
#else
	bpf_probe_read_kernel(s->arguments, sizeof(s->arguments), regs);
	s->arguments[0] = BPF_CORE_READ(regs, orig_x0);
	if (abi == SCMM_COMPAT)
		for (int i = 0; i < 6; i++)
			s->arguments[i] = (u32)s->arguments[i];
#endif
}

static __always_inline u64 argument(struct scratch *s, u64 index)
{
	if (index >= 6)
		return 0;
	CHECKED(index);
	return s->arguments[index];
}

/* Keep one value of an argument. nr_abi: nr | abi << 16. */
__noinline int keep_value(struct scmm_thread *thread, u32 nr_abi, u32 spec, u64 value)
{
	struct scmm_argument_key key = {};
	struct scmm_slot *slot;
	u64 *known, one = 1;
	long failed;

	if (!thread)
		return 0;
	key.value = value;
	key.epoch = thread->epoch;
	key.nr = nr_abi;
	key.abi = nr_abi >> 16;
	key.spec = spec;
	if (bpf_map_lookup_elem(&arguments, &key))
		return 0;
	slot = live_slot(thread->slot, thread->epoch);
	if (!slot)
		return 0;
	key.value = 0;
	key.spec = spec | SCMM_VALUE_COUNT;
	known = bpf_map_lookup_elem(&arguments, &key);
	if (known && *known >= SCMM_VALUES) {
		*known = SCMM_VALUES + 1;
		return 0;
	}
	if (slot->arguments >= SCMM_ARGUMENTS_PER_SLOT) {
		count(slot, SCMM_LOST_ARGUMENTS);
		return 0;
	}
	if (!known) {
		u64 none = 0;

		bpf_map_update_elem(&arguments, &key, &none, BPF_NOEXIST);
		known = bpf_map_lookup_elem(&arguments, &key);
	}
	key.value = value;
	key.spec = spec;
	failed = known ? bpf_map_update_elem(&arguments, &key, &one, BPF_NOEXIST) : -1;
	if (failed && failed != -EEXIST) {
		count(slot, SCMM_LOST_ARGUMENTS);
		return 1;
	}
	if (!failed && known) {
		__sync_fetch_and_add(known, 1);
		__sync_fetch_and_add(&slot->arguments, 1);
	}
	return 0;
}

static __always_inline u64 value_of(struct scratch *s, u32 spec, u32 mask)
{
	u32 index = (spec & SCMM_SPEC_INDEX) - 1;
	u64 value = argument(s, index);

	if (spec & SCMM_SPEC_PAIR)
		return (u64)(u32)value << 32 | (u32)argument(s, index + 1);
	if (spec & SCMM_SPEC_WIDE)
		return value & (~0ULL << 32 | mask);
	return value & mask;
}

/* Keep the arguments of a call that are in registers, unless this thread made the same call lately. */
static __noinline int keep_arguments(u64 regs, struct scmm_thread *thread, u32 nr, u32 abi)
{
	struct scmm_plan *plan = plan_of(abi, nr);
	struct scratch *s = scratch();
	u32 nr_abi = nr | abi << 16, failed = 0;
	u64 values[SCMM_SPECS] = {}, hash;

	if (!s || !plan || !thread)
		return 0;
	copy_arguments(s, (void *)regs, abi);
	/* A state that another recording's thread had before remembers what it kept for that one. */
	hash = config.seed ^ ((u64)thread->epoch << 32 | nr_abi << 8 | thread->program);
	hash *= 0x9e3779b97f4a7c15ULL;
#pragma unroll
	for (int i = 0; i < SCMM_SPECS; i++) {
		if (!plan->specs[i])
			break;
		if (plan->specs[i] & SCMM_SPEC_MEMORY)
			continue;
		values[i] = value_of(s, plan->specs[i], plan->masks[i]);
		hash = (hash ^ values[i]) * 0xd6e8feb86659fd93ULL;
		hash ^= hash >> 32;
	}
	if (thread->recent[hash % SCMM_RECENT] == hash)
		return 0;
#pragma unroll
	for (int i = 0; i < SCMM_SPECS; i++) {
		if (!plan->specs[i])
			break;
		if (!(plan->specs[i] & SCMM_SPEC_MEMORY))
			failed |= keep_value(thread, nr_abi, i, values[i]);
	}
	if (!failed)
		thread->recent[hash % SCMM_RECENT] = hash;
	return 0;
}

/* Keep the arguments that lie in memory; read when the call ends, because then the page is there. */
static __always_inline void keep_memory(struct scratch *s, struct scmm_thread *thread, struct scmm_plan *plan, u32 nr_abi,
					long ret)
{
#pragma unroll
	for (int i = 0; i < SCMM_SPECS; i++) {
		u32 spec = plan->specs[i];
		u64 value = 0;

		if (!(spec & SCMM_SPEC_MEMORY))
			continue;
		if (bpf_probe_read_user(&value, sizeof(value),
					(void *)argument(s, (spec & SCMM_SPEC_INDEX) - 1) + (spec >> SCMM_SPEC_OFFSET) * 8)) {
			if (ret >= 0)
				count_loss(thread, SCMM_LOST_ARGUMENTS);
			continue;
		}
		if (!(spec & SCMM_SPEC_WIDE))
			value = (u32)value;
		keep_value(thread, nr_abi, i, value);
	}
}

/*
 * Keep a name that stands at the beginning of the buffer, with where it begins: the current directory, the directory
 * of the descriptor s->dirfd, or the task's root, which is another than the container's after chroot(2).
 */
__noinline u64 keep_name(struct scmm_thread *thread, u32 op, long ret)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct fs_struct *fs = BPF_CORE_READ(task, fs);
	struct scratch *s = scratch();
	struct path *base = 0;

	if (!s || !fs || !thread)
		return 0;
	if (s->data[0] == '/') {
		base = 0;
	} else if ((int)s->dirfd == AT_FDCWD) {
		base = &fs->pwd;
	} else {
		struct file *file = (void *)file_of(s->dirfd);

		if (!file) {
			if (ret != -EBADF)
				count_loss(thread, SCMM_LOST_FILES);
			return 0;
		}
		base = &file->f_path;
	}
	s->fact.name_length = s->length;
	if (base)
		walk_path(thread, base);
	else
		walk_root(thread, fs);
	s->fact.base_length = s->length - s->fact.name_length;
	s->fact.state |= SCMM_AS_NAMED;
	return keep(thread, SCMM_FILE | op << 8, ret);
}

u64 keep_file(struct scmm_thread *thread, u64 address, u32 op, u32 detail, long ret);

/* Read and keep one of a call's names; what keep() gives. */
static __always_inline u64 name(struct scmm_thread *thread, struct scmm_plan *plan, u32 which, u32 detail, u64 other,
				long ret)
{
	struct scratch *s;
	long length;

	s = new_fact(detail, 0);
	if (!s)
		return 0;
	length = bpf_probe_read_user_str(s->data, LONGEST_NAME, (void *)argument(s, plan->names[which]));
	if (length < 0) {
		/* utimensat(2) and others take no name at all, and then use the descriptor. */
		if (ret != -EFAULT && argument(s, plan->names[which]))
			count_loss(thread, SCMM_LOST_FILES);
		return 0;
	}
	/* Where a file is linked from counts, even when it is a descriptor that says so. */
	if (length == 1 && plan->ops[which] == OP_LINK_FROM && detail & AT_EMPTY_PATH) {
		u64 file = file_of(argument(s, plan->dirfds[which]));

		return file ? keep_file(thread, file, OP_LINK_FROM, detail, ret) : 0;
	}
	/* Longer ones are none (ENAMETOOLONG); an empty one means the descriptor, or nothing. */
	if (length >= LONGEST_NAME || length <= 1)
		return 0;
	s->length = length - 1;
	s->fact.other = other;
	s->dirfd = AT_FDCWD;
	if (plan->dirfds[which] != SCMM_NO_ARGUMENT)
		s->dirfd = argument(s, plan->dirfds[which]);
	return keep_name(thread, plan->ops[which], ret);
}

/*
 * What overlayfs maps is a file of one of its layers, on a mount that is nowhere; since 6.8 the path that the program
 * sees stands beside it. The flag has changed its place, so what stands there has to look like a path, too.
 */
static __always_inline void above_layer(struct file *file, struct path *path)
{
	struct path seen = {};

	if (!bpf_core_field_exists(struct backing_file, user_path) || !(BPF_CORE_READ(file, f_mode) & FMODE_BACKING))
		return;
	read_path((void *)file + bpf_core_field_offset(struct backing_file, user_path), &seen);
	if (seen.mnt && seen.dentry && BPF_CORE_READ(seen.mnt, mnt_sb) == BPF_CORE_READ(seen.dentry, d_sb) &&
	    BPF_CORE_READ(seen.mnt, mnt_sb))
		*path = seen;
}

/* Keep the file of a descriptor, under its own path; what keep() gives. */
__noinline u64 keep_file(struct scmm_thread *thread, u64 address, u32 op, u32 detail, long ret)
{
	struct file *file = (void *)address;
	struct path path = {};
	struct dentry *dentry;
	struct scratch *s;
	u32 state = 0;

	s = new_fact(detail, BPF_CORE_READ(file, f_inode, i_mode) & S_IFMT);
	if (!s || !thread)
		return 0;
	read_path(&file->f_path, &path);
	if (op == OP_LOADER)
		above_layer(file, &path);
	dentry = path.dentry;
	if (op == OP_OPEN && BPF_CORE_READ(file, f_mode) & FMODE_CREATED)
		state = SCMM_CREATED;
	/* A file without a name; it is in its directory's reach. */
	if (op == OP_OPEN && detail & O_TMPFILE_BIT)
		dentry = BPF_CORE_READ(dentry, d_parent);
	walk(thread, (u64)dentry, (u64)path.mnt);
	s->fact.state |= state;
	s->fact.base_length = s->length;
	return keep(thread, SCMM_FILE | op << 8, ret);
}

/* Keep what the file of a descriptor is, if it is a device. Of the same file only once for each program. */
static __always_inline void keep_device(struct scmm_thread *thread, u64 address, u32 op, long ret)
{
	struct file *file = (void *)address;
	struct inode *inode = BPF_CORE_READ(file, f_inode);
	u32 type = BPF_CORE_READ(inode, i_mode) & S_IFMT;
	u64 hash;

	if (type != S_IFCHR && type != S_IFBLK)
		return;
	/* Another error is to be kept, too. */
	hash = config.seed ^ ((u64)thread->epoch << 32 | thread->program << 24 | op << 16 | (ret < 0 ? (u16)-ret : 0));
	hash *= 0x9e3779b97f4a7c15ULL;
	hash = (hash ^ (u64)inode) * 0xd6e8feb86659fd93ULL;
	/* An address may be another file's by now; the name's hash has its directory in it. */
	hash = (hash ^ BPF_CORE_READ(file, f_path.dentry, d_name.hash_len)) * 0xd6e8feb86659fd93ULL;
	hash ^= hash >> 32;
	if (thread->recent[hash % SCMM_RECENT] == hash)
		return;
	keep_file(thread, address, op, 0, ret);
	thread->recent[hash % SCMM_RECENT] = hash;
}

#endif
