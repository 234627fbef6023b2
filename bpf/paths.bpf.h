/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
/* Names and paths: read into a buffer of the CPU, and hashed. Tracepoint programs do not interrupt one another. */
#ifndef SCMM_PATHS_BPF_H
#define SCMM_PATHS_BPF_H

#include "state.bpf.h"

#define PROC_SUPER_MAGIC 0x9fa0
#define SB_NOUSER (1UL << 31)
/* Components and mounts on the way to the root. */
#define MOST_STEPS 4096
/*
 * What one call may take: a program's executing has four ways to the root. A step is some 75 ns, and so is keeping 16
 * bytes, so that no call is held up for more than 2 ms.
 */
#define MOST_STEPS_OF_CALL (5 * MOST_STEPS)
#define LONGEST_NAME 4097	/* PATH_MAX with its NUL, and one to tell longer ones */

/* Neighbours in struct mount, read at once. */
enum mount_word {
	PARENT = 0,
	MOUNTPOINT = 1,
	ROOT = 2,
	SUPER = 3,
};

/* Whether two members of a kernel structure lie side by side, so that one read gets both: reads are calls. */
#define ADJACENT(type, first, second, size) \
	(bpf_core_field_offset(type, second) == bpf_core_field_offset(type, first) + (size))

struct scratch {
	/* The walk. Kernel addresses are numbers here, so that the verifier has nothing to follow. */
	u64 dentry;
	u64 mount;
	u64 mounts[4];		/* of the mount, see enum mount_word */
	u64 top;		/* the mount where the task's mount namespace begins */
	u64 own_process;	/* struct pid */
	u64 own_thread;
	u32 in_proc;
	u32 done;
	u32 steps;		/* that the call has left */
	u32 pad;
	/*
	 * Arguments of functions that are constants in some places. There the verifier would find that some functions
	 * are never called, and user space could no longer tell which function has which type (kernel/libbpf.py).
	 */
	u64 dirfd;
	u64 script;
	/* The hash. */
	u64 a;
	u64 b;
	u32 length;		/* of the data */
	u32 mntns;		/* the container's, or 0 */
	u64 arguments[6];
	u64 auxv[64];
	u8 address[128];
	struct scmm_fact fact;
	u8 data[SCMM_LONG + 512];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct scratch);
} scratches SEC(".maps");

static __always_inline struct scratch *scratch(void)
{
	u32 zero = 0;

	return bpf_map_lookup_elem(&scratches, &zero);
}

/* The file of a descriptor of the current task: its address, or 0. */
__noinline u64 file_of(u64 fd)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct fdtable *table = BPF_CORE_READ(task, files, fdt), copy = {};
	struct file *file = 0;

	fd = (u32)fd;
	if (!table)
		return 0;
	if (ADJACENT(struct fdtable, max_fds, fd, 8)) {
		bpf_probe_read_kernel(&copy, sizeof(copy), (void *)table + bpf_core_field_offset(struct fdtable, max_fds));
	} else {
		copy.max_fds = BPF_CORE_READ(table, max_fds);
		copy.fd = BPF_CORE_READ(table, fd);
	}
	if (fd >= copy.max_fds)
		return 0;
	bpf_probe_read_kernel(&file, sizeof(file), copy.fd + fd);
	return (u64)file;
}

static __always_inline u64 mount_of(struct vfsmount *mount)
{
	return mount ? (u64)mount - bpf_core_field_offset(struct mount, mnt) : 0;
}

/* Note what is to be known of the mount that the walk has come to. */
static __always_inline void enter_mount(struct scratch *s)
{
	struct mount *mount = (void *)s->mount;
	struct super_block *super;

	if (ADJACENT(struct mount, mnt_parent, mnt_mountpoint, 8) && ADJACENT(struct mount, mnt_mountpoint, mnt, 8) &&
	    bpf_core_field_offset(struct vfsmount, mnt_root) == 0 && bpf_core_field_offset(struct vfsmount, mnt_sb) == 8) {
		bpf_probe_read_kernel(s->mounts, sizeof(s->mounts),
				      (void *)mount + bpf_core_field_offset(struct mount, mnt_parent));
	} else {
		s->mounts[PARENT] = (u64)BPF_CORE_READ(mount, mnt_parent);
		s->mounts[MOUNTPOINT] = (u64)BPF_CORE_READ(mount, mnt_mountpoint);
		s->mounts[ROOT] = (u64)BPF_CORE_READ(mount, mnt.mnt_root);
		s->mounts[SUPER] = (u64)BPF_CORE_READ(mount, mnt.mnt_sb);
	}
	super = (void *)s->mounts[SUPER];
	s->in_proc = BPF_CORE_READ(super, s_magic) == PROC_SUPER_MAGIC;
}

/*
 * Whether a directory of procfs is the current process's or thread's own: those have another name in each process.
 * They stand in the root of the file system, and in a directory `task`.
 */
static __always_inline bool is_own(struct scratch *s, struct dentry *dentry, struct dentry *parent, char first)
{
	struct inode *inode;
	struct pid *pid;
	char name[5] = {};

	if (first < '0' || first > '9')
		return false;
	inode = BPF_CORE_READ(dentry, d_inode);
	if (!inode)
		return false;
	pid = BPF_CORE_READ((struct proc_inode *)((void *)inode - bpf_core_field_offset(struct proc_inode, vfs_inode)),
			    pid);
	if ((u64)pid != s->own_process && (u64)pid != s->own_thread)
		return false;
	if ((u64)parent == s->mounts[ROOT])
		return true;
	bpf_probe_read_kernel(name, sizeof(name), BPF_CORE_READ(parent, d_name.name));
	return name[0] == 't' && name[1] == 'a' && name[2] == 's' && name[3] == 'k' && !name[4];
}

static long step(u32 index, void *unused)
{
	struct scratch *s = scratch();
	struct {
		struct dentry *parent;
		struct qstr name;
	} entry;
	struct dentry *dentry, *parent;
	struct qstr name;
	u64 at, length;
	char first;
	long read;

	if (!s)
		return 1;
	dentry = (void *)s->dentry;
	if (s->dentry == s->mounts[ROOT]) {
		if (s->mount == s->mounts[PARENT] || !s->mounts[PARENT]) {
			if (s->mount != s->top)
				s->fact.state |= SCMM_OUTSIDE;
			s->done = 1;
			return 1;
		}
		s->dentry = s->mounts[MOUNTPOINT];
		s->mount = s->mounts[PARENT];
		enter_mount(s);
		return 0;
	}
	if (ADJACENT(struct dentry, d_parent, d_name, 8)) {
		bpf_probe_read_kernel(&entry, sizeof(entry), (void *)dentry + bpf_core_field_offset(struct dentry, d_parent));
	} else {
		entry.parent = BPF_CORE_READ(dentry, d_parent);
		bpf_core_read(&entry.name, sizeof(entry.name), &dentry->d_name);
	}
	parent = entry.parent;
	name = entry.name;
	at = s->length;
	length = name.hash_len >> 32;
	if (at > SCMM_LONG - 260 || length > 255)
		return 1;
	CHECKED(at);
	CHECKED(length);
	/*
	 * With its NUL: a rename may change length and text while we read them, and what lies behind a short name in the
	 * kernel's memory is nobody's business.
	 */
	read = bpf_probe_read_kernel_str(&s->data[at], length + 1, name.name);
	if (read < 1 || read > 256)
		return 1;
	length = read - 1;
	CHECKED(length);
	if (s->in_proc) {
		bpf_probe_read_kernel(&first, 1, &s->data[at]);
		if (is_own(s, dentry, parent, first)) {
			s->data[at] = 's';
			s->data[at + 1] = 'e';
			s->data[at + 2] = 'l';
			s->data[at + 3] = 'f';
			length = 4;
		}
	}
	at += length;
	if (at > SCMM_LONG)
		return 1;
	CHECKED(at);
	s->data[at] = '/';
	s->length = at + 1;
	if (parent == dentry || !parent) {
		/* A file that hangs on no file system's root: a pipe, a socket, or a handle that was opened. */
		s->fact.state |= SCMM_OUTSIDE;
		s->done = 1;
		return 1;
	}
	s->dentry = (u64)parent;
	return 0;
}

/*
 * Append a file's components to the data, the last one first. What is special about the path goes to the fact's
 * state. A rename while we walk may give a mixture, as it may for anyone who asks for a path then.
 */
__noinline int walk(struct scmm_thread *thread, u64 dentry, u64 vfsmount)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct nsproxy *nsproxy = BPF_CORE_READ(task, nsproxy);
	struct scratch *s = scratch();
	struct dentry *last = (void *)dentry;
	struct super_block *super;
	u32 taken;

	if (!s || !dentry || !vfsmount || !thread)
		return -1;
	if (thread->nsproxy != (u64)nsproxy) {
		struct mnt_namespace *mounts = BPF_CORE_READ(nsproxy, mnt_ns);

		thread->nsproxy = (u64)nsproxy;
		thread->top = (u64)BPF_CORE_READ(mounts, root);
		if (s->mntns && s->mntns != BPF_CORE_READ(mounts, ns.inum))
			thread->top = 0;
	}
	s->top = thread->top;
	if (!s->top)
		s->fact.state |= SCMM_FOREIGN_MOUNTS;
	s->dentry = dentry;
	s->mount = mount_of((void *)vfsmount);
	s->done = 0;
	enter_mount(s);
	if (s->in_proc) {
		struct signal_struct *signal = BPF_CORE_READ(task, signal);
		u64 pid = 0;

		bpf_probe_read_kernel(&pid, sizeof(pid),
				      (void *)signal + bpf_core_field_offset(struct signal_struct, pids) +
					      PIDTYPE_TGID * sizeof(pid));
		s->own_process = pid;
		s->own_thread = (u64)BPF_CORE_READ(task, thread_pid);
	}
	super = (void *)s->mounts[SUPER];
	if (BPF_CORE_READ(super, s_flags) & SB_NOUSER)
		s->fact.state |= SCMM_INTERNAL;
	else if (dentry != s->mounts[ROOT] && !BPF_CORE_READ(last, d_hash.pprev))
		s->fact.state |= SCMM_DELETED;
	taken = bpf_loop(s->steps < MOST_STEPS ? s->steps : MOST_STEPS, step, 0, 0);
	s->steps -= taken <= s->steps ? taken : s->steps;
	if (!s->done)
		s->fact.state |= SCMM_TOO_DEEP;
	return 0;
}

static __always_inline void read_path(struct path *from, struct path *to)
{
	if (ADJACENT(struct path, mnt, dentry, 8)) {
		bpf_probe_read_kernel(to, sizeof(*to), (void *)from + bpf_core_field_offset(struct path, mnt));
	} else {
		to->mnt = BPF_CORE_READ(from, mnt);
		to->dentry = BPF_CORE_READ(from, dentry);
	}
}

static __always_inline void walk_path(struct scmm_thread *thread, struct path *path)
{
	struct path copy = {};

	read_path(path, &copy);
	walk(thread, (u64)copy.dentry, (u64)copy.mnt);
}

/* The same for the root directory of the task: which nearly always is that of its mount namespace, and adds nothing. */
static __always_inline void walk_root(struct scmm_thread *thread, struct fs_struct *fs)
{
	struct scratch *s = scratch();
	struct path copy = {};
	u32 before;

	if (!s)
		return;
	read_path(&fs->root, &copy);
	if (thread->root_mount && thread->root_mount == (u64)copy.mnt && thread->root_dentry == (u64)copy.dentry) {
		struct mount *mount = (void *)mount_of(copy.mnt);

		/* pivot_root(2) puts the root that was below another; here it was the first in its namespace. */
		if ((u64)mount == thread->top || (u64)BPF_CORE_READ(mount, mnt_parent) == thread->top)
			return;
	}
	before = s->length;
	walk(thread, (u64)copy.dentry, (u64)copy.mnt);
	if (s->length == before && !s->fact.state) {
		thread->root_mount = (u64)copy.mnt;
		thread->root_dentry = (u64)copy.dentry;
	}
}

#define MIX(s, word)                                                     \
	do {                                                             \
		u64 mixed = (word);                                      \
		(s)->a = ((s)->a ^ mixed) * 0x9e3779b97f4a7c15ULL;       \
		(s)->a ^= (s)->a >> 29;                                  \
		(s)->b = ((s)->b + mixed) * 0xd6e8feb86659fd93ULL;       \
		(s)->b ^= (s)->b >> 32;                                  \
	} while (0)

static long hash_block(u32 index, void *unused)
{
	struct scratch *s = scratch();
	u64 *words;
	u64 at = (u64)index * 32;

	if (!s || at > SCMM_LONG)
		return 1;
	CHECKED(at);
	words = (u64 *)&s->data[at];
	MIX(s, words[0]);
	MIX(s, words[1]);
	MIX(s, words[2]);
	MIX(s, words[3]);
	return 0;
}

/* Hash the data into a and b. What comes after its end is made zero as far as it is looked at. */
static __always_inline int hash_data(void)
{
	struct scratch *s = scratch();
	u64 at;

	if (!s)
		return -1;
	at = s->length;
	if (at > SCMM_LONG)
		return -1;
	CHECKED(at);
	__builtin_memset(&s->data[at], 0, 32);
	s->a = config.seed;
	s->b = ~config.seed;
	MIX(s, at);
	bpf_loop((at + 31) / 32, hash_block, 0, 0);
	return 0;
}

#endif
