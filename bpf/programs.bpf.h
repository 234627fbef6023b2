/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
/* Executed programs: their file, the ELF interpreter, the script that named them, argv[0]. */
#ifndef SCMM_PROGRAMS_BPF_H
#define SCMM_PROGRAMS_BPF_H

#include "facts.bpf.h"

#define AT_BASE 7
#define LONGEST_ARGV0 256

static long note_mapping(struct task_struct *task, struct vm_area_struct *vma, u64 *file)
{
	*file = (u64)BPF_CORE_READ(vma, vm_file);
	return 0;
}

/*
 * Where the kernel has mapped the ELF interpreter: what it told the program in the auxiliary vector, getauxval(3).
 * 0 for a static program. In a 32-bit program's vector keys and values are of 32 bits.
 */
static __always_inline u64 loader_base(struct scratch *s, struct mm_struct *mm)
{
	bpf_probe_read_kernel(s->auxv, 320, (void *)mm + bpf_core_field_offset(struct mm_struct, saved_auxv));
	for (int i = 0; i < 20; i++) {
		if (s->auxv[0] >> 32) {
			if ((u32)s->auxv[i] == AT_BASE)
				return s->auxv[i] >> 32;
		} else if (s->auxv[2 * i] == AT_BASE) {
			return s->auxv[2 * i + 1];
		}
	}
	return 0;
}

/* Strings that scripts of scripts put before the name given to execve(2): up to five of them, with an option each. */
#define MOST_WORDS 10

__noinline int hash_buffer(void)
{
	return hash_data();
}

/*
 * An interpreter may be a script, too. The kernel remembers the first and the last only, but each puts its interpreter,
 * its option and its own name before the arguments (execve(2)): what stands between argv[0] and the name that was
 * executed, `script`, are options and scripts. An option that looks like a path is taken for one; a script named by a
 * relative path is not found.
 */
__noinline int note_inner_scripts(struct scmm_thread *thread, u32 number, u64 script, u64 at)
{
	struct scratch *s = new_fact(0, 0);
	u64 a, b;
	long length;

	if (!s || !thread)
		return 0;
	length = bpf_probe_read_kernel_str(s->data, LONGEST_NAME, (void *)script);
	if (length < 1 || length > LONGEST_NAME)
		goto lost;
	s->length = length - 1;
	hash_buffer();
	a = s->a;
	b = s->b;
	length = bpf_probe_read_user_str(s->data, LONGEST_NAME, (void *)at);
	for (int i = 0; i < MOST_WORDS; i++) {
		if (length < 1 || length > LONGEST_NAME)
			goto lost;
		at += length;
		s = new_fact(number, 0);
		if (!s)
			return 0;
		length = bpf_probe_read_user_str(s->data, LONGEST_NAME, (void *)at);
		if (length < 1 || length > LONGEST_NAME)
			goto lost;
		s->length = length - 1;
		hash_buffer();
		if (s->a == a && s->b == b)
			return 0;
		if (length > 1 && s->data[0] == '/') {
			s->dirfd = AT_FDCWD;
			keep_name(thread, OP_SCRIPT, 0);
		}
	}
lost:
	count_loss(thread, SCMM_LOST_PROGRAMS);
	return 0;
}

/*
 * execveat(2) makes a name of a descriptor: /dev/fd/N for its own file, or /dev/fd/N/NAME. How long its beginning is,
 * in front of NAME, and in fd which descriptor; 0 for other names.
 */
static __always_inline u32 descriptor_of(u64 script, u64 *fd)
{
	static const char beginning[] = "/dev/fd/";
	char name[20] = {};
	u64 number = 0;
	u32 at = 0;

	bpf_probe_read_kernel_str(name, sizeof(name), (void *)script);
	for (int i = 0; i < 8; i++)
		if (name[i] != beginning[i])
			return 0;
#pragma unroll
	for (int i = 8; i < 19; i++) {
		if (!at && name[i] >= '0' && name[i] <= '9')
			number = number * 10 + name[i] - '0';
		else if (!at && i > 8 && (name[i] == '/' || !name[i]))
			at = name[i] ? i + 1 : i;
		else if (!at)
			return 0;
	}
	*fd = number;
	return at;
}

/* Keep the script that was named to execve(2). */
__noinline int note_script(struct scmm_thread *thread, u32 number, u64 script)
{
	struct scratch *s = new_fact(number, 0);
	u64 fd = AT_FDCWD;
	u32 skipped;
	long length;

	if (!s || !thread)
		return 0;
	skipped = descriptor_of(script, &fd);
	length = bpf_probe_read_kernel_str(s->data, LONGEST_NAME, (void *)script + skipped);
	if (length > 1) {
		s->length = length - 1;
		s->dirfd = fd;
		keep_name(thread, OP_SCRIPT, 0);
	} else if (skipped) {
		fd = file_of(fd);
		if (fd)
			keep_file(thread, fd, OP_SCRIPT, number, 0);
	}
	return 0;
}

/*
 * Note the program that a thread runs now, and give the thread its number. s->script: the kernel's copy of the name
 * given to execve(2), where that is a script's, or 0.
 */
__noinline int note_program(struct scmm_thread *thread, u64 file)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct mm_struct *mm = BPF_CORE_READ(task, mm);
	struct file *executable = (void *)file;
	u64 base, script, loader = 0;
	struct scratch *s;
	long length;
	u32 number;

	s = new_fact(0, 0);
	if (!s || !thread || !file || !mm)
		return 0;
	script = s->script;
	length = bpf_probe_read_user_str(s->data, LONGEST_ARGV0, (void *)BPF_CORE_READ(mm, arg_start));
	if (length < 1 || length > LONGEST_ARGV0)
		length = 1;
	s->length = length - 1;
	if (script) {
		/* Scripts of one interpreter are programs of their own: told apart by their name, after a NUL. */
		u64 at = length;

		if (at > LONGEST_ARGV0)
			return 0;
		CHECKED(at);
		length = bpf_probe_read_kernel_str(&s->data[at], LONGEST_NAME, (void *)script);
		if (length > 0)
			s->length = at + length - 1;
	}
	s->fact.name_length = s->length;
	walk_path(thread, &executable->f_path);
	s->fact.base_length = s->length - s->fact.name_length;
	number = keep(thread, SCMM_PROGRAM, 0);
	thread->program = number & (SCMM_PROGRAMS - 1);

	keep_file(thread, file, OP_EXECUTE, number, 0);
	s = scratch();
	base = s ? loader_base(s, mm) : 0;
	if (!base)
		return 0;
	if (bpf_find_vma(task, base, note_mapping, &loader, 0) || !loader)
		count_loss(thread, SCMM_LOST_PROGRAMS);
	else
		keep_file(thread, loader, OP_LOADER, number, 0);
	return 0;
}

/* Note the scripts that an exec went through to the program that has been noted. */
static __always_inline void note_scripts(struct task_struct *task, struct scmm_thread *thread, u64 script)
{
	struct mm_struct *mm = BPF_CORE_READ(task, mm);
	u32 number = thread->program;

	note_script(thread, number, script);
	if (mm)
		note_inner_scripts(thread, number, script, (u64)BPF_CORE_READ(mm, arg_start));
}

#endif
