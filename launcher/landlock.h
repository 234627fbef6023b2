/* Landlock: what this kernel has of it, and one ruleset for files, ports and scopes. */
#pragma once

#include "policy.h"
#include "status.h"
#include "who.h"

/* The ABI of the running kernel; 0 where there is no Landlock. `why` is the error then. */
long landlock_abi(long *why);
/* The ruleset of a policy, its rules in it; -1 if it needs none, -2 with a reason in the status if there can be none.
 * `check`: only find out what would be enforced. */
int landlock_prepare(const struct policy *policy, const struct who *who, struct status *status, int check);
/* Enter the domain. 0, or the error. */
long landlock_enter(int ruleset, long abi);
