/* The program: found and executed as a shell does. */
#pragma once

/* Ends the launcher if there is nothing to execute, while it can still be said without the filter's leave. */
void find_program(const char *name, char **environment);
/* The file that was found: the name itself where it has a slash. */
const char *found_program(const char *name);
/* execve and nothing else: the filter is in force. Becomes the program, or returns the error. */
long execute(char **program, char **environment);
/* Ends the launcher, and says why. */
_Noreturn void not_executed(const char *program, long error);
