/* The filter with a listener, which a monitor gets: by a thread that the filter does not hold.
 *
 * The program's calls may be asked about from the moment on in which there is a filter, so whoever loads it cannot send
 * anything. Two threads share the descriptors: one loads the filter, looks at memory until the monitor has taken the
 * listener, and becomes the program. The other has sent it meanwhile, and ends with execve. It is the first of the process,
 * so that the process counts as one without a filter as long as the monitor looks at who sends. */
#pragma once

#include "told.h"

struct handover {
	const struct policy *policy;
	/* Of the filter's permissive twin; all that the policy would refuse is asked. */
	int is_twin;
	/* Connected to the monitor. */
	int connection;
	struct told told;
	/* Becomes the program, or returns the error. */
	long (*execute)(char **program, char **environment);
	char **program, **environment;
};

/* Returns only where the program does not run. -1 with a reason: there is no listener, or the monitor has not taken it.
 * 0, with the error for which it could not be executed. The process is to be ended then. */
int hand_over(const struct handover *job, struct text *reason, long *error);
