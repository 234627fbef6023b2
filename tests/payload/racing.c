/* Two threads: one rewrites a path, or swaps a link, between an allowed and a forbidden name; the other opens it.
 *
 * racing LISTENER-SOCKET text|link|directory SECONDS ALLOWED FORBIDDEN PLACE
 * Loads a filter that has openat wait, sends its listener to descriptor LISTENER-SOCKET, and prints how often it opened
 * something, how often what it opened was forbidden, and how often it was refused. With "link", PLACE is a link that is
 * replaced; with "directory", it is a directory that is exchanged with PLACE.other, with a link to where the file is
 * forbidden. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static char path[4096];
static const char *how, *allowed, *forbidden, *place;
static atomic_int over;

static void *rewrite(void *unused)
{
    char other[4200], aside[4200];
    size_t size = strlen(allowed) + 1;

    snprintf(other, sizeof(other), "%s.other", place);
    snprintf(aside, sizeof(aside), "%s.aside", place);
    for (unsigned turn = 0; !over; turn++) {
        const char *now = turn % 2 ? forbidden : allowed;
        if (!strcmp(how, "text")) {
            /* Both are equally long: what is torn is neither. */
            memcpy(path, now, size);
            for (volatile int wait = 0; wait < 2000; wait++)
                ;
        } else if (!strcmp(how, "link")) {
            if (symlink(now, aside) || rename(aside, place))
                exit(3);
        } else if (renameat2(AT_FDCWD, place, AT_FDCWD, other, RENAME_EXCHANGE)) {
            exit(4);
        }
    }
    return unused;
}

static int listener(void)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_openat, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof(code) / sizeof(code[0]), code};

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        return -1;
    return syscall(__NR_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &program);
}

static int hand_over(int channel, int fd)
{
    char byte = 'x', control[CMSG_SPACE(sizeof(int))] = {0};
    struct iovec part = {&byte, 1};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)};
    struct cmsghdr *head = CMSG_FIRSTHDR(&message);

    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(head), &fd, sizeof(int));
    return sendmsg(channel, &message, 0) == 1 ? 0 : -1;
}

static double now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}

int main(int count, char **words)
{
    unsigned long opened = 0, beaten = 0, refused = 0;
    pthread_t thread;
    char text[16];
    int fd;

    if (count != 7)
        return 2;
    how = words[2];
    allowed = words[4];
    forbidden = words[5];
    place = words[6];
    strcpy(path, strcmp(how, "text") ? place : allowed);
    if (!strcmp(how, "directory"))
        strcat(path, "/file");
    fd = listener();
    if (fd < 0 || hand_over(atoi(words[1]), fd))
        return 5;
    close(fd);
    close(atoi(words[1]));
    if (pthread_create(&thread, NULL, rewrite, NULL))
        return 6;
    for (double end = now() + atof(words[3]); now() < end;) {
        fd = syscall(__NR_openat, AT_FDCWD, path, O_RDONLY);
        if (fd < 0) {
            refused++;
            continue;
        }
        opened++;
        memset(text, 0, sizeof(text));
        if (read(fd, text, sizeof(text) - 1) > 0 && !strncmp(text, "forbidden", 9))
            beaten++;
        close(fd);
    }
    over = 1;
    pthread_join(thread, NULL);
    printf("%lu %lu %lu\n", opened, beaten, refused);
    return 0;
}
