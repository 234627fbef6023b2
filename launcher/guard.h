/* A domain of Landlock for a program whose policy has no rules for one. */
#pragma once

#include "policy.h"

/* Enter a domain that restricts neither files nor ports: whoever is in one can change no mount, and trace nobody outside of
 * it (landlock(7)), such as the launcher that comes next into the same container. Not where the filter lets the program
 * mount, or the kernel's domains refuse more (before ABI 2, to move files between directories). What cannot be had is left. */
void guard(const struct policy *policy, long abi);
