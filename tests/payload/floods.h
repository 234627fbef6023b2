/* Commands of payload.c that make very many of one thing. Included there once. */

/* processes N EACH: EACH getppid calls in each of N processes at once. */
static int processes(char **argv)
{
	int count = atoi(argv[0]), status, failed = 0;

	calls_each = atol(argv[1]);
	for (int i = 0; i < count; i++) {
		pid_t pid = fork();

		if (pid < 0)
			return 1;
		if (!pid) {
			many_calls(NULL);
			_exit(0);
		}
	}
	for (int i = 0; i < count; i++)
		failed |= wait(&status) < 0 || status;
	return failed;
}

static void *one_call(void *unused)
{
	syscall(SYS_getpgid, 0);
	return NULL;
}

/* tasks N: N threads that make one getpgid call each, eight at a time. */
static int tasks(char **argv)
{
	long count = atol(argv[0]);
	pthread_t threads[8];

	for (long done = 0; done < count; done += 8) {
		long batch = count - done < 8 ? count - done : 8;

		for (long i = 0; i < batch; i++)
			if (pthread_create(&threads[i], NULL, one_call, NULL))
				return 1;
		for (long i = 0; i < batch; i++)
			pthread_join(threads[i], NULL);
	}
	return 0;
}

/* mixed N: N close calls that succeed and 2 N that fail. */
static int mixed(char **argv)
{
	for (long i = atol(argv[0]); i > 0; i--) {
		syscall(SYS_close, dup(0));
		syscall(SYS_close, 9999);
		syscall(SYS_close, -1);
	}
	return 0;
}

/*
 * paths COUNT LENGTH: ask access(2) for COUNT different names of LENGTH bytes, none of which is there. A name is a
 * number and then components of 200 letters.
 */
static int paths(char **argv)
{
	long count = atol(argv[0]), length = atol(argv[1]);
	static char name[8192];

	for (long i = 0; i < length; i++)
		name[i] = i >= 10 && i % 200 == 10 ? '/' : 'x';
	for (long i = 0; i < count; i++) {
		long rest = i;

		memcpy(name, "/p00000000", 10);
		for (char *at = name + 9; rest; rest /= 10)
			*at-- += rest % 10;
		if (!syscall(SYS_access, name, 0))
			return 1;
	}
	return 0;
}

/* addresses COUNT: send to COUNT different addresses of the loopback network. */
static int addresses(char **argv)
{
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	for (long i = 0; i < atol(argv[0]); i++) {
		struct sockaddr_in to = {
			.sin_family = AF_INET, .sin_port = htons(9), .sin_addr.s_addr = htonl(0x7f000001 + i)
		};

		sendto(fd, "", 0, 0, (struct sockaddr *)&to, sizeof(to));
	}
	return 0;
}

/* programs COUNT SELF: execute SELF under COUNT different names. */
static int programs(char **argv)
{
	for (volatile long i = 0; i < atol(argv[0]); i++) {
		char name[32], *words[] = { name, "true", NULL };
		pid_t pid = vfork();
		int status;

		if (!pid) {
			snprintf(name, sizeof(name), "program-%ld", i);
			execv(argv[1], words);
			_exit(127);
		}
		if (waitpid(pid, &status, 0) != pid || status)
			return 1;
	}
	return 0;
}

/* values N: fcntl(2) with N different commands, from 1000 on. */
static int values(char **argv)
{
	for (long i = 0; i < atol(argv[0]); i++)
		syscall(SYS_fcntl, 0, 1000 + i, 0);
	return 0;
}

/* churn NR…: make these calls over and over until killed; say when it has begun. */
static int churn(char **argv)
{
	if (write(1, "!", 1) != 1)
		return 1;
	for (;;)
		for (char **nr = argv; *nr; nr++)
			syscall(atol(*nr), -1, -1, -1, -1, -1, -1);
}
