import pytest
from hypothesis import given
from hypothesis import strategies as st

from scmm_oci.capture.strace import clock, values
from scmm_oci.capture.strace.lexer import MAX_LINE, BadLine, Kind, lex, lines, partial, result, split
from scmm_oci.capture.strace.values import Address
from scmm_oci.tables.arch import Arch


@pytest.mark.parametrize(
    ("text", "pid", "time"),
    [
        ("getpid() = 1", None, None),
        ("77 getpid() = 1", 77, None),
        ("77<sh> getpid() = 1", 77, None),
        ("[pid    77] getpid() = 1", 77, None),
        ("15:53:29 getpid() = 1", None, "15:53:29"),
        ("77  15:53:29.117825 getpid() = 1", 77, "15:53:29.117825"),
        ("77  1795621987.046676 getpid() = 1", 77, "1795621987.046676"),
        ("1795621987.046676 getpid() = 1", None, "1795621987.046676"),
        ("1795621987 getpid() = 1", None, "1795621987"),
        ("     0.000123 getpid() = 1", None, "0.000123"),
        ("77       0.000123 getpid() = 1", 77, "0.000123"),
        ("77  15:53:29.117825 (+     0.000100) getpid() = 1", 77, "15:53:29.117825"),
        ("77  [00007f1234567890] getpid() = 1", 77, None),
    ],
)
def test_what_lines_begin_with(text, pid, time):
    line = lex(text)
    assert (line.kind, line.pid, line.time, line.name, line.text) == (Kind.CALL, pid, time, "getpid", ") = 1")


@pytest.mark.parametrize(
    ("text", "kind", "name", "number"),
    [
        ("5  [  39] getpid() = 1", Kind.CALL, "getpid", 39),
        ("5 read(3,  <unfinished ...>", Kind.UNFINISHED, "read", None),
        ("5 read(0,  <detached ...>", Kind.UNFINISHED, "read", None),
        ('5 execve("/x", [], 0x1 <pid changed to 4 ...>', Kind.UNFINISHED, "execve", None),
        ('5 <... read resumed>"x", 1) = 1', Kind.RESUMED, "read", None),
        ("5 --- SIGCHLD {si_signo=SIGCHLD, si_code=CLD_EXITED} ---", Kind.SIGNAL, "SIGCHLD", None),
        ("5 --- stopped by SIGSTOP ---", Kind.NOTHING, "", None),
        ("5 +++ exited with 3 +++", Kind.ENDED, "exited", None),
        ("5 +++ killed by SIGSEGV (core dumped) +++", Kind.ENDED, "killed", None),
        ("5 +++ superseded by execve in pid 6 +++", Kind.SUPERSEDED, "", 6),
        ("5 [ Process PID=5 runs in 32 bit mode. ]", Kind.MODE, "32 bit", 5),
        ("strace: Process 8 attached", Kind.ATTACHED, "", 8),
        ("Process 8 detached", Kind.DETACHED, "", 8),
        ("", Kind.NOTHING, "", None),
        ("strace: exec: No such file", Kind.NOTHING, "", None),
    ],
)
def test_kinds_of_lines(text, kind, name, number):
    line = lex(text)
    assert (line.kind, line.name, line.number) == (kind, name, number)


@pytest.mark.parametrize("text", ["hello", "5", "root:x:0:0", "5 --- nothing ---", "<... x", "+++ +++", "\0"])
def test_other_lines_are_refused(text):
    with pytest.raises(BadLine):
        lex(text)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (") = 0", []),
        ("3, 4) = 0", ["3", "4"]),
        (r'"a,\"b)", 4) = 0', [r'"a,\"b)"', "4"]),
        ("{a=[1, 2], b={c=3}}, 4) = 0", ["{a=[1, 2], b={c=3}}", "4"]),
        ("3</a,b(c>, 4) = 0", ["3</a,b(c>", "4"]),
        ('3<UNIX-STREAM:[1->2,"/a>b"]>, 4) = 0', ['3<UNIX-STREAM:[1->2,"/a>b"]>', "4"]),
        ("1</dev/null<char 1:3>>, 4) = 0", ["1</dev/null<char 1:3>>", "4"]),
        ("0x1 /* 35 vars, (all) */, 4) = 0", ["0x1 /* 35 vars, (all) */", "4"]),
        ("1<<3, 4) = 0", ["1<<3", "4"]),
        ("<... resuming interrupted read ...>) = 0", ["<... resuming interrupted read ...>"]),
        ("[" * 9 + "1, 2" + "]" * 9 + ", 4) = 0", ["[" * 9 + "1, 2" + "]" * 9, "4"]),
    ],
)
def test_arguments_are_told_apart(text, found):
    assert split(text) == (found, " = 0")


@pytest.mark.parametrize("text", ['"abc', "{a=1", "(", "1, 2", "]) = 0", '[[[[[[[[["a]]) = 0'])
def test_what_does_not_end_is_refused(text):
    with pytest.raises(BadLine):
        split(text)


def test_what_is_there_of_a_call_that_was_not_finished():
    assert partial('AT_FDCWD, "/x", ') == ["AT_FDCWD", '"/x"', ""]
    assert partial('"abc') == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (" = 0", (0, None, None)),
        ("                 = 0x55ee <0.000123>", (0x55EE, None, None)),
        (" = -1 ENOENT (No such file or directory)", (-1, "ENOENT", None)),
        (" = -1 (errno 524)", (-1, "524", None)),
        (" = ?", (None, None, None)),
        (" = ? ERESTARTSYS (To be restarted if SA_RESTART is set)", (None, "ERESTARTSYS", None)),
        (" = 3</etc/ld.so.cache>", (3, None, "/etc/ld.so.cache")),
        (" = 7</a b>(deleted) <0.1>", (7, None, "/a b (deleted)")),
        (" = 5<TCP:[1.2.3.4:5->6.7.8.9:1]>", (5, None, "TCP:[1.2.3.4:5->6.7.8.9:1]")),
        (" = 1 ([{fd=3, revents=POLLIN}])", (1, None, None)),
    ],
)
def test_results(text, found):
    assert tuple(result(text)) == found


def test_long_lines_come_cut_and_cost_no_more_than_their_length():
    class File:
        def __init__(self, data):
            self.data = data

        def readline(self, limit):
            end = self.data.find(b"\n")
            end = len(self.data) if end < 0 else end + 1
            part, self.data = self.data[: min(end, limit)], self.data[min(end, limit) :]
            return part

    found = list(lines(File(b"a\n" + b"x" * (3 * MAX_LINE) + b"\nb\n")))
    assert [len(line) for line in found] == [2, MAX_LINE + 1, 2]
    assert found[2] == b"b\n"


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "part", ["(", "[", "{a=", "<", "<->", '"', '\\"', "<a", '<"', "((,", "/*", "{{}", "1,", '<\\"']
)
def test_hostile_lines_are_linear(part):
    text = part * (MAX_LINE // len(part))
    for function in (split, lex, result, partial, values.addresses):
        try:
            found = function(text)
            if function is values.addresses:
                list(found)
        except BadLine:
            pass
    list(values.strings(text))
    values.field(text, "x")
    values.name(text)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (r'"/a b"', ("/a b", False)),
        (r'"\n\1\303\251 \74x\76 \"q\""', ('\n\x01é <x> "q"', False)),
        (r'"\x2f\xff"', ("/\udcff", False)),
        (r'"abc"...', ("abc", True)),
        (r'"\0000"', ("\0" + "0", False)),
    ],
)
def test_strings(text, found):
    assert tuple(values.name(text)) == found


@given(st.binary(max_size=40))
def test_strings_as_strace_writes_them_come_back(raw):
    text = "".join(chr(b) if 32 <= b < 127 and b not in b'"\\' else f"\\{b:03o}" for b in raw)
    assert values.name(f'"{text}"').text == raw.decode("utf-8", "surrogateescape")


def test_flags():
    assert values.flags("O_RDWR|O_CREAT|O_EXCL|O_CLOEXEC", Arch.X86_64) == (0o2000302, True)
    assert values.flags("0x800c2", Arch.X86_64) == (0o2000302, True)
    assert values.flags("0x800c2 /* O_RDWR|O_CREAT|O_EXCL|O_CLOEXEC */", Arch.X86_64) == (0o2000302, True)
    assert values.flags("O_DIRECTORY", Arch.X86_64) == (0o200000, True)
    assert values.flags("O_DIRECTORY", Arch.AARCH64) == (0o40000, True)
    assert values.flags("S_IFCHR|0666", Arch.X86_64) == (0o20666, True)
    assert values.flags("O_NOTHING|O_RDWR", Arch.X86_64) == (2, False)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('{sa_family=AF_INET, sin_port=htons(80), sin_addr=inet_addr("1.2.3.4")}', ("inet", "1.2.3.4", 80)),
        (
            '{sa_family=AF_INET6, sin6_port=htons(9), inet_pton(AF_INET6, "0::1", &sin6_addr), sin6_scope_id=0}',
            ("inet6", "::1", 9),
        ),
        (r'{sa_family=0x2, sin_port="\xc0\x49", sin_addr="\x7f\x00\x00\x01"}', ("inet", "127.0.0.1", 0xC049)),
        ('{sa_family=AF_UNIX, sun_path="/run/{x}"}', ("unix", "/run/{x}", None)),
        (r'{sa_family=AF_UNIX, sun_path=@"abc\1d"}', ("unix", "@abc\x01d", None)),
        ("{sa_family=AF_UNIX}", ("unix", None, None)),
        ("{sa_family=AF_NETLINK, nl_pid=0, nl_groups=00000000}", ("netlink", None, None)),
    ],
)
def test_addresses(text, found):
    assert list(values.addresses(text)) == [Address(*found)]
    assert list(values.addresses(f"{{msg_name={text}, msg_namelen=16}}")) == [Address(*found)]


def test_what_is_sent_is_no_address():
    fake = r"{sa_family=AF_UNIX, sun_path=\"/x\"}"
    assert list(values.addresses(f'{{msg_name=NULL, msg_iov=[{{iov_base="{fake}"}}]}}')) == []


def test_times():
    day = clock.Clock()
    assert [day.at(word) for word in ("23:59:59.500000", "00:00:00.500000", "00:00:00.4")] == [0, 1000, 900]
    assert day.span(2.0) == ("1970-01-01T00:00:01Z", "1970-01-01T00:00:02Z")
    relative = clock.Clock()
    assert [relative.at(word) for word in ("0.5", "0.001", "0.002")] == [0, 1, 3]
    dated = clock.Clock()
    assert [dated.at(word) for word in ("1795621987.046676", "1795621988.5")] == [0, 1453]
    assert dated.span(2.0) == ("2026-11-25T15:53:07.046676Z", "2026-11-25T15:53:08.500000Z")


@given(st.text(st.characters(max_codepoint=255), max_size=60))
def test_no_text_breaks_the_lexer(text):
    for function in (lex, split, result):
        try:
            function(text)
        except BadLine as error:
            assert error.message
