"""Laws of inference: what was recorded is admitted, what was written is read, the same captures make the same bytes."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from samples import app, argument, as_bytes, call, captures, file_use, program, socket_use
from test_decisions import decisions as any_decisions

from scmm_oci.capture import file, merge
from scmm_oci.capture.model import Host
from scmm_oci.errors import BadInput
from scmm_oci.policy import document
from scmm_oci.policy.admit import refusals
from scmm_oci.policy.decisions import ArgumentRules, Decisions, Generalise, Unseen
from scmm_oci.policy.explain import comments
from scmm_oci.policy.infer import infer, name_of
from scmm_oci.tables import operations
from scmm_oci.tables.arch import Arch

SOAK = bool(os.environ.get("SCMM_SOAK"))
EXAMPLES = 2000 if SOAK else 100
ACCEPTING = Decisions(accept_incomplete=True)

_hex = st.text("0123456789abcdef", min_size=6, max_size=12)
_pid = st.integers(2, 99999)
_port = st.integers(32768, 60999)
_error = st.sampled_from(["ENOENT", "EACCES", "EEXIST"])


@st.composite
def runs(draw):
    """A run of a program as programs are: names that stay, and temporary names, pids and ports that vary."""
    token, pid = draw(_hex), draw(_pid)
    paths = [
        "/etc/app/app.conf",
        "/etc/passwd",
        "/usr/lib/x86_64-linux-gnu/libc.so.6",
        f"/usr/lib/libfoo.so.1.{draw(st.integers(0, 9))}",
        f"/tmp/app-{token}",
        f"/tmp/app-{token}/part.{pid}",
        f"/var/lib/app/{token}.db",
        f"/var/lib/app/journal-{draw(_hex)}",
        f"/var/cache/app/{token[0]}/{token[1:3]}/{token}",
        f"/proc/{pid}/stat",
        "/proc/self/status",
        f"/proc/self/task/{pid}/comm",
        f"/run/app.{pid}.sock",
        "/run/app.pid",
        f"/home/user/.cache/app/{token}",
        "/dev/null",
        "/",
        "/srv/*odd[name]\\",
        "/srv/$HOME/x",
    ]
    uses = [draw(uses_of(path)) for path in draw(st.lists(st.sampled_from(paths), max_size=8))]
    sockets = draw(st.lists(_sockets, max_size=3))
    calls = draw(st.lists(st.sampled_from(_CALLS), min_size=1, max_size=6, unique=True))
    arguments = [draw(_values(name, *place)) for name in calls if name in _PLACES for place in _PLACES[name]]
    document_ = app(
        *(call(name, draw(st.integers(1, 9))) for name in calls),
        name=draw(st.sampled_from(["a", "b"])),
        programs=[program(0, "/usr/bin/app", "app"), program(1, "/bin/sh", "sh", loader=None)],
        files=_unlike(uses, "path", "state", "operation", "flags", "other", "created"),
        sockets=_unlike(sockets, "operation", "family", "type", "protocol", "address", "port"),
        arguments=arguments,
        container={"id": "x", "args": [], "uid": 0, "gid": 0, "no_new_privileges": None, "seccomp": True},
    )
    return file.parse(as_bytes(document_))


_CALLS = ["read", "socket", "mmap", "mprotect", "clone", "clone3", "openat", "openat2", "setsockopt", "prctl", "stat"]
_PLACES = {
    "socket": [(0,), (1,), (2,)],
    "mmap": [(2,), (3,)],
    "mprotect": [(2,)],
    "clone": [(0,)],
    "openat": [(2,)],
    "setsockopt": [(1, 2)],
    "prctl": [(0,)],
}


def _values(name, *indexes):
    number = st.sampled_from(
        [0, 1, 2, 3, 4, 5, 7, 16, 17, 0x11, 0x3D0F00, 0x1200011, 64, 65, 0x241, 0o2000000, 1 << 31]
    )
    values = number if len(indexes) == 1 else st.builds(lambda a, b: a << 32 | b, number, number)
    sets = st.sets(values, min_size=1, max_size=4)
    return st.builds(lambda some, more: argument(name, list(indexes), *sorted(some), open_ended=more), sets, _rarely)


_rarely = st.integers(0, 5).map(lambda one: one == 5)


@st.composite
def uses_of(draw, path):
    """One use of a path, with the rights that the tables say it takes."""
    kind = draw(st.sampled_from(["reg", "dir"]))
    name = draw(st.sampled_from(["open", "open", "execute", "mkdir", "unlink", "rename-to", "bind", "stat", "symlink"]))
    flags = 0
    created = False
    if name == "open":
        flags = draw(st.sampled_from([0, 1, 2])) | draw(st.sampled_from([0, operations.O_TRUNC, operations.O_CREAT]))
        created = bool(flags & operations.O_CREAT) and draw(st.booleans())
        flags |= operations.O_EXCL if created and draw(st.booleans()) else 0
    failed = not created and draw(_rarely)
    own, parent = operations.access_of(name, flags=flags, kind=kind, created=created)
    changes = {"errnos": [draw(_error)]} if failed else {"access": own, "parent_access": parent}
    return file_use(
        path, name, flags=flags, created=created, programs=draw(st.sampled_from([[0], [1], [0, 1]])), **changes
    )


_sockets = st.builds(
    socket_use,
    st.sampled_from(["bind", "connect", "sendto", "listen"]),
    st.sampled_from(["127.0.0.1", "0.0.0.0", "10.1.2.3"]),
    st.sampled_from([0, 53, 80, 8080]) | _port,
    type=st.sampled_from(["stream", "dgram"]),
    protocol=st.sampled_from([0, 6, 17, 262]),
    errnos=st.sampled_from([(), (), ("ECONNREFUSED",), ("EACCES",)]),
)


def _unlike(uses, *keys):
    found = {}
    for use in uses:
        found.setdefault(tuple(use[key] for key in keys), use)
    return list(found.values())


def unexplained(result, one):
    """What of a capture the policy refuses without that a finding names the path."""
    told = [finding.message for finding in result.findings if finding.code in ("needs-yes", "unheld-path")]
    return [
        refusal
        for refusal in refusals(result.policy, one)
        if refusal.section != "filesystem" or not any(_names(message, refusal.what) for message in told)
    ]


def _names(message, path):
    """Whether a finding is about the path, or about what is to be made directly in it."""
    first = message.partition(" is made anew by the program: only rights on all of ")
    if first[1]:
        return path in (first[0], first[2].partition(" would allow")[0])
    return message.startswith(repr(path[:60]))


@settings(max_examples=EXAMPLES)
@given(runs(), runs())
def test_policy_of_two_runs_admits_both(first, second):
    for found in ([first], [first, second]):
        result = infer(found)
        for one in found:
            assert unexplained(result, one) == []
    # Control: what the policy does not speak of is refused.
    strange = replace(first, files=(replace(_one_file(), path="/opt/never/seen"),))
    assert [one.what for one in refusals(result.policy, strange) if one.section == "filesystem"] == ["/opt/never/seen"]


def _one_file():
    (found,) = file.parse(as_bytes(app(call("read"), files=[file_use("/x", access=["ioctl_dev"], programs=[])]))).files
    return found


@settings(max_examples=EXAMPLES)
@given(runs(), runs(), st.sampled_from(ArgumentRules), st.sampled_from(Generalise), st.booleans())
def test_stricter_and_wider_choices_admit_the_same(first, second, arguments, generalise, portable):
    result = infer([first, second], Decisions(arguments=arguments, generalise=generalise, portable=portable))
    for one in (first, second):
        assert unexplained(result, one) == []


@settings(max_examples=EXAMPLES)
@given(captures(), captures())
def test_policy_of_any_two_captures_admits_both(first, second):
    found = [_fitting(first), _fitting(second)]
    try:
        result = infer(found, ACCEPTING)
    except BadInput as error:
        assert "no capture holds a call" in str(error)
        return
    for one in found:
        assert unexplained(result, one) == []


@settings(max_examples=EXAMPLES)
@given(runs(), runs())
def test_merging_captures_is_extracting_from_them(first, second):
    merged = file.parse_all(file.dump_all(merge.distinct([first, second])))
    expected = document.dump(infer([first, second]).policy)
    assert document.dump(infer(merged).policy) == expected
    assert document.dump(infer([second, first, second]).policy) == expected


@settings(max_examples=EXAMPLES)
@given(st.lists(runs(), min_size=1, max_size=2), any_decisions)
def test_whatever_is_decided_is_written_and_read(found, decided):
    # These captures do not tell what histories and serving are made of, which is refused (test_infer_order).
    decided = replace(decided, depth=2, serving_from=())
    result = infer(found, replace(decided, accept=tuple(one for one in decided.accept if "$" not in one)))
    text = document.dump(result.policy, comments=comments(result.policy))
    read = document.parse(text)
    assert read == result.policy
    assert document.dump(read) == document.dump(result.policy)
    # Nobody is allowed what was decided against.
    for name, action in decided.calls.items():
        answers = {rule.action for rule in read.syscalls if rule.name == name}
        if action.value == "deny":
            assert all(not one.passes for one in answers)
            if decided.default_action.passes and decided.unseen is Unseen.ALLOW:
                assert answers


@settings(max_examples=EXAMPLES)
@given(captures())
def test_any_policy_that_was_inferred_is_read_again(found):
    try:
        result = infer([_fitting(found)], replace(ACCEPTING, arguments=ArgumentRules.ALL, transitions=True))
    except BadInput as error:
        assert "no capture holds a call" in str(error)
        return
    assert document.parse(document.dump(result.policy, comments=comments(result.policy))) == result.policy


def _fitting(found):
    sessions = tuple(replace(one, app=tuple(c for c in one.app if name_of(c) is not None)) for one in found.sessions)
    return replace(found, host=Host("6", Arch.X86_64.value), sessions=sessions)


_CHILD = """
import sys
from scmm_oci.capture import file
from scmm_oci.policy import document
from scmm_oci.policy.decisions import ArgumentRules, Decisions
from scmm_oci.policy.infer import infer
found = [file.parse(open(path, "rb").read()) for path in sys.argv[1:]]
decided = Decisions(arguments=ArgumentRules.ALL, portable=True, transitions=True, home="/home/user")
result = infer(found, decided)
sys.stdout.buffer.write(document.dump(result.policy))
sys.stdout.buffer.write("".join(f"{one}\\n" for one in result.findings).encode())
"""


def test_same_captures_make_the_same_bytes_in_every_process(tmp_path):
    paths = []
    for number in range(2):
        uses = [file_use(f"/tmp/run{number}/{name}", access=["read_file"], programs=[0]) for name in "qwertyuiop"]
        uses += [file_use(f"/home/user/{name}", created=True, access=["write_file"], programs=[1]) for name in "asd"]
        document_ = app(
            *(call(name) for name in _CALLS),
            name=str(number),
            programs=[program(0, "/bin/b", "b"), program(1, "/bin/a", "a")],
            arguments=[
                argument("socket", 0, 1, 2, 10, 16),
                argument("openat", 2, 0, 1, 2, 0o2000000, 0x241),
                argument("setsockopt", [1, 2], 1 << 32 | 2, 6 << 32 | 1),
            ],
            files=uses,
            sockets=[socket_use("connect", f"10.0.0.{last}", 80, programs=[0]) for last in (9, 10, 1)],
            order=[{"arch": "x86_64", "edges": [["start", 0], [0, 257], [257, 0], [257, 1]]}],
        )
        paths.append(tmp_path / f"{number}.scmm-cap")
        paths[-1].write_bytes(file.dump(file.parse(as_bytes(document_))))
    outputs = set()
    for seed in ("0", "1", "2", "3", "12345"):
        for order in (paths, paths[::-1]):
            command = [sys.executable, "-c", _CHILD, *map(str, order)]
            environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(Path(__file__).parents[2])}
            outputs.add(subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE).stdout)
    (output,) = outputs
    assert b"version:" in output
    assert output.index(b"10.0.0.9") < output.index(b"10.0.0.10")
