/* The paths of a policy: each rule's files and directories, opened for Landlock. */
#pragma once

#include "policy.h"
#include "status.h"
#include "who.h"

struct grants {
	const struct policy *policy;
	const struct who *who;
	struct status *status;
	/* The ruleset to add to; -1 only counts, and makes nothing. */
	int ruleset;
	/* The rights that this kernel has. */
	uint64_t handled;
	/* Rules of the policy that granted something, and rules that were added to the ruleset. */
	uint32_t rules_used, added;
	/* The user who runs the launcher. */
	uint32_t euid;
	/* Of the rule at hand. */
	struct path_rule rule;
	struct path path;
	/* Whether it found something; whether something was left out that is there; whether that was said. */
	int used, left_out, said;
};

/* Open and grant every path. 0, or -1 where the kernel refuses a rule, with a reason in the status. */
int paths_grant(struct grants *grants);
