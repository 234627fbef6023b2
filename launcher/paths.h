/* The paths of a policy: each rule's files and directories, opened for Landlock. */
#pragma once

#include "policy.h"
#include "status.h"
#include "who.h"

struct grants {
	const struct policy *policy;
	const struct who *who;
	struct status *status;
	/* The ruleset to add to; -1 only counts. */
	int ruleset;
	/* Whether what is to be made is made. */
	int makes;
	/* The rights that this kernel has. */
	uint64_t handled;
	/* Rules of the policy that granted something, and rules that were added to the ruleset. */
	uint32_t rules_used, added;
	/* The user who runs the launcher. */
	uint32_t euid;
	/* Of the rule at hand. */
	struct path_rule rule;
	struct path path;
	/* Whether it found something; whether something was left out that is there; how bad is what was said of it. */
	int used, left_out;
	enum degree said;
};

/* Open and grant every path. 0, or -1 where the kernel refuses a rule, with a reason in the status.
 *
 * Links are followed where only root and who runs the launcher could have put them, and where the kernel makes them. A
 * rule that leads over another is left out: less is granted than the policy says, never something else. It is said, and
 * files are enforced partially, so that strict refuses. So is what cannot be opened for want of memory or descriptors.
 * What the launcher may not reach (EACCES), what cannot be made, and a path whose directory is not there, are said too;
 * nothing is lost by them, as the program has no more than the launcher. */
int paths_grant(struct grants *grants);
