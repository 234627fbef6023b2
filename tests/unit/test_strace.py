import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scmm_oci.capture import file
from scmm_oci.capture.facts import PathState
from scmm_oci.capture.model import LossKind, NoteKind, Phase, SessionKind, Source
from scmm_oci.capture.strace import lexer
from scmm_oci.capture.strace.importer import MAX_PROBLEMS, Log, import_logs
from scmm_oci.errors import BadInput
from scmm_oci.tables import syscalls
from scmm_oci.tables.arch import Arch


def log(text, *, name="t.strace", pid=None):
    data = text if isinstance(text, bytes) else text.encode()
    return Log(name, lexer.lines(io.BytesIO(data)), pid)


def take(*lines, **options):
    """The capture of lines; it survives being written."""
    capture = import_logs([log("".join(f"{line}\n" for line in lines))], name="t", **options)
    assert file.parse(file.dump(capture)) == capture
    return capture


EXEC = '7 execve("/bin/x", ["x", "-v"], 0x1 /* 3 vars */) = 0'


def run(*lines, **options):
    """The same after a program was executed in /w."""
    return take(EXEC, *(f"7 {line}" for line in lines), **{"cwd": "/w", **options})


def calls(capture, phase=Phase.APP):
    return {call.name or call.nr: call for _, call in capture.calls(phase)}


def edges(capture, arch=Arch.X86_64):
    """All that followed one another, at any stage: names of calls, and words."""
    return {named(pair, arch) for one in capture.order if one.arch is arch for pair in one.pairs}


def triples(capture, arch=Arch.X86_64):
    return {named(triple, arch) for one in capture.order if one.arch is arch for triple in one.triples}


def named(states, arch):
    return tuple(syscalls.name_of(arch, state) if isinstance(state, int) else state for state in states)


def uses(capture, operation="open"):
    return {use.path: use for use in capture.files if use.operation == operation}


def loss(capture, kind):
    found = [one for one in capture.losses if one.kind is kind]
    return found[0].count if found else 0


def problems(*lines, **options):
    with pytest.raises(BadInput) as caught:
        take(*lines, **options)
    return [str(one) for one in caught.value.problems]


def test_a_whole_trace():
    capture = take(
        EXEC,
        "7 brk(NULL)                         = 0x55ee5dd9a000",
        '7 access("/etc/ld.so.preload", R_OK) = -1 ENOENT (No such file or directory)',
        '7 openat(AT_FDCWD, "/etc/ld.so.cache", O_RDONLY|O_CLOEXEC) = 3',
        "7 close(3)                          = 0",
        "7 exit_group(0)                     = ?",
        "7 +++ exited with 0 +++",
    )
    assert (capture.source, capture.losses) == (Source.STRACE, ())
    assert capture.container.args == ("x", "-v")
    (session,) = capture.sessions
    assert (session.kind, session.number) == (SessionKind.MAIN, 0)
    assert [call.name for call in session.setup] == ["execve"]
    got = {call.name: (call.entered, call.succeeded, call.errnos, call.programs, call.first) for call in session.app}
    assert got == {
        "brk": (1, 1, (), (0,), None),
        "access": (1, 0, ("ENOENT",), (0,), None),
        "openat": (1, 1, (), (0,), None),
        "close": (1, 1, (), (0,), None),
        "exit_group": (1, 0, (), (0,), None),
    }
    (program,) = capture.programs
    assert (program.number, program.path, program.state, program.argv0) == (0, "/bin/x", PathState.NAMED, "x")
    assert edges(capture) == {
        ("start:exec", "brk"),
        ("brk", "access"),
        ("access", "openat:read"),
        ("openat:read", "close"),
        ("close", "exit_group"),
    }
    cache = uses(capture)["/etc/ld.so.cache"]
    assert (cache.succeeded, cache.failed, cache.access, cache.state) == (1, 0, ("read_file",), PathState.NAMED)
    preload = uses(capture, "access")["/etc/ld.so.preload"]
    assert (preload.succeeded, preload.failed, preload.errnos, preload.flags) == (0, 1, ("ENOENT",), 4)
    assert [note.kind for note in capture.notes] == [NoteKind.NAMED_PATHS]


def test_calls_that_others_interrupt():
    whole = run("getpid() = 7", 'read(3, "abc", 3) = 3', "getuid() = 0")
    parted = run("getpid() = 7", "read(3,  <unfinished ...>", '<... read resumed>"abc", 3) = 3', "getuid() = 0")
    assert parted == whole
    never = run("read(3,  <unfinished ...>", "+++ killed by SIGKILL +++")
    assert (calls(never)["read"].entered, calls(never)["read"].succeeded) == (1, 0)
    assert "did not begin" in problems(EXEC, "7 getpid() = 7", '7 <... read resumed>"", 3) = 0')[0]
    assert "under way" in problems(EXEC, "7 read(3,  <unfinished ...>", "7 <... write resumed>) = 0")[0]


def test_threads_have_an_order_of_their_own():
    capture = take(
        EXEC,
        "7 clone3({flags=CLONE_VM|CLONE_FS|CLONE_FILES|CLONE_SIGHAND|CLONE_THREAD, exit_signal=0}"
        " => {parent_tid=[8]}, 88) = 8",
        "8 getpid() = 7",
        "7 getuid() = 0",
        "8 getgid() = 0",
    )
    assert edges(capture) == {
        ("start:exec", "clone3"),
        ("start:thread", "getpid"),
        ("clone3", "getuid"),
        ("getpid", "getgid"),
    }
    (values,) = [one for one in capture.arguments if one.name == "clone3"]
    assert (values.indexes, values.field, values.values) == ((0,), "flags", (0x10F00,))


def test_a_child_that_comes_before_its_parent_has_it():
    # The child is linked by the one clone that is under way, and so knows the descriptor.
    capture = take(
        EXEC,
        '7 openat(AT_FDCWD, "/d", O_RDONLY|O_DIRECTORY) = 3',
        "7 vfork( <unfinished ...>",
        '8 openat(3, "a", O_RDONLY) = 4',
        '8 execve("/bin/y", ["y"], 0x1 /* 3 vars */ <unfinished ...>',
        "7 <... vfork resumed>) = 8",
        "8 <... execve resumed>) = 0",
        "8 getpid() = 8",
    )
    assert {"/d", "/d/a"} == set(uses(capture))
    assert [program.path for program in capture.programs] == ["/bin/x", "/bin/y"]
    assert calls(capture)["getpid"].programs == (1,)
    assert calls(capture)["vfork"].succeeded == 1
    assert capture.losses == ()


def test_children_of_two_clones_wait_for_their_names():
    capture = take(
        EXEC,
        "7 clone(child_stack=NULL, flags=CLONE_VM|CLONE_FS|CLONE_FILES|CLONE_SIGHAND|CLONE_THREAD) = 8",
        "8 unshare(CLONE_FS) = 0",
        '8 chdir("/eight") = 0',
        '7 chdir("/seven") = 0',
        "7 clone(child_stack=NULL, flags=SIGCHLD <unfinished ...>",
        "8 clone(child_stack=NULL, flags=SIGCHLD <unfinished ...>",
        '9 open("nine", O_RDONLY) = 3',
        '10 open("ten", O_RDONLY) = 3',
        "8 <... clone resumed>) = 9",
        "7 <... clone resumed>) = 10",
    )
    assert set(uses(capture)) == {"/eight/nine", "/seven/ten"}
    assert capture.losses == ()
    flags = {one.values for one in capture.arguments if one.name == "clone"}
    assert flags == {(17, 0x10F00)}


def test_processes_that_are_not_followed():
    capture = run("clone(child_stack=NULL, flags=SIGCHLD) = 8", "getpid() = 7")
    assert loss(capture, LossKind.UNFOLLOWED) == 1
    followed = take(EXEC, "7 clone(child_stack=NULL, flags=SIGCHLD) = 8", "8 getpid() = 8")
    assert followed.losses == ()
    # The child has other numbers for itself in its namespace.
    namespace = take(EXEC, '7 chdir("/n") = 0', "7 clone(child_stack=NULL, flags=SIGCHLD) = 2", '8 open("a", 0) = 3')
    assert set(uses(namespace)) == {"/n/a"}
    assert namespace.losses == ()


def test_a_handler_begins_anew_and_returns():
    set_up = "rt_sigaction(SIGALRM, {sa_handler=0x55ee, sa_mask=[], sa_flags=0}, NULL, 8) = 0"
    signal = "--- SIGALRM {si_signo=SIGALRM, si_code=SI_KERNEL} ---"
    handler = ("getppid() = 1", "rt_sigreturn({mask=[]}) = 0", "getuid() = 0")
    capture = run(set_up, "getpid() = 7", signal, *handler)
    assert {("signal", "getppid"), ("getppid", "rt_sigreturn"), ("getpid", "getuid")} < edges(capture)
    assert ("getpid", "getppid") not in edges(capture)
    # Without a handler the signal changes nothing.
    ignored = run(set_up.replace("0x55ee", "SIG_IGN"), "getpid() = 7", signal, "getppid() = 1")
    assert ("getpid", "getppid") in edges(ignored)
    assert ("signal", "getppid") not in edges(ignored)
    # Handlers within handlers.
    nested = run(set_up, "getpid() = 7", signal, "getppid() = 1", signal, "getgid() = 0", *handler[1:2] * 2, handler[2])
    assert {("signal", "getppid"), ("signal", "getgid"), ("getppid", "rt_sigreturn"), ("getpid", "getuid")} < edges(
        nested
    )


def test_handlers_go_with_fork_and_not_with_exec():
    set_up = "7 rt_sigaction(SIGALRM, {sa_handler=0x55ee, sa_mask=[], sa_flags=0}, NULL, 8) = 0"
    fork = "7 clone(child_stack=NULL, flags=SIGCHLD) = 8"
    rest = ("8 getpid() = 8", "8 --- SIGALRM {si_signo=SIGALRM} ---", "8 getppid() = 7")
    assert ("signal", "getppid") in edges(take(EXEC, set_up, fork, *rest))
    executed = take(EXEC, set_up, fork, '8 execve("/bin/y", ["y"], 0x1) = 0', *rest)
    assert ("getpid", "getppid") in edges(executed)
    assert ("signal", "getppid") not in edges(executed)


def test_of_a_process_that_ran_before_a_return_proves_the_handler():
    lines = ("7 getpid() = 7", "7 --- SIGALRM {si_signo=SIGALRM} ---", "7 getppid() = 1")
    with_handler = take(*lines, "7 rt_sigreturn({mask=[]}) = 0", "7 getuid() = 0")
    assert edges(with_handler) == {("signal", "getppid"), ("getppid", "rt_sigreturn"), ("getpid", "getuid")}
    assert triples(with_handler) == {("signal", "getppid", "rt_sigreturn")}
    assert ("getpid", "getppid") not in edges(with_handler)
    assert loss(with_handler, LossKind.ATTACHED) == 1
    without = take(*lines, "7 getuid() = 0")
    # And where it had begun is not known: its first call follows nothing.
    assert edges(without) == {("getpid", "getppid"), ("getppid", "getuid")}
    assert triples(without) == {("getpid", "getppid", "getuid")}


def test_restarted_calls_have_no_edge_of_their_own():
    restart = "? ERESTARTSYS (To be restarted if SA_RESTART is set)"
    capture = run(
        "getpid() = 7", f"read(3, 0x1, 1) = {restart}", "--- SIGCHLD {} ---", 'read(3, "x", 1) = 1', "getuid() = 0"
    )
    assert edges(capture) == {("start:exec", "getpid"), ("getpid", "read"), ("read", "getuid")}
    assert (calls(capture)["read"].entered, calls(capture)["read"].succeeded, calls(capture)["read"].errnos) == (
        2,
        1,
        (),
    )
    twice = run("getpid() = 7", 'read(3, "x", 1) = 1', 'read(3, "x", 1) = 1')
    assert ("read", "read") in edges(twice)
    again = run("nanosleep({}, 0x1) = ? ERESTART_RESTARTBLOCK (Interrupted by signal)", "--- SIGCONT {} ---",
                "restart_syscall(<... resuming interrupted nanosleep ...>) = 0", "getuid() = 0")  # fmt: skip
    assert edges(again) == {("start:exec", "nanosleep"), ("nanosleep", "getuid")}
    assert calls(again)["restart_syscall"].entered == 1


def test_an_interrupted_call_has_failed_if_the_handler_returns_so():
    set_up = "rt_sigaction(SIGALRM, {sa_handler=0x55ee, sa_mask=[], sa_flags=0}, NULL, 8) = 0"
    interrupted = ("read(3, 0x1, 1) = ? ERESTARTSYS (To be restarted if SA_RESTART is set)", "--- SIGALRM {} ---")
    failed = run(
        set_up, *interrupted, "rt_sigreturn({mask=[]}) = -1 EINTR (Interrupted system call)", 'read(3, "", 1) = 0'
    )
    assert calls(failed)["read"].errnos == ("EINTR",)
    assert calls(failed)["rt_sigreturn"].errnos == ()
    assert ("read", "read") in edges(failed)
    sleep = "clock_nanosleep(CLOCK_REALTIME, 0, {}, 0x1) = ? ERESTART_RESTARTBLOCK (Interrupted by signal)"
    slept = run(set_up, sleep, interrupted[1], "rt_sigreturn({mask=[]}) = -1 EINTR (Interrupted system call)")
    assert calls(slept)["clock_nanosleep"].errnos == ("EINTR",)
    restarted = run(set_up, *interrupted, "rt_sigreturn({mask=[]}) = 0", 'read(3, "", 1) = 0')
    assert calls(restarted)["read"].errnos == ()
    assert ("read", "read") not in edges(restarted)


def test_a_call_that_strace_could_not_read_is_none():
    lines = ("7 ???( <unfinished ...>", "7 <... ??? resumed>) = ?", "7 ???() = ?")
    assert calls(take(EXEC, *lines)).keys() == calls(take(EXEC, "7 getpid() = 7")).keys() - {"getpid"}


def test_child_that_ends_before_its_parent_has_its_number_is_followed():
    capture = take(
        EXEC, "7 vfork( <unfinished ...>", "8 getpid() = 8", "8 exit_group(0) = ?", "8 +++ exited with 0 +++",
        "7 <... vfork resumed>) = 8", "7 vfork() = 9",
    )  # fmt: skip
    assert loss(capture, LossKind.UNFOLLOWED) == 1  # 9, of which there is no line


def test_own_threads_in_procfs_have_one_name():
    capture = take(
        EXEC,
        '7 open("/proc/self/task/7/stat", O_RDONLY) = 3</proc/7/task/7/stat>',
        '7 open("/proc/7/task/77/stat", O_RDONLY) = 4</proc/7/task/77/stat>',
        '7 open("/proc/7/task", O_RDONLY) = 5</proc/7/task>',
    )
    assert set(uses(capture)) == {"/proc/thread-self/stat", "/proc/self/task/77/stat", "/proc/self/task"}


def test_what_is_no_socket_has_no_address():
    address = '{sa_family=AF_INET, sin_port=htons(9), sin_addr=inet_addr("127.0.0.1")}, 16'
    capture = run(f"connect(9, {address}) = -1 EBADF (Bad file descriptor)", f"connect(8, {address}) = 0")
    assert [(use.succeeded, use.failed) for use in capture.sockets] == [(1, 0)]
    assert loss(capture, LossKind.SOCKETS) == 1


def test_only_messages_that_were_sent_count():
    def message(port):
        address = f'{{sa_family=AF_INET, sin_port=htons({port}), sin_addr=inet_addr("1.2.3.4")}}'
        return f'{{msg_hdr={{msg_name={address}, msg_iov=[{{iov_base="x, [{{", iov_len=4}}]}}, msg_len=4}}'

    nameless = "{msg_hdr={msg_name=NULL}}"
    capture = run(
        "socket(AF_INET, SOCK_DGRAM, IPPROTO_IP) = 3",
        f"sendmmsg(3, [{message(1)}, {message(2)}, {nameless}, {message(3)}], 4, 0) = 2",
        f"sendmmsg(3, [{message(4)}, {message(5)}], 2, 0) = -1 EACCES (Permission denied)",
    )
    assert [(use.port, use.succeeded, use.errnos) for use in capture.sockets] == [
        (1, 1, ()), (2, 1, ()), (4, 0, ("EACCES",))
    ]  # fmt: skip


def test_names_are_joined_to_directories():
    capture = run(
        'openat(AT_FDCWD, "a", O_RDONLY) = 3',
        'chdir("sub") = 0',
        'open("./b//c", O_RDONLY) = 4',
        'openat(AT_FDCWD, "/d", O_RDONLY|O_DIRECTORY) = 5',
        "dup2(5, 9) = 9",
        "fcntl(9, F_DUPFD_CLOEXEC, 20) = 20",
        "close(5) = 0",
        'openat(9, "e", O_RDONLY) = 5',
        'openat(20, "f", O_RDONLY) = 6',
        "fchdir(9) = 0",
        'open("g", O_RDONLY) = 7',
        'open("../h", O_RDONLY) = 8',
        "close_range(9, 20, 0) = 0",
        'openat(9, "no-directory", O_RDONLY) = -1 EBADF (Bad file descriptor)',
        'openat(77, "lost", O_RDONLY) = -1 ENOENT (No such file or directory)',
    )
    assert set(uses(capture)) == {"/w/a", "/w/sub/b/c", "/d", "/d/e", "/d/f", "/d/g", "/d/../h"}
    assert uses(capture)["/d"].access == ("read_dir",)
    assert loss(capture, LossKind.FILES) == 1


def test_descriptors_end_with_exec():
    opened = 'openat(AT_FDCWD, "/d", O_RDONLY|O_DIRECTORY{}) = 5'
    rest = ('execve("/bin/y", ["y"], 0x1) = 0', 'openat(5, "a", O_RDONLY) = 3')
    assert set(uses(run(opened.format(""), *rest))) == {"/d", "/d/a"}
    assert set(uses(run(opened.format("|O_CLOEXEC"), *rest))) == {"/d"}


def test_the_first_directory_may_be_told_later():
    unknown = take(EXEC, '7 open("a", O_RDONLY) = 3')
    assert (uses(unknown), loss(unknown, LossKind.FILES)) == ({}, 1)
    told = take(EXEC, '7 open("a", O_RDONLY) = 3', '7 chdir("s") = 0', '7 open("b", 0) = 3', '7 getcwd("/w/s", 9) = 5')
    assert loss(told, LossKind.FILES) == 3  # the directory that is told is a later one
    told = take(EXEC, '7 open("a", O_RDONLY) = 3', '7 getcwd("/w", 4096) = 3', '7 chdir("s") = 0', '7 open("b", 0) = 3')
    assert set(uses(told)) == {"/w/a", "/w/s/b"}
    assert told.losses == ()


def test_decorated_descriptors_are_resolved_paths():
    capture = take(
        EXEC,
        r'7 openat(AT_FDCWD</tmp/st>, "l", O_RDONLY) = 3</real/\74x\76 \303\251>',
        r'7 openat(7</un>, "a", O_RDONLY) = -1 ENOENT (No such file or directory)',
        '7 open("b", O_RDONLY) = 4</tmp/st/b>(deleted)',
        '7 open("/proc/self/fd/1", O_WRONLY) = 5<pipe:[10540]>',
        '7 open("/proc/7/maps", O_RDONLY) = 6</proc/7/maps>',
        "7 ftruncate(3</real/f>, 3) = 0",
        "7 ioctl(1</dev/pts/0<char 136:0>>, TCGETS, 0x1) = 0",
        "7 ioctl(1</tmp/file>, TCGETS, 0x1) = -1 ENOTTY (Inappropriate ioctl for device)",
        '7 newfstatat(3</real/f>, "", {st_mode=S_IFREG|0644}, AT_EMPTY_PATH) = 0',
        '7 rename("c", "d") = 0',
    )
    found = {(use.operation, use.path): use for use in capture.files}
    assert found["open", "/real/<x> é"].state is PathState.RESOLVED
    assert found["open", "/un/a"].state is PathState.NAMED
    assert found["open", "/tmp/st/b"].state is PathState.DELETED
    assert found["open", "/proc/self/maps"].state is PathState.RESOLVED
    assert found["ftruncate", "/real/f"].access == ("truncate",)
    assert found["ioctl", "/dev/pts/0"].access == ("ioctl_dev",)
    assert ("ioctl", "/tmp/file") not in found
    assert found["stat", "/real/f"].flags == 0x1000
    assert found["rename-from", "/tmp/st/c"].other == "/tmp/st/d"
    assert found["rename-to", "/tmp/st/d"].parent_access == ("make_reg", "remove_file")
    assert not any("pipe" in path for _, path in found)
    assert capture.losses == ()


def test_what_files_were_made():
    capture = run(
        'open("/new", O_WRONLY|O_CREAT|O_EXCL, 0600) = 3',
        'open("/new", O_WRONLY|O_CREAT|O_TRUNC, 0600) = 3',
        'stat("/gone", 0x1) = -1 ENOENT (No such file or directory)',
        'open("/gone", O_WRONLY|O_CREAT|O_TRUNC, 0600) = 3',
        'open("/unknown", O_WRONLY|O_CREAT|O_TRUNC, 0600) = 3',
        'mkdir("/dir", 0777) = 0',
        'rename("/dir", "/w/dir") = 0',
        'mknod("/fifo", S_IFIFO|0644) = 0',
        'unlinkat(AT_FDCWD, "/w/dir", AT_REMOVEDIR) = 0',
    )
    found = {(use.operation, use.path, use.created): (use.access, use.parent_access) for use in capture.files}
    assert found["open", "/new", True] == (("write_file",), ("make_reg",))
    assert found["open", "/new", False] == (("truncate", "write_file"), ())
    assert found["open", "/gone", True] == (("write_file",), ("make_reg",))
    assert found["open", "/unknown", True] == (("truncate", "write_file"), ("make_reg",))
    assert found["mkdir", "/dir", False] == ((), ("make_dir",))
    assert found["rename-from", "/dir", False] == ((), ("refer", "remove_dir"))
    assert found["rename-to", "/w/dir", False] == ((), ("make_dir", "refer", "remove_dir"))
    assert found["mknod", "/fifo", False] == ((), ("make_fifo",))
    assert found["unlink", "/w/dir", False] == ((), ("remove_dir",))


def test_cut_names_are_counted():
    capture = run('open("/abc"..., O_RDONLY) = 3', 'open("/abc", O_RDONLY) = 4')
    assert loss(capture, LossKind.FILES) == 1
    assert uses(capture)["/abc"].succeeded == 1


def test_argument_values():
    capture = run(
        'openat2(AT_FDCWD, "/x", {flags=O_RDONLY, resolve=RESOLVE_BENEATH}, 24) = 3',
        "setsockopt(3, SOL_SOCKET, SO_REUSEADDR, [1], 4) = 0",
        "mmap(NULL, 8192, PROT_READ|PROT_EXEC, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0) = 0x7fe328240000",
        "mmap(NULL, 8192, 0x3 /* PROT_READ|PROT_WRITE */, 0x22, -1, 0) = 0x7fe328240000",
        "fcntl(3, F_NOTHING) = 0",
    )
    found = {(one.name, one.indexes, one.field): one.values for one in capture.arguments}
    assert found["openat2", (2,), "resolve"] == (8,)
    assert found["setsockopt", (1, 2), None] == (1 << 32 | 2,)
    assert found["mmap", (2,), None] == (3, 5)
    assert found["mmap", (3,), None] == (0x22,)
    assert loss(capture, LossKind.ARGUMENTS) == 1
    many = run(*(f"prctl({hex(number)}, 0) = 0" for number in range(1000)))
    (values,) = [one for one in many.arguments if one.name == "prctl"]
    assert (len(values.values), values.open_ended) == (256, True)


def test_sockets():
    inet = '{sa_family=AF_INET, sin_port=htons(80), sin_addr=inet_addr("1.2.3.4")}'
    capture = run(
        "socket(AF_INET, SOCK_STREAM|SOCK_CLOEXEC, IPPROTO_TCP) = 3",
        f"connect(3, {inet}, 16) = -1 EINPROGRESS (Operation now in progress)",
        f"bind(3, {inet}, 16) = 0",
        "listen(3, 128) = 0",
        "socket(AF_UNIX, SOCK_DGRAM, 0) = 4",
        'connect(4, {sa_family=AF_UNIX, sun_path="sock"}, 7) = 0',
        'bind(4, {sa_family=AF_UNIX, sun_path=@"name"}, 7) = 0',
        f'sendto(9<UDP:[1]>, "x", 1, 0, {inet}, 16) = 1',
        f'sendto(3, "{inet}", 1, 0, NULL, 0) = 1'.replace('addr("1.2.3.4")', "addr(1)"),
        f"sendmmsg(9, [{{msg_hdr={{msg_name={inet}}}}}, {{msg_hdr={{msg_name={inet}}}}}], 2, 0) = 2",
    )
    found = [(one.operation, one.family, one.type, one.protocol, one.address, one.port, one.succeeded, one.errnos)
             for one in capture.sockets]  # fmt: skip
    assert found == [
        ("bind", "inet", "stream", 6, "1.2.3.4", 80, 1, ()),
        ("bind", "unix", "dgram", 0, "@name", None, 1, ()),
        ("connect", "inet", "stream", 6, "1.2.3.4", 80, 0, ("EINPROGRESS",)),
        ("connect", "unix", "dgram", 0, "sock", None, 1, ()),
        ("listen", "inet", "stream", 6, "1.2.3.4", 80, 1, ()),
        ("sendto", "inet", "dgram", 17, "1.2.3.4", 80, 3, ()),
    ]
    assert uses(capture, "connect")["/w/sock"].access == ("resolve_unix",)
    assert capture.losses == ()
    older = run(f"connect(3, {inet}, 16) = 0")
    assert (older.sockets[0].type, loss(older, LossKind.SOCKETS)) == ("0", 1)


def test_other_abis():
    lines = ("7 [ Process PID=7 runs in 32 bit mode. ]", "7 getpid() = 7", '7 execve("/bin/y", ["y"], 0x1) = 0')
    capture = take(EXEC, *lines, "7 getpid() = 7")
    got = {(call.arch, call.nr): call.entered for _, call in capture.calls(Phase.APP)}
    assert got == {(Arch.X86, 20): 1, (Arch.X86, 11): 1, (Arch.X86_64, 39): 1}
    assert edges(capture, Arch.X86) == {("start:exec", "getpid"), ("getpid", "execve")}
    # -n tells as well, and a name that only one of them has.
    numbered = take(EXEC, "7 [  20] getpid() = 7")
    assert {(call.arch, call.nr) for _, call in numbered.calls(Phase.APP)} == {(Arch.X86, 20)}
    named = take(EXEC, "7 mmap2(NULL, 1, PROT_READ, MAP_PRIVATE, 3, 0) = 0x1000")
    assert {call.arch for _, call in named.calls(Phase.APP)} == {Arch.X86}
    assert loss(named, LossKind.CALLS) == 1
    assert "AARCH" not in problems(EXEC, lines[0], arch=Arch.RISCV64)[0]


def test_numbers_without_a_name():
    capture = run("syscall_0x270f(0x1, 0x2, 0x3, 0, 0, 0) = -1 ENOSYS (Function not implemented)")
    call = calls(capture)[9999]
    assert (call.entered, call.errnos) == (1, ("ENOSYS",))
    assert {note.kind: note.count for note in capture.notes}[NoteKind.BAD_NUMBERS] == 1
    assert loss(capture, LossKind.CALLS) == 0


def test_a_thread_that_executes_takes_its_leaders_place():
    capture = take(
        EXEC,
        "7 clone(child_stack=0x1, flags=CLONE_VM|CLONE_FS|CLONE_FILES|CLONE_SIGHAND|CLONE_THREAD) = 8",
        "7 pause( <unfinished ...>",
        '8 execve("/bin/y", ["y"], 0x1 <unfinished ...>',
        "7 <... pause resumed>) = ?",
        "7 +++ superseded by execve in pid 8 +++",
        "7 <... execve resumed>) = 0",
        "7 getpid() = 7",
    )
    assert [program.path for program in capture.programs] == ["/bin/x", "/bin/y"]
    assert calls(capture)["getpid"].programs == (1,)
    assert ("start:exec", "getpid") in edges(capture)
    assert capture.losses == ()


def test_filtered_attached_and_detached():
    whole = run("getpid() = 7", "exit_group(0) = ?", "+++ exited with 0 +++")
    assert whole.losses == ()
    filtered = run("getpid() = 7", "+++ exited with 0 +++")
    assert loss(filtered, LossKind.FILTERED) == 1
    attached = take("7 restart_syscall(<... resuming interrupted read ...>) = 0", "7 read(0,  <detached ...>",
                    "strace: Process 7 detached")  # fmt: skip
    assert loss(attached, LossKind.ATTACHED) == 1
    assert NoteKind.STILL_RUNNING in [note.kind for note in attached.notes]
    assert loss(run("io_uring_setup(8, {}) = 3"), LossKind.IO_URING) == 1


def test_times():
    capture = take(*(
        f"7 {time} {line}"
        for time, line in [
            ("1795621987.000000", 'execve("/bin/x", ["x"], 0x1) = 0 <0.000428>'),
            ("1795621987.250000", 'open("/a", O_RDONLY) = 3 <0.000001>'),
            ("1795621988.500000", 'open("/a", O_RDONLY) = 3 <0.000001>'),
        ]
    ))  # fmt: skip
    assert (capture.started_at, capture.ended_at) == ("2026-11-25T15:53:07Z", "2026-11-25T15:53:08.500000Z")
    assert (calls(capture)["open"].first, uses(capture)["/a"].first, uses(capture)["/a"].succeeded) == (250, 250, 2)


def test_files_of_ff_by_time_and_without():
    def logs(*, timed):
        parent = [
            (1, 'execve("/bin/x", ["x"], 0x1) = 0'),
            (2, 'chdir("/d") = 0'),
            (3, "fork() = 5"),
            (6, 'chdir("/e") = 0'),
        ]
        child = [(4, 'open("a", O_RDONLY) = 3'), (7, 'open("b", O_RDONLY) = 3')]
        return [
            log("".join(f"{f'10:00:0{at} ' if timed else ''}{line}\n" for at, line in lines), name=f"t.{pid}", pid=pid)
            # The child's pid is the lower one: pids wrap.
            for pid, lines in ((5, child), (9, parent))
        ]

    timed = import_logs(logs(timed=True), name="t")
    assert set(uses(timed)) == {"/d/a", "/d/b"}
    assert timed.losses == ()
    plain = import_logs(sorted(logs(timed=False), key=lambda one: -(one.pid or 0)), name="t")
    assert calls(plain)["open"].entered == 2
    assert calls(timed)["fork"].succeeded == calls(plain)["fork"].succeeded == 1


def test_all_that_is_wrong_is_said_with_its_place():
    found = problems(EXEC, "7 hello", "7 getpidd() = 1", "7 getpid() = 1", "7 read(3", "7 getpid() = -1 EWHAT (x)")
    assert found == [
        "t.strace: line 2: is not a line of strace (write the trace to a file of its own: strace -o FILE)",
        "t.strace: line 3: getpidd is not a system call of x86_64 (did you mean 'getpid'?)",
        "t.strace: line 5: has a call whose parenthesis is not closed (is the file cut?)",
        "t.strace: line 6: has an error EWHAT that Linux does not have",
    ]
    assert len(problems(*["rubbish"] * 5000)) == MAX_PROBLEMS
    assert problems() == ["t.strace: has no system call (write a trace with: strace -f -o FILE COMMAND)"]
    assert "longer than" in problems('7 write(1, "' + "x" * lexer.MAX_LINE + '", 1) = 1')[0]


def test_a_last_line_that_was_cut_is_a_loss():
    whole = f"{EXEC}\n7 getpid() = 7\n"
    capture = import_logs([log(f"{whole}7 openat(AT_FDC")], name="t")
    assert loss(capture, LossKind.CUT_SHORT) == 1
    assert import_logs([log(whole)], name="t").losses == ()
    with pytest.raises(BadInput):
        import_logs([log(f"{whole}7 openat(AT_FDC\n7 getpid() = 7\n")], name="t")


@given(st.lists(st.binary(max_size=80), max_size=12))
def test_no_bytes_break_it(lines):
    try:
        capture = import_logs([log(b"\n".join([EXEC.encode(), *lines]))], name="t")
    except BadInput as error:
        assert error.problems
    else:
        assert file.parse(file.dump(capture)) == capture


_PIECES = r"""
7 8 openat( clone( execve( AT_FDCWD 3 , ) = 0 -1 ENOENT ? "/a" "b" [ ] { } < > </x> ... <unfinished ...> <... resumed>
flags= CLONE_VM {sa_family= --- +++ SIGCHLD exited with \ /* */ rt_sigreturn( connect( fcntl( rt_sigaction(
"""
_fragment = st.sampled_from(_PIECES.split())


@given(st.lists(st.lists(_fragment, max_size=14).map(" ".join), max_size=10))
def test_no_pieces_of_traces_break_it(lines):
    test_no_bytes_break_it.hypothesis.inner_test([line.encode() for line in lines])


@st.composite
def _traces(draw):
    """Lines, and the counts they stand for."""
    lines, counts = [EXEC], {}
    for name in draw(st.lists(st.sampled_from(["getpid", "read", "close", "munmap", "futex"]), max_size=20)):
        failed = draw(st.sampled_from([None, "EINTR", "EBADF"]))
        text = draw(st.text(st.characters(min_codepoint=32, max_codepoint=126, exclude_characters='"\\'), max_size=8))
        end = f") = -1 {failed} (why)" if failed else ") = 0"
        entry = counts.setdefault(name, [0, 0, set()])
        entry[0] += 1
        if failed:
            entry[2].add(failed)
        else:
            entry[1] += 1
        if draw(st.booleans()):
            lines += [f'7 {name}("{text}",  <unfinished ...>', f"7 <... {name} resumed>0x1, FUTEX_WAKE{end}"]
        else:
            lines.append(f'7 {name}("{text}", 0x1{end}')
    return lines, counts


@given(_traces())
def test_what_is_rendered_comes_back(trace):
    lines, counts = trace
    got = {name: [call.entered, call.succeeded, set(call.errnos)] for name, call in calls(take(*lines)).items()}
    assert got == counts


def test_a_long_chain_of_waiting_children_needs_no_stack():
    # Each child's lines wait for the one before it, whose own clone is among the waiting lines.
    lines = [EXEC, "7 fork() = 8", "8 getpid() = 8", "7 fork( <unfinished ...>", "8 fork( <unfinished ...>"]
    for pid in range(100, 3100):
        lines += [f"{pid} getuid() = 0", f"{pid} fork() = {pid + 1}"]
    capture = take(*lines, "7 <... fork resumed>) = 100", "8 <... fork resumed>) = 9")
    assert calls(capture)["getuid"].entered == 3000
    assert calls(capture)["fork"].succeeded == 3003


def test_two_files_of_one_process_are_refused():
    text = "getpid() = 5\n"
    assert import_logs([log(text, name="a.5", pid=5), log(text, name="a.6", pid=6)], name="t").name == "t"
    with pytest.raises(BadInput, match=r"b\.5: is of the same process as a\.5"):
        import_logs([log(text, name="a.5", pid=5), log(text, name="b.5", pid=5)], name="t")
