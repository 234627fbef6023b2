/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
/* A recorder that sends an event of 88 bytes for each system call of one cgroup to user space. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

struct event {
	__u64 time;
	__u64 thread;
	__u64 number;
	__u64 arguments[6];
	char name[16];
};
_Static_assert(sizeof(struct event) == 88, "as the reference measurement had it");

/* The first six arguments, as the kernel's struct pt_regs has them: where CO-RE says they are. */
#ifdef __TARGET_ARCH_x86
struct pt_regs {
	unsigned long di, si, dx, r10, r8, r9;
} __attribute__((preserve_access_index));
#define ARGUMENTS(event, regs)                                                                                        \
	do {                                                                                                          \
		(event)->arguments[0] = (regs)->di;                                                                   \
		(event)->arguments[1] = (regs)->si;                                                                   \
		(event)->arguments[2] = (regs)->dx;                                                                   \
		(event)->arguments[3] = (regs)->r10;                                                                  \
		(event)->arguments[4] = (regs)->r8;                                                                   \
		(event)->arguments[5] = (regs)->r9;                                                                   \
	} while (0)
#else
struct pt_regs {
	__u64 regs[31];
} __attribute__((preserve_access_index));
#define ARGUMENTS(event, from)                                                                                        \
	do {                                                                                                          \
		for (int i = 0; i < 6; i++)                                                                           \
			(event)->arguments[i] = (from)->regs[i];                                                      \
	} while (0)
#endif

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 16 << 20);
} events SEC(".maps");

const volatile __u64 cgroup = 0;
__u64 dropped = 0;

SEC("tp_btf/sys_enter")
int bench_ring(__u64 *context)
{
	struct pt_regs *regs = (void *)context[0];
	struct event *event;

	if (bpf_get_current_cgroup_id() != cgroup)
		return 0;
	event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
	if (!event) {
		__sync_fetch_and_add(&dropped, 1);
		return 0;
	}
	event->time = bpf_ktime_get_ns();
	event->thread = bpf_get_current_pid_tgid();
	event->number = context[1];
	ARGUMENTS(event, regs);
	bpf_get_current_comm(event->name, sizeof(event->name));
	bpf_ringbuf_submit(event, 0);
	return 0;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
