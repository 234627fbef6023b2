"""Captures to test with: one document made by hand, and a strategy for any capture there can be."""

import copy
import dataclasses
import json

from hypothesis import strategies as st

from scmm_oci.capture import facts, model
from scmm_oci.tables import states, syscalls, vocabulary
from scmm_oci.tables.arch import Arch


def call(name, entered=1, *, errnos=(), denied=0, denied_errno=None, arch="x86_64", nr=None, programs=(), first=None):
    """One call of a capture document; the number comes from the tables where it is not given."""
    return {
        "arch": arch,
        "nr": syscalls.numbers(arch)[name] if nr is None else nr,
        "name": name,
        "entered": entered,
        "succeeded": 0 if errnos else entered,
        "errnos": list(errnos),
        "denied": denied,
        "denied_errno": denied_errno,
        "programs": list(programs),
        "first": first,
    }


def program(
    number, path, argv0, *, state="resolved", loader="/lib64/ld-linux-x86-64.so.2", script=None, count=1, first=0
):
    """One program of a capture document."""
    words = {"number": number, "path": path, "state": state, "loader": loader, "script": script, "argv0": argv0}
    return {**words, "count": count, "first": first}


def argument(name, index, *values, arch="x86_64", field=None, open_ended=False):
    """The values of one argument of a capture document; an index can be a list of two."""
    indexes = index if isinstance(index, list) else [index]
    words = {"arch": arch, "nr": syscalls.numbers(arch)[name], "name": name, "indexes": indexes, "field": field}
    return {**words, "values": list(values), "open_ended": open_ended}


def file_use(path, operation="open", *, flags=0, access=(), parent_access=(), errnos=(), **changes):
    """One use of a path of a capture document; it succeeded once if it has no errnos, else it failed once."""
    return {
        "path": path,
        "state": "resolved",
        "operation": operation,
        "flags": flags,
        "other": None,
        "created": False,
        "access": list(access),
        "parent_access": list(parent_access),
        "succeeded": 0 if errnos else 1,
        "failed": 1 if errnos else 0,
        "errnos": list(errnos),
        "programs": [0],
        "sessions": [0],
        "first": 0,
        **changes,
    }


def socket_use(operation, address, port=None, *, family="inet", type="stream", errnos=(), **changes):
    """One use of a socket address of a capture document."""
    return {
        "operation": operation,
        "family": family,
        "type": type,
        "protocol": 0,
        "address": address,
        "port": port,
        "succeeded": 0 if errnos else 1,
        "failed": 1 if errnos else 0,
        "errnos": list(errnos),
        "programs": [0],
        "sessions": [0],
        "first": 0,
        **changes,
    }


def session(app, *, runtime=(), setup=(), kind="main", number=0):
    """One session of a capture document."""
    phases = {"setup": list(setup), "runtime": list(runtime), "app": list(app)}
    return {"kind": kind, "number": number, "phases": phases}


NGINX = {
    "format": "scmm-capture",
    "version": 2,
    "name": "nginx",
    "source": "container",
    "complete": True,
    "losses": [],
    "notes": [],
    "started_at": "2026-11-22T09:42:16Z",
    "ended_at": "2026-11-22T09:42:19Z",
    "recorder": {"name": "scmm-oci", "version": "0.1.0"},
    "host": {"kernel": "6.18.44", "machine": "x86_64"},
    "container": {
        "id": "0f3a",
        "args": ["nginx", "-g", "daemon off;"],
        "uid": 0,
        "gid": 0,
        "no_new_privileges": False,
        "seccomp": True,
    },
    "runtime": {"name": "runc", "version": "1.1.5+ds1"},
    "sessions": [
        session(
            [
                call("read", 12, programs=[0, 1], first=3),
                call("write", 4, programs=[0], first=5),
                call("openat", 30, programs=[0, 1], first=2),
                call("epoll_wait", 9),
                call("accept4", 2),
                call("clone", 2),
                call("clone3", 0, denied=2, denied_errno="ENOSYS"),
                call("keyctl", 0, denied=1, denied_errno="EPERM"),
                call("personality", 1, denied=1, denied_errno="EPERM"),
            ],
            runtime=[call("close", 7), call("getpid"), call("sysinfo"), call("execve")],
            setup=[call("mount", 3), call("prctl")],
        ),
        session([call("read", 3), call("getcwd")], runtime=[call("execve")], kind="exec", number=1),
    ],
    "programs": [
        program(0, "/usr/sbin/nginx", "nginx", first=1),
        program(1, "/bin/busybox", "sh", loader=None, script="/docker-entrypoint.sh"),
    ],
    "arguments": [
        argument("socket", 0, 2),
        argument("openat", 2, 0, 0o2000000),
        argument("clone", 0, 0x3D0F00, 0x1200011),
        argument("ioctl", [0, 1], 0x5401, (3 << 32) | 0x5401, open_ended=True),
        argument("clone3", 0, 0x3D0F00, field="flags"),
    ],
    "files": [
        file_use("/etc/nginx/nginx.conf", access=["read_file"], programs=[0, 1], first=7),
        file_use("/etc/nginx/conf.d", flags=0o200000, access=["read_dir"]),
        file_use("/etc/ld.so.preload", "access", flags=4, state="named", errnos=["ENOENT"], first=1),
        file_use(
            "/var/log/nginx/access.log",
            flags=0o2101,
            created=True,
            access=["write_file"],
            parent_access=["make_reg"],
        ),
        file_use("/run/nginx.pid", "rename-to", other="/run/nginx.tmp", parent_access=["make_reg"]),
        file_use("/usr/sbin/nginx", "execute", access=["execute", "read_file"]),
    ],
    "sockets": [
        socket_use("bind", "0.0.0.0", 80),
        socket_use("connect", "/run/php.sock", family="unix", errnos=["ENOENT"]),
    ],
    "order": [
        {
            "arch": "x86_64",
            "edges": [["signal", 1], ["start", 0], [0, 1], [0, 257], [257, 0]],
        }
    ],
}


def nginx(**changes):
    """A copy of NGINX with other values for some of its keys."""
    return {**copy.deepcopy(NGINX), **copy.deepcopy(changes)}


def app(*calls, **changes):
    """NGINX with one session of the given calls, and nothing of what they were made with."""
    bare = {"programs": [], "arguments": [], "files": [], "sockets": [], "order": []}
    return nginx(**{"sessions": [session(calls)], **bare, **changes})


def as_bytes(document):
    """The document as a file."""
    return json.dumps(document).encode()


# Any text that JSON can carry, lone surrogates included.
any_text = st.text(st.characters(codec=None, exclude_categories=()), max_size=12)
_count = st.integers(0, 2**64 - 1)
_errno = st.sampled_from(["EPERM", "ENOSYS", "EAGAIN", "E2BIG", "ENOTSUP", "1", "150", "524", "4095", "E524"])


_moment = st.integers(0, 10**7)
_names = [name for name in vocabulary.ACCESS_RIGHTS if name != "remove"] + ["resolve_unix"]
_rights = st.sets(st.sampled_from(_names), max_size=3).map(lambda words: tuple(sorted(words)))
_errnos = st.sets(_errno, max_size=3).map(lambda words: tuple(sorted(words)))
_path = any_text.map(lambda text: "/" + text.replace("\0", ""))
_arch = st.sampled_from([Arch.X86_64, Arch.X86, Arch.X32])


def _some(numbers):
    """Any of the numbers, sorted."""
    return st.sets(st.sampled_from(numbers)).map(lambda some: tuple(sorted(some))) if numbers else st.just(())


@st.composite
def _calls(draw, programs=()):
    numbers = draw(st.lists(st.integers(0, 575), unique=True, max_size=6))
    arch = draw(_arch)
    calls = []
    for nr in numbers:
        name = syscalls.name_of(arch, nr) if draw(st.booleans()) else None
        denied = draw(st.just(0) | _count)
        errnos = draw(_errnos)
        denied_errno = draw(st.none() | _errno) if denied else None
        entered = draw(st.just(0) | _count)
        succeeded = draw(st.integers(0, entered))
        by, first = draw(_some(programs)), draw(st.none() | _moment)
        calls.append(model.Call(arch, nr, name, entered, succeeded, errnos, denied, denied_errno, by, first))
    return tuple(calls)


@st.composite
def _arguments(draw):
    arch, nr = draw(_arch), draw(st.integers(0, 575))
    name = syscalls.name_of(arch, nr) if draw(st.booleans()) else None
    indexes = tuple(draw(st.lists(st.integers(0, 5), min_size=1, max_size=2, unique=True)))
    values = tuple(sorted(draw(st.sets(_count, max_size=4))))
    return facts.ArgumentSet(arch, nr, name, indexes, draw(st.none() | any_text), values, draw(st.booleans()))


def _files(programs, sessions):
    return st.builds(
        facts.FileUse,
        path=_path,
        state=st.sampled_from(facts.PathState),
        operation=st.sampled_from(facts.Operation),
        flags=st.integers(0, 2**64 - 1),
        other=st.none() | _path,
        created=st.booleans(),
        access=_rights,
        parent_access=_rights,
        succeeded=_count,
        failed=_count,
        errnos=_errnos,
        programs=_some(programs),
        sessions=_some(sessions),
        first=_moment,
    )


def _sockets(programs, sessions):
    return st.builds(
        facts.SocketUse,
        operation=st.sampled_from(facts.SocketOperation),
        family=st.sampled_from(["inet", "inet6", "unix", "16"]),
        type=st.sampled_from(["stream", "dgram", "3"]),
        protocol=st.integers(0, 2**32 - 1),
        address=st.none() | any_text,
        port=st.none() | st.integers(0, 65535),
        succeeded=_count,
        failed=_count,
        errnos=_errnos,
        programs=_some(programs),
        sessions=_some(sessions),
        first=_moment,
    )


def _programs(number):
    return st.builds(
        facts.Program,
        number=st.just(number),
        path=_path,
        state=st.sampled_from(facts.PathState),
        loader=st.none() | _path,
        script=st.none() | _path,
        argv0=any_text,
        count=_count,
        first=_moment,
    )


@st.composite
def _order(draw, arch):
    """One object of order for each of some stages."""
    classes = sorted(word for word in states.called(arch) if ":" in word)
    called = st.sampled_from(classes) | st.integers(0, 575)
    first = st.sampled_from([*states.BEGINNINGS, "start"]) | called
    found = []
    for stage in draw(st.lists(st.none() | st.sampled_from(facts.Stage), max_size=3, unique=True)):
        pairs = draw(st.sets(st.tuples(first, called), max_size=5))
        triples = draw(st.none() | st.sets(st.tuples(first, called, called).filter(_differ), max_size=5))
        found.append(facts.Edges(arch, _sorted(pairs), stage, None if triples is None else _sorted(triples)))
    return found


def _differ(triple):
    return triple[0] != triple[1] != triple[2]


def _sorted(items):
    return tuple(sorted(items, key=lambda item: [(isinstance(state, int), state) for state in item]))


def _unlike(items, key):
    """A list of the items of which no two have the same key."""
    return st.lists(items, max_size=4, unique_by=key).map(tuple)


@st.composite
def captures(draw):
    """Any capture."""
    optional_id = st.none() | st.integers(0, 2**32 - 1)
    kinds = draw(st.lists(st.sampled_from(model.SessionKind), max_size=3))
    numbers = draw(st.lists(st.integers(0, 63), max_size=3, unique=True))
    sessions = list(range(len(kinds)))
    text = any_text
    return model.Capture(
        name=draw(any_text.filter(bool)),
        source=draw(st.sampled_from(model.Source)),
        losses=tuple(draw(st.lists(st.builds(model.Loss, st.sampled_from(model.LossKind), _count, text), max_size=2))),
        notes=tuple(draw(st.lists(st.builds(model.Note, st.sampled_from(model.NoteKind), _count, text), max_size=2))),
        started_at="2026-01-01T00:00:00Z",
        ended_at=draw(st.sampled_from(["2026-01-01T00:00:01Z", "2026-01-02T00:00:00.5Z"])),
        recorder=draw(st.builds(model.Recorder, text, text)),
        host=draw(st.builds(model.Host, text, text)),
        container=model.Container(
            id=draw(text),
            args=tuple(draw(st.lists(text, max_size=3))),
            uid=draw(optional_id),
            gid=draw(optional_id),
            no_new_privileges=draw(st.none() | st.booleans()),
            seccomp=draw(st.none() | st.booleans()),
        ),
        runtime=model.Runtime(draw(st.none() | text), draw(st.none() | text)),
        sessions=tuple(
            model.Session(kind, number, draw(_calls()), draw(_calls()), draw(_calls(numbers)))
            for number, kind in enumerate(kinds)
        ),
        programs=tuple(draw(_programs(number)) for number in numbers),
        arguments=draw(_unlike(_arguments(), lambda one: (one.arch, one.nr, one.indexes, one.field))),
        files=draw(
            _unlike(
                _files(numbers, sessions),
                lambda one: (one.path, one.state, one.operation, one.flags, one.other, one.created),
            )
        ),
        sockets=draw(
            _unlike(
                _sockets(numbers, sessions),
                lambda one: (one.operation, one.family, one.type, one.protocol, one.address, one.port),
            )
        ),
        order=tuple(one for arch in draw(st.lists(_arch, max_size=2, unique=True)) for one in draw(_order(arch))),
    )


def of_one_machine():
    """Any capture of an x86_64 machine."""
    return captures().map(lambda one: dataclasses.replace(one, host=model.Host("6", "x86_64")))
