"""Captures to test with: one document made by hand, and a strategy for any capture there can be."""

import copy
import json

from hypothesis import strategies as st

from scmm_oci.capture import model
from scmm_oci.tables import syscalls
from scmm_oci.tables.arch import Arch


def call(name, entered=1, *, errnos=(), denied=0, denied_errno=None, arch="x86_64", nr=None):
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
    }


def session(app, *, runtime=(), setup=(), kind="main", number=0):
    """One session of a capture document."""
    phases = {"setup": list(setup), "runtime": list(runtime), "app": list(app)}
    return {"kind": kind, "number": number, "phases": phases}


NGINX = {
    "format": "scmm-capture",
    "version": 1,
    "name": "nginx",
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
                call("read", 12),
                call("write", 4),
                call("openat", 30),
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
}


def nginx(**changes):
    """A copy of NGINX with other values for some of its keys."""
    return {**copy.deepcopy(NGINX), **copy.deepcopy(changes)}


def app(*calls, **changes):
    """NGINX with one session of the given calls."""
    return nginx(sessions=[session(calls)], **changes)


def as_bytes(document):
    """The document as a file."""
    return json.dumps(document).encode()


# Any text that JSON can carry, lone surrogates included.
any_text = st.text(st.characters(codec=None, exclude_categories=()), max_size=12)
_count = st.integers(0, 2**64 - 1)
_errno = st.sampled_from(["EPERM", "ENOSYS", "EAGAIN", "E2BIG", "ENOTSUP", "1", "150", "524", "4095", "E524"])


@st.composite
def _calls(draw):
    numbers = draw(st.lists(st.integers(0, 575), unique=True, max_size=6))
    arch = draw(st.sampled_from([Arch.X86_64, Arch.X86, Arch.X32]))
    calls = []
    for nr in numbers:
        name = syscalls.name_of(arch, nr) if draw(st.booleans()) else None
        denied = draw(st.just(0) | _count)
        errnos = tuple(sorted(draw(st.sets(_errno, max_size=3))))
        denied_errno = draw(st.none() | _errno) if denied else None
        entered = draw(st.just(0) | _count)
        succeeded = draw(st.integers(0, entered))
        calls.append(model.Call(arch, nr, name, entered, succeeded, errnos, denied, denied_errno))
    return tuple(calls)


@st.composite
def captures(draw):
    """Any capture."""
    optional_id = st.none() | st.integers(0, 2**32 - 1)
    kinds = draw(st.lists(st.sampled_from(model.SessionKind), max_size=3))
    text = any_text
    return model.Capture(
        name=draw(any_text.filter(bool)),
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
            model.Session(kind, number, draw(_calls()), draw(_calls()), draw(_calls()))
            for number, kind in enumerate(kinds)
        ),
    )
