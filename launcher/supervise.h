/* Permissive mode: the program runs unhindered in a child, and what the policy would refuse is told by its parent.
 *
 * The filter's permissive twin asks a listener where it would log a violation. The listener is ours, and always lets
 * the call go on. Only its words depend on the program's memory, which the program may change meanwhile. */
#pragma once

#include "policy.h"
#include "status.h"

struct supervision {
	const struct policy *policy;
	/* Where violations are told. */
	int report;
	/* Becomes the program, or returns the error. */
	long (*execute)(char **program, char **environment);
	char **program, **environment;
	/* Set by supervise_begin. */
	int child, listener, signals, has_own_files;
	struct shared *shared;
};

/* What permissive mode comes to: nothing is enforced. `no_listener` is the error why there is none, or 0. */
void permissive_assess(const struct policy *policy, long no_listener, struct status *status);
/* The same of calls alone. */
void permissive_words(struct text *text, long no_listener);
/* Start the program in a child. 0, or the error why there can be no listener: nothing has been run then. */
long supervise_begin(struct supervision *job);
/* Whether there can be a listener, by a child that becomes nothing. 0, or the error. The launcher's signals stay blocked:
 * it has nothing else to do. */
long supervise_try(const struct policy *policy);
/* Let every call go on and tell about it, until the last process is gone. The program's status as wait4(2) has it; if it
 * could not be executed, the error, which is negative. */
long supervise_run(struct supervision *job);
/* End as a process with that status has. */
_Noreturn void supervise_end(long status);
/* Where there is no listener: the twin for this process, which logs. 0, or the error. */
long permissive_load(const struct policy *policy);
