/* Landlock: what this kernel has of it, and one ruleset for files, ports and scopes. */
#pragma once

#include "policy.h"
#include "status.h"
#include "who.h"

/* The ABI of the running kernel; 0 where there is no Landlock. `why` is the error then. */
long landlock_abi(long *why);
enum effort {
	/* Only look: the kernel is asked for nothing. */
	LOOK,
	/* All but paths that are to be made. */
	TRY,
	APPLY,
};

/* The ruleset of a policy, its rules in it; -1 if it needs none, -2 with a reason in the status if there can be none. */
int landlock_prepare(const struct policy *policy, const struct who *who, struct status *status, enum effort effort);
/* Enter the domain. 0, or -1 with a reason in the status. */
int landlock_enter(const struct policy *policy, int ruleset, struct status *status);
/* Enter a domain that restricts nothing but what all domains do (guard.h); from ABI 2 on. */
void landlock_enter_empty(long abi);
