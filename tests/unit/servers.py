"""Captures of a server, as recordings of it vary: its order of calls has classes, stages and histories."""

from samples import app, as_bytes, call

from scmm_oci.capture import file
from scmm_oci.tables import syscalls

NR = syscalls.numbers("x86_64")
CALLS = ("openat", "listen", "accept4", "read", "recvfrom", "write", "close", "lseek", "poll", "getpid", "clone")

_START = "start:exec openat:read read close openat:write listen"
_LISTENING = "listen accept4"
# After read and after recvfrom comes the same, but that getpid never came after recvfrom.
_SERVING = (
    "accept4 read write read close read lseek read poll read getpid "
    "accept4 recvfrom write recvfrom close recvfrom lseek recvfrom poll accept4"
)


def stage(name, *threads, deep=True):
    """One stage of a capture document; threads are words, the first of each being where it is at its beginning."""
    walks = set()
    for thread in threads:
        before, last = None, None
        for word in thread.split():
            if last is not None:
                walks |= {(last, word)} | ({(before, last, word)} if before not in (None, last) != word else set())
            before, last = (before, last) if word == last else (last, word)
    numbered = [[NR.get(word, word) for word in walk] for walk in walks]
    order = sorted(numbered, key=lambda walk: [(isinstance(one, int), str(one), one) for one in walk])
    found = {"arch": "x86_64", "edges": [one for one in order if len(one) == 2]}
    if deep:
        found["triples"] = [one for one in order if len(one) == 3]
    return found if name is None else {**found, "stage": name}


def document(name="web", *, more=(), deep=True):
    """A capture document of the server; `more` threads did something else while they served."""
    order = [
        stage("starting", _START, deep=deep),
        stage("listening", _LISTENING, deep=deep),
        stage("accepting", _SERVING, *more, deep=deep),
    ]
    return app(*(call(one, 3) for one in CALLS), name=name, order=order)


def server(name="web", **changes):
    """It, as a value."""
    return file.parse(as_bytes(document(name, **changes)))
