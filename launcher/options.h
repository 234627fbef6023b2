/* The command line. */
#pragma once

#include "status.h"

struct options {
	const char *policy, *report;
	enum mode mode;
	int check, guard, json, quiet, verbose;
	int policy_fd, status_fd, preserve;
	char **program;
};

/* What is asked for; ends the launcher where it makes no sense. */
struct options read_options(char **argument);
