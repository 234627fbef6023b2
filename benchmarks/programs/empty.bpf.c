/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
/* What being attached costs by itself: programs that do nothing, for the two tracepoints of system calls. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

SEC("tp_btf/sys_enter")
int bench_enter(void *context)
{
	return 0;
}

SEC("tp_btf/sys_exit")
int bench_exit(void *context)
{
	return 0;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
