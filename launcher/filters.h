/* Filters given to the kernel: the policy's, or its permissive twin with another value where it marks a violation. */
#pragma once

#include "policy.h"
#include "text.h"

/* linux/seccomp.h */
#define RET_ALLOW 0x7fff0000u
#define RET_LOG 0x7ffc0000u
#define RET_USER_NOTIF 0x7fc00000u

/* Whether any call is asked of a listener; of the twin, where it marks a violation (`is_twin`). */
int filter_asks(const struct policy *policy, int is_twin);
/* All of these return what seccomp(2) does: an error is negative. */
long filter_load(const struct policy *policy);
/* The twin, which returns `value` for violations. */
long filter_load_twin(const struct policy *policy, uint32_t value, uint32_t flags);
/* With a listener, whose descriptor is returned: the policy's filter, or the twin, which asks about violations. */
long filter_listen(const struct policy *policy, int is_twin);
/* Why there is no listener: "there is one already", or the error. */
void filter_words(struct text *text, long error);
