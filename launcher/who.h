/* Who the program is to be: ids and capabilities, and what /etc/passwd says of them. */
#pragma once

#include "policy.h"
#include "status.h"

struct who {
	uint32_t uid, gid;
	/* The policy gives a user and no group: then it is the one that /etc/passwd has for the user. */
	int wants_group;
	/* Empty where /etc/passwd does not know the uid. */
	char home[4096], user[256];
};

/* From the policy, and else from this process. */
void who_find(const struct policy *policy, struct who *who);
/* Become it, for good: groups, ids, capabilities. 0, or -1 with a reason in the status. Nothing is given back. */
int who_become(const struct policy *policy, const struct who *who, struct status *status);
/* Whether that can be done; for --check. */
void who_check(const struct policy *policy, const struct who *who, struct status *status);
