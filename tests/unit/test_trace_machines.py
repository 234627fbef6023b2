"""Traces in the forms of the first state machines of calls (echo, cat, nginx) → machines that one can check by hand."""

import pytest

from scmm_oci.cli.main import extract, import_strace
from scmm_oci.policy.document import read as read_policy
from scmm_oci.policy.machine import Event, Kind, Machine
from scmm_oci.tables.arch import Arch

# One process, without numbers, as `strace -o` writes it.
ECHO = """\
execve("/bin/echo", ["echo", "hi"], 0x7ffc1 /* 9 vars */) = 0
brk(NULL) = 0x55d0
access("/etc/ld.so.preload", R_OK) = -1 ENOENT (No such file or directory)
openat(AT_FDCWD, "/etc/ld.so.cache", O_RDONLY|O_CLOEXEC) = 3
mmap(NULL, 30000, PROT_READ, MAP_PRIVATE, 3, 0) = 0x7f10
close(3) = 0
openat(AT_FDCWD, "/lib/x86_64-linux-gnu/libc.so.6", O_RDONLY|O_CLOEXEC) = 3
read(3, "\\177ELF"..., 832) = 832
mmap(0x7f20, 1400000, PROT_READ|PROT_EXEC, MAP_PRIVATE|MAP_FIXED|MAP_DENYWRITE, 3, 0x26000) = 0x7f20
mmap(0x7f30, 50000, PROT_READ|PROT_WRITE, MAP_PRIVATE|MAP_FIXED|MAP_ANONYMOUS, -1, 0) = 0x7f30
close(3) = 0
mprotect(0x7f30, 16384, PROT_READ) = 0
brk(NULL) = 0x55d0
brk(0x55f0) = 0x55f0
write(1, "hi\\n", 3) = 3
close(1) = 0
close(2) = 0
exit_group(0) = ?
+++ exited with 0 +++
"""
ECHO_MACHINE = {
    "start:exec": ("brk",),
    "access": ("openat:read",),
    "brk": ("access", "brk", "write"),
    "close": ("close", "exit_group", "mprotect:data", "openat:read"),
    "mmap:data": ("close",),
    "mmap:exec": ("mmap:data",),
    "mprotect:data": ("brk",),
    "openat:read": ("mmap:data", "read"),
    "read": ("mmap:exec",),
    "write": ("close",),
}

CAT = """\
execve("/bin/cat", ["cat", "a", "b"], 0x7ffc1 /* 9 vars */) = 0
brk(NULL) = 0x55d0
openat(AT_FDCWD, "a", O_RDONLY) = 3
fadvise64(3, 0, 0, POSIX_FADV_SEQUENTIAL) = 0
read(3, "one", 131072) = 3
write(1, "one", 3) = 3
read(3, "", 131072) = 0
close(3) = 0
openat(AT_FDCWD, "b", O_RDONLY) = -1 ENOENT (No such file or directory)
write(2, "cat: b: No such file or directory", 33) = 33
close(1) = 0
exit_group(1) = ?
+++ exited with 1 +++
"""
CAT_MACHINE = {
    "start": ("brk",),
    "brk": ("openat",),
    "close": ("exit_group", "openat"),
    "fadvise64": ("read",),
    "openat": ("fadvise64", "write"),
    "read": ("close", "write"),
    "write": ("close", "read"),
}

# A master that listens, a worker that serves and gets a signal, with `strace -f`.
NGINX = """\
7 execve("/usr/sbin/nginx", ["nginx"], 0x7ffc1 /* 9 vars */) = 0
7 openat(AT_FDCWD, "/var/log/nginx/error.log", O_WRONLY|O_CREAT|O_APPEND, 0644) = 3
7 rt_sigaction(SIGHUP, {sa_handler=0x55d0, sa_mask=[], sa_flags=SA_RESTORER, sa_restorer=0x7f10}, NULL, 8) = 0
7 socket(AF_INET, SOCK_STREAM, IPPROTO_IP) = 4
7 bind(4, {sa_family=AF_INET, sin_port=htons(80), sin_addr=inet_addr("0.0.0.0")}, 16) = 0
7 listen(4, 511) = 0
7 clone(child_stack=NULL, flags=CLONE_CHILD_CLEARTID|CLONE_CHILD_SETTID|SIGCHLD, child_tidptr=0x7f10) = 8
7 rt_sigsuspend([], 8 <unfinished ...>
8 epoll_create(512) = 5
8 epoll_wait(5, [{EPOLLIN, {u32=1, u64=1}}], 512, -1) = 1
8 accept4(4, {sa_family=AF_INET, sin_port=htons(999), sin_addr=inet_addr("10.0.0.1")}, [16], SOCK_NONBLOCK) = 6
8 recvfrom(6, "GET / HTTP/1.1"..., 1024, 0, NULL, NULL) = 70
8 openat(AT_FDCWD, "/usr/share/nginx/html/index.html", O_RDONLY|O_NONBLOCK) = 7
8 writev(6, [{iov_base="HTTP/1.1 200 OK"..., iov_len=238}], 1) = 238
8 sendfile(6, 7, [0] => [612], 612) = 612
8 close(7) = 0
8 epoll_wait(5, 0x55d0, 512, 65000) = -1 EINTR (Interrupted system call)
8 --- SIGHUP {si_signo=SIGHUP, si_code=SI_USER, si_pid=1, si_uid=0} ---
8 write(3, "signal", 6) = 6
8 rt_sigreturn({mask=[]}) = -1 EINTR (Interrupted system call)
8 close(6) = 0
8 exit_group(0) = ?
8 +++ exited with 0 +++
7 <... rt_sigsuspend resumed>) = ? ERESTARTNOHAND (To be restarted if no handler)
7 +++ killed by SIGKILL +++
"""
NGINX_STARTING = {
    "start:exec": ("openat:write",),
    "bind": ("listen",),
    "openat:write": ("rt_sigaction",),
    "rt_sigaction": ("socket:inet",),
    "socket:inet": ("bind",),
}
NGINX_SERVING = {
    "start:fork": ("epoll_create",),
    "signal": ("write",),
    "accept4": ("recvfrom",),
    "clone": ("rt_sigsuspend",),
    "close": ("epoll_wait", "exit_group"),
    "epoll_create": ("epoll_wait",),
    "epoll_wait": ("accept4", "close"),
    "listen": ("clone",),
    "openat:read": ("writev",),
    "recvfrom": ("openat:read",),
    "sendfile": ("close",),
    "write": ("rt_sigreturn",),
    "writev": ("sendfile",),
}


@pytest.fixture
def made(tmp_path, monkeypatch):
    """The policy that is made of a trace, with these flags."""
    monkeypatch.chdir(tmp_path)

    def make(text, *flags):
        (tmp_path / "t.strace").write_text(text)
        assert import_strace(["t.strace", "-o", "t.scmm-cap", "--cwd", "/srv"]) == 0
        command = ["-it.scmm-cap", "-op.yaml", "--transitions", "--accept-incomplete", "--non-interactive", *flags]
        assert extract(command) == 0
        return read_policy("p.yaml")

    return make


def rows(transitions):
    return {one.key: one.to for one in transitions}


def violations(policy, *words):
    machine = Machine.of(policy, Arch.X86_64)
    found = machine.run([Event(1, Kind.EXEC), *(Event(1, Kind.CALL, call=word) for word in words)])
    return [(one.state, one.to) for one in found]


def test_echo(made):
    policy = made(ECHO, "--refine")
    assert rows(policy.transitions) == ECHO_MACHINE
    assert violations(policy, "brk", "brk", "write", "close", "close", "exit_group") == []
    assert violations(policy, "brk", "write", "mmap:exec") == [("write", "mmap:exec")]


def test_cat(made):
    policy = made(CAT)
    assert rows(policy.transitions) == CAT_MACHINE
    assert violations(policy, "brk", "openat:read", "write", "read", "write") == []
    # Coarse machines cannot tell how a file is opened; refined ones can.
    assert violations(policy, "brk", "openat:write") == []
    assert violations(made(CAT, "--refine"), "brk", "openat:write") == [("brk", "openat:write")]


def test_nginx(made):
    policy = made(NGINX, "--refine", "--serving-from=listen", "--watch=kill")
    assert rows(policy.transitions) == NGINX_STARTING and policy.serving.calls == ("listen",)
    assert rows(policy.serving.transitions) == NGINX_SERVING
    machine = Machine.of(policy, Arch.X86_64)
    master = [(7, Kind.CALL, one) for one in ("openat:write", "rt_sigaction", "socket:inet", "bind", "listen", "clone")]
    worker = [(8, Kind.CALL, one) for one in ("epoll_create", "epoll_wait", "accept4", "recvfrom")]
    events = [
        Event(7, Kind.EXEC),
        *(Event(thread, kind, call=call) for thread, kind, call in master),
        Event(7, Kind.FORK, child=8),
        *(Event(thread, kind, call=call) for thread, kind, call in worker),
    ]
    assert machine.run(events) == []
    # What the server did to begin is not what its worker may do: no other socket, and no file to write.
    for word in ("socket:inet", "openat:write"):
        (found,) = machine.run([*events, Event(8, Kind.CALL, call=word)])
        assert (found.state, found.to) == ("recvfrom", word)
    alone = made(NGINX, "--refine")
    assert rows(alone.transitions) == {**NGINX_STARTING, **NGINX_SERVING} and alone.serving is None


def test_histories_of_a_trace(made):
    deep = rows(made(CAT, "--refine", "--depth=3").transitions)
    shallow = rows(made(CAT, "--refine").transitions)
    assert {key: to for key, to in deep.items() if " > " in key} == {
        "brk > openat:read": ("fadvise64",),
        "close > openat:read": ("write",),
        "fadvise64 > read": ("write",),
        "openat:read > write": ("close",),
        "read > write": ("read",),
        "read > close": ("openat:read",),
        "write > close": ("exit_group",),
        "write > read": ("close",),
    }
    assert {key: to for key, to in deep.items() if " > " not in key} == shallow
