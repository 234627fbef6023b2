/* Calls that a policy would refuse: told once each in words, then counted. */
#pragma once

#include "policy.h"

/* struct seccomp_notif of linux/seccomp.h, with its struct seccomp_data. */
struct notification {
	uint64_t id;
	uint32_t pid, flags;
	uint32_t nr, arch;
	uint64_t instruction_pointer, args[6];
};

struct violations;
/* `report` is the descriptor that they are told on. */
struct violations *violations_begin(const struct filter *filter, int report);
/* Keep a call. If it is the first of its kind, a line is made of it, from the caller's memory among others: this is
 * right only if the caller still waits afterwards. Then tell it; otherwise the next look forgets it. */
void violation_look(struct violations *all, const struct notification *call);
void violation_tell(struct violations *all);
/* The counts, in the order in which they were met first. Nothing if there are none. */
void violations_sum(struct violations *all);
