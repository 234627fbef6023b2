/* What a monitor is told of whose calls it decides about. */
#pragma once

#include "policy.h"
#include "text.h"

/* `metadata` may be NULL: then it is the policy's name, or the file; `state`, too: then it is of our own. */
struct told {
	const char *mode, *metadata, *state, *file;
};

/* A JSON object. */
void tell_state(const struct told *told, const struct policy *policy, struct text *text);
