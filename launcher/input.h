/* The policy that is given: read whole from a file nobody else can write, and checked. */
#pragma once

#include "options.h"
#include "policy.h"

/* Ends the launcher where there is anything wrong with it. */
void read_policy(const struct options *options, struct policy *policy);
