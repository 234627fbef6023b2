/* The command line. */
#pragma once

#include "status.h"

struct options {
	const char *policy, *report, *listener, *metadata, *state;
	enum mode mode;
	int check, guard, json, quiet, verbose;
	int policy_fd, status_fd, listener_fd, preserve;
	char **program;
};

/* Whether somebody is to answer what the filter asks. */
int has_listener(const struct options *options);
/* What is asked for; ends the launcher where it makes no sense. */
struct options read_options(char **argument);
