/* The stream over which a monitor is handed the listener. */
#pragma once

/* s that a monitor has to take a connection, and then to take the listener. */
#ifdef SCMM_TEST_PATIENCE
enum { PATIENCE = SCMM_TEST_PATIENCE };
#else
enum { PATIENCE = 10 };
#endif

struct connection {
	int fd;
	/* Whether the monitor has looked at who connected; where that is not known: 0. */
	int is_met;
};

/* Connect to a socket of the caller's or root's, as who called us; closed with execve. Ends the launcher where it cannot. */
struct connection connect_to(const char *path);
/* The same of one that was made by somebody else, who has been met. */
struct connection connected(int fd);
