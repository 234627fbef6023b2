/* Ends of the launcher that are its own failures. */
#pragma once

/* As env(1) and `docker run` do. */
enum { EXIT_OURS = 125, EXIT_NOT_EXECUTABLE = 126, EXIT_NOT_FOUND = 127 };

/* "scmm-enforce: WHAT NAME: WHY" on standard error; `name` and `why` may be NULL. */
_Noreturn void stop(int code, const char *what, const char *name, const char *why);
/* The same with an error's name as the reason. */
_Noreturn void stop_error(int code, const char *what, const char *name, long error);
