#include "stop.h"
#include "sys.h"
#include "text.h"

_Noreturn void stop(int code, const char *what, const char *name, const char *why)
{
	TEXT(text, 8192);

	text_string(&text, "scmm-enforce: ");
	text_string(&text, what);
	if (name) {
		text_string(&text, *what ? " " : "");
		text_bytes(&text, name, length_of(name));
	}
	if (why) {
		text_string(&text, ": ");
		text_string(&text, why);
	}
	text_string(&text, "\n");
	text_write(&text, 2);
	sys_exit(code);
}

_Noreturn void stop_error(int code, const char *what, const char *name, long error)
{
	TEXT(why, 32);

	text_error(&why, error);
	why.at[why.length < why.room ? why.length : why.room - 1] = 0;
	stop(code, what, name, why.at);
}
