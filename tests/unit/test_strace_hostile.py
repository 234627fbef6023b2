"""Traces that no strace wrote: none crashes the import, takes it long, or makes a capture that cannot be read."""

import io
import time

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from scmm_oci.capture import file
from scmm_oci.capture.facts import PathState
from scmm_oci.capture.model import LossKind
from scmm_oci.capture.strace import lexer, paths, values
from scmm_oci.capture.strace.importer import Log, import_logs
from scmm_oci.capture.strace.threads import MAX_SIGNALS, Descriptors, Handlers, Open, Place
from scmm_oci.cli import import_strace as command
from scmm_oci.errors import BadInput, Failure

EXEC = '1 execve("/bin/x", ["x"], 0x7ff /* 1 vars */) = 0'


def run(*lines, first=EXEC, **options):
    """The capture of lines behind the first; it can be read."""
    text = "".join(f"{line}\n" for line in (first, *(f"1 {line}" for line in lines)))
    log = Log("t", lexer.lines(io.BytesIO(text.encode())), None)
    capture = import_logs([log], name="t", **options)
    assert file.parse(file.dump(capture)) == capture
    return capture


def lost(capture, kind=LossKind.FILES):
    return sum(one.count for one in capture.losses if one.kind is kind)


def opened(capture):
    return {use.path: use for use in capture.files if use.operation == "open"}


@pytest.mark.parametrize("escape", ["\0", r"\0", r"\x00"])
def test_a_descriptor_whose_path_has_a_nul(escape):
    run(f'openat(AT_FDCWD, "/x", O_RDONLY) = 3<{escape}abc>', f"getdents64(3<{escape}abc>, 0x1, 100) = 0")
    assert "/x" not in opened(run(f'openat(AT_FDCWD, "/x", O_RDONLY) = 3</a{escape}b>'))


@pytest.mark.parametrize("sent", ["-11", "99999999999999999999", "0", "1"])
def test_messages_that_cannot_be_so_many(sent):
    address = '{sa_family=AF_INET, sin_port=htons(1), sin_addr=inet_addr("1.1.1.1")}'
    (use,) = run(f"sendmmsg(5, [{{msg_hdr={{msg_name={address}}}}}], 1, 0) = {sent}").sockets
    assert use.address == "1.1.1.1"


@pytest.mark.parametrize(
    "call", ["close_range", "close", "dup", "dup2", "fcntl", "fchdir", "chdir", "chroot", "socket"]
)
def test_calls_without_arguments(call):
    run(f"{call}() = 0")


@pytest.mark.parametrize("call", ["getcwd", "chdir", "chroot"])
def test_a_directory_with_a_nul(call):
    run(rf'{call}("/a\0b", 9) = 5', 'openat(AT_FDCWD, "x", O_RDONLY) = 3', 'openat(AT_FDCWD, "/y", O_RDONLY) = 3')


def test_a_program_with_a_nul():
    (program,) = run(first=r'1 execve("\0x", ["x"], 0x7ff /* 1 vars */) = 0').programs
    assert program.state is PathState.OUTSIDE


def test_names_that_are_too_long_are_lost():
    place = "/" + "b" * 4000
    capture = run(f'getcwd("{place}", 5000) = 4002', f'openat(AT_FDCWD, "{"c" * 8000}", O_RDONLY) = 3')
    assert (lost(capture), opened(capture)) == (1, {})
    # What is named below a directory that is told later.
    down = [f'chdir("{"d" * 4000}") = 0'] * 2
    capture = run(*down, f'openat(AT_FDCWD, "{"c" * 150}", O_RDONLY) = 3', cwd=None)
    (unplaced,) = [lost(capture)]
    assert unplaced == 3
    capture = run(
        "clone(child_stack=NULL, flags=0) = 2\n2 " + down[0] + "\n2 " + down[1],
        f'getcwd("{place}", 5000) = 4002',
    )
    assert lost(capture) == 1
    assert paths.too_long("ä" * 2048)
    assert not paths.too_long("a" * 4095)


def test_a_long_name_is_not_an_error_of_the_import_when_the_kernel_refused_it():
    capture = run(f'openat(AT_FDCWD, "/{"c" * 8000}", O_RDONLY) = -1 ENAMETOOLONG (File name too long)')
    assert (opened(capture), lost(capture)) == ({}, 0)


def test_long_arguments_are_cut():
    capture = run(first=f'1 execve("/bin/x", ["x", "{"y" * 140000}"], 0x7ff /* 1 vars */) = 0')
    assert [len(one) for one in capture.container.args] == [1, 131072]


@pytest.mark.parametrize("kind", ["SOCK_", "SOCK_" + "X" * 99, "", "SOCK_|SOCK_CLOEXEC"])
def test_sockets_of_strange_types(kind):
    capture = run(f"socket(AF_INET, {kind}, 0) = 3", "connect(3, {sa_family=AF_INET, sin_port=htons(1)}, 16) = 0")
    assert [0 < len(one.type) <= 64 for one in capture.sockets] == [True]
    capture = run(f'connect(3<UNIX-{"A" * 99}:[1]>, {{sa_family=AF_UNIX, sun_path="/x"}}, 16) = 0')
    assert [len(one.type) for one in capture.sockets] == [64]


def invoke(tmp_path, *options):
    trace = tmp_path / "t.strace"
    trace.write_text(EXEC + "\n1 getpid() = 1\n")
    output = tmp_path / "t.scmm-cap"
    return CliRunner().invoke(command.import_strace, [str(trace), "-o", str(output), *options]), output


@pytest.mark.parametrize("options", [("--name", "n" * 4097), ("--cwd", "/" + "d" * 4095)])
def test_options_that_are_too_long(options, tmp_path):
    result, output = invoke(tmp_path, *options)
    assert isinstance(result.exception, BadInput)
    assert [one.place for one in result.exception.problems] == [options[0]]
    assert not output.exists()


def test_what_could_not_be_read_is_not_written(tmp_path, monkeypatch):
    monkeypatch.setattr(command, "_MAX_NAME", 5000)
    result, output = invoke(tmp_path, "--name", "n" * 4097)
    assert isinstance(result.exception, Failure)
    assert not output.exists()


def seconds(work):
    start = time.process_time()
    work()
    return time.process_time() - start


def test_descriptors_are_read_in_linear_time():
    text = "3<" + "> /* " * 6000
    assert values.descriptor(text) is None
    assert seconds(lambda: values.descriptor(text + "x")) < 0.2
    assert values.descriptor("3<" + "a" * (1 << 15) + ">") is None
    assert seconds(lambda: values.pair("[1" + "<>, 1" * 30000)) < 1
    assert seconds(lambda: run(f"fchdir(3<{'> /* ' * 6000}*/) = 3")) < 2


def test_comments_without_an_end_are_read_in_linear_time():
    def refused():
        with pytest.raises(BadInput):
            run(f"fchdir(3<{'> /* ' * 100000}) = 3")

    assert seconds(refused) < 2


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("3", (3, None)),
        ("3</a>", (3, "/a")),
        ("3</a>(deleted)", (3, "/a (deleted)")),
        ("3</a> /* x */", (3, "/a")),
        ("3</a /* b> /* c */", (3, "/a /* b")),
        ("3 /* x */", (3, None)),
        ("3</dev/null<char 1:3>>", (3, "/dev/null<char 1:3>")),
        ("AT_FDCWD</w>", (-100, "/w")),
        ("3</a */", None),
        ("3<", None),
        ("3(deleted)", None),
        ("3>", None),
        ("12345678901", None),
    ],
)
def test_descriptors(text, found):
    assert values.descriptor(text) == found


def test_pairs():
    assert values.pair("[3, 4]") == (3, 4)
    assert values.pair("[3<UNIX:[1->2]>, 4<UNIX:[2->1]>]") == (3, 4)
    assert values.pair("[3]") is values.pair("[3, 4, 5]") is values.pair("3, 4") is None


def test_children_share_what_they_do_not_change():
    table = Descriptors({fd: Open() for fd in range(3)})
    copies = [table.copy() for _ in range(3)]
    assert all(one._open is table._open for one in copies)
    copies[0].close(1, 1)
    copies[1].set(7, Open())
    copies[2].close_on_exec(0, 9)
    table.close(0, 1)
    assert [len(one) for one in (*copies, table)] == [2, 4, 3, 1]
    assert [len(one.executed()) for one in (*copies, table)] == [2, 4, 0, 1]
    handlers = Handlers()
    handlers.learn("SIGINT", False)
    child = handlers.copy()
    assert child._seen is handlers._seen
    child.learn("SIGINT", None)
    handlers.learn("SIGHUP", True)
    handlers.use("SIGHUP")
    assert [child.handles(one) for one in ("SIGINT", "SIGHUP")] == [False, None]
    assert [handlers.handles(one) for one in ("SIGINT", "SIGHUP")] == [True, False]


def test_signals_are_not_without_number():
    handlers = Handlers()
    for number in range(1000):
        handlers.learn(f"SIG{number}", False)
    handlers.learn("S" * 1000, None)
    assert len(handlers) == MAX_SIGNALS


def test_parents_of_parents():
    base = Place("/a/b/c", PathState.RESOLVED)
    found = [paths.join(base, name).path for name in ("../x", "../../x", "../../../../x", "..", "../../..", "x/..")]
    assert found == ["/a/b/x", "/a/x", "/x", "/a/b", "/", "/a/b/c/x/.."]
    deep = Place("/a" * 4000, PathState.RESOLVED)
    assert seconds(lambda: paths.join(deep, "../" * 300000)) < 1


def test_an_unknown_flag_takes_none_away():
    capture = run('open("/p", O_RDWR|O_CREAT|O_WHATEVER, 0666) = 3')
    use = opened(capture)["/p"]
    assert (use.flags, use.access, use.parent_access) == (0o102, ("read_file", "write_file"), ("make_reg",))
    assert lost(capture) == 1
    assert lost(run('open("/p", O_RDWR <unfinished ...>', "+++ killed by SIGKILL +++")) == 0


@pytest.mark.parametrize(
    ("name", "result"),
    [("/dev/null", "3"), ("/dev/null", "3</dev/null>"), ("/x", "3</srv/n<char 1:3>>"), ("/x", "3</b<block 8:0>>")],
)
def test_devices_are_neither_made_nor_truncated(name, result):
    capture = run(f'openat(AT_FDCWD, "{name}", O_WRONLY|O_CREAT|O_TRUNC, 0666) = {result}')
    (use,) = opened(capture).values()
    assert (use.created, use.access, use.parent_access) == (False, ("write_file",), ())


@pytest.mark.parametrize(
    ("name", "flags"),
    [("/dev/x", "O_WRONLY|O_CREAT|O_EXCL"), ("/dev/shm/x", "O_WRONLY|O_CREAT"), ("/dev/stdout", "O_WRONLY|O_CREAT")],
)
def test_other_files_in_dev(name, flags):
    use = opened(run(f'openat(AT_FDCWD, "{name}", {flags}, 0666) = 3'))[name]
    assert (use.created, use.parent_access) == (True, ("make_reg",))


def test_a_file_that_was_missing_in_dev_is_made():
    flags = "O_WRONLY|O_CREAT|O_TRUNC, 0666"
    capture = run('stat("/dev/nul", 0x1) = -1 ENOENT (No such file)', f'open("/dev/nul", {flags}) = 3')
    assert opened(capture)["/dev/nul"].parent_access == ("make_reg",)


def test_only_ascii_digits_are_pids():
    assert "/proc/\u0661/stat" in opened(run('open("/proc/\u0661/stat", O_RDONLY) = 3'))


WORDS = st.sampled_from(
    [
        "AT_FDCWD", "3", "-1", "NULL", "0x7f", '"/x"', '"x"', '""', r'"/a\0b"', r'"\0"', '"../.."', '"x"...', "[]",
        "{}", '["x", "y"]', "3</a>", r"3<\0abc>", r"3</a\0b>", "3<pipe:[1]>", "3</memfd:x>(deleted)", "AT_FDCWD</w>",
        r"AT_FDCWD</\0>", "3</dev/null<char 1:3>>", "O_RDONLY", "O_RDWR|O_CREAT|O_X", "SOCK_", "AF_INET", "AF_",
        "AT_EMPTY_PATH", "{sa_family=AF_UNIX, sun_path=\"/s\"}", r'{sa_family=AF_UNIX, sun_path=@"\0s"}',
        r'{sa_family=AF_UNIX, sun_path="a\0s"}', "{sa_family=AF_INET, sin_port=htons(99999)}", "{sa_family=AF_}",
        '[{msg_hdr={msg_name={sa_family=AF_INET, sin_addr=inet_addr("1.1.1.1")}}}]', "[3, 4]", "[-1, 4]", "~0",
        '"' + "n" * 4000 + '"', '"/' + "m" * 4000 + '"', '"' + "k" * 9000 + '"', "SIGHUP", "{sa_handler=0x1}",
        "flags=CLONE_FS|CLONE_FILES", "F_DUPFD", "3<UNIX-" + "Z" * 80 + ":[1]>", "99999999999999999999",
    ]
)  # fmt: skip
NAMES = st.sampled_from(
    [
        "open", "openat", "openat2", "creat", "getcwd", "chdir", "fchdir", "chroot", "execve", "execveat", "socket",
        "socketpair", "connect", "bind", "listen", "sendto", "sendmsg", "sendmmsg", "accept4", "close", "close_range",
        "dup2", "fcntl", "ioctl", "getdents64", "rename", "renameat2", "linkat", "link", "unlinkat", "mkdirat", "mknod",
        "symlinkat", "newfstatat", "clone", "unshare", "rt_sigaction", "ftruncate", "mount", "prctl", "mmap", "futex",
    ]
)  # fmt: skip
RESULTS = st.sampled_from(
    ["0", "3", "-1 ENOENT (No)", "-11", "?", "99999999999999999999", r"3<\0a>", r"3</a\0b>", "3</n<char 1:3>>", "2"]
)
LINES = st.builds(
    lambda name, words, result: f"{name}({', '.join(words)}) = {result}", NAMES, st.lists(WORDS, max_size=6), RESULTS
)


@given(st.lists(LINES, max_size=12))
@settings(max_examples=300, deadline=None)
def test_every_capture_can_be_read(lines):
    run(*lines)
