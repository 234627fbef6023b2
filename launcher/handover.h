/* The filter with a listener, which a monitor gets: by a thread that the filter does not hold.
 *
 * The program's calls may be asked about from the moment on in which there is a filter, so whoever loads it cannot send
 * anything. Two threads share the descriptors: one loads the filter, looks at memory until the monitor has taken the
 * listener, and becomes the program. The other has sent it meanwhile, and ends with execve.
 *
 * As a rule the process's first thread becomes the program: where another does, the first one is a zombie for a moment,
 * from which runtimes conclude that a container has ended. But then the process counts as one under the filter that it
 * hands over, which a monitor may mind that has not looked at it yet. */
#pragma once

#include "told.h"

struct handover {
	const struct policy *policy;
	/* Of the filter's permissive twin; all that the policy would refuse is asked. */
	int is_twin;
	/* Connected to the monitor; and whether that has looked at who connected. */
	int connection, is_met;
	struct told told;
	/* Becomes the program, or returns the error. */
	long (*execute)(char **program, char **environment);
	char **program, **environment;
	/* Ends the process, from a thread that the filter does not hold: for a reason (there is no listener, or the monitor has
	 * not taken it), or where that is NULL, as the program cannot be executed, for which the error is. */
	void (*end)(const struct handover *job, const struct text *reason, long error);
};

/* Becomes the program, or ends. */
_Noreturn void hand_over(const struct handover *job);
