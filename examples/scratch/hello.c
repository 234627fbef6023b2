/* Reads what it may, and says what became of three things that it may not. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void say(const char *what, int result)
{
	printf("%s: %s\n", what, result < 0 ? strerror(errno) : "done");
}

int main(void)
{
	char greeting[64];
	FILE *file = fopen("/greeting", "r");

	printf("%s", file && fgets(greeting, sizeof(greeting), file) ? greeting : "no greeting\n");
	say("read /hello.scmm-pol", open("/hello.scmm-pol", O_RDONLY));
	say("make /new", open("/new", O_WRONLY | O_CREAT, 0644));
	say("open a socket", socket(AF_INET, SOCK_STREAM, 0));
	return 0;
}
