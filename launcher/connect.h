/* The stream over which a monitor is handed the listener. */
#pragma once

/* Connect to a socket of the caller's or root's, as who called us; closed with execve. Ends the launcher where it cannot. */
int connect_to(const char *path);
/* The same checks of one that was connected by somebody else, as far as there are any to make. */
void check_connected(int fd);
