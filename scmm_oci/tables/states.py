"""What transitions lead from and to: calls, classes of a call by one of its arguments, and beginnings.

A word is the name of a call (``read``), a class of it (``openat:write``), or where a thread begins (``start:exec``).
``openat`` stands for all classes of openat, and ``start`` for every beginning of a thread. Numbers are those of the
recorder's and the watch's tables: of a call its own, of what is no call one above all calls. Pure.
Standard library only, and little of it (hook).
"""

from __future__ import annotations

from scmm_oci.tables import syscalls

# Classes by kind. The first has the call's own number.
ACCESS = ("read", "write")
FAMILY = ("unix", "inet", "inet6", "netlink", "packet", "other")
PROTECTION = ("data", "exec")

# Call → (classes, index of the argument that tells).
REFINED: dict[str, tuple[tuple[str, ...], int]] = {
    "open": (ACCESS, 1),
    "openat": (ACCESS, 2),
    "mmap": (PROTECTION, 2),
    "mmap2": (PROTECTION, 2),
    "mprotect": (PROTECTION, 2),
    "pkey_mprotect": (PROTECTION, 2),
    "socket": (FAMILY, 0),
    "socketpair": (FAMILY, 0),
}

# Tables of order have so many rows and columns; calls end below FIRST (x32's at 547, Linux 6.18).
STATES = 576
FIRST = 548

EXEC, FORK, THREAD = "start:exec", "start:fork", "start:thread"
SIGNAL, FOREIGN = "signal", "foreign"
STARTS = (EXEC, FORK, THREAD)
# What only comes first: a program, a new process or a new thread begins; a signal handler begins; the call before was
# one of another ABI.
BEGINNINGS = (*STARTS, SIGNAL, FOREIGN)
START = "start"

# Never changed, only added to: captures and pinned maps of other versions have them.
NUMBERS: dict[str, int] = {
    **{
        f"{call}:{name}": FIRST + index
        for index, (call, name) in enumerate((call, name) for call, (names, _) in REFINED.items() for name in names[1:])
    },
    **{word: 571 + index for index, word in enumerate(BEGINNINGS)},
}

# O_ACCMODE, O_CREAT and O_TRUNC of x86, arm and their 64-bit kin: asm-generic/fcntl.h.
_WRITES = 0o3 | 0o100 | 0o1000
_PROT_EXEC = 4  # asm-generic/mman-common.h
_FAMILIES = {1: "unix", 2: "inet", 10: "inet6", 16: "netlink", 17: "packet"}  # linux/socket.h


def classes_of(call: str) -> tuple[str, ...]:
    """The words of a call's classes, ``("openat:read", "openat:write")``; of one that has none, itself."""
    if call not in REFINED:
        return (call,)
    return tuple(f"{call}:{name}" for name in REFINED[call][0])


def expand(word: str) -> tuple[str, ...]:
    """The words that one stands for: classes of a call, the beginnings of a thread, or itself."""
    return STARTS if word == START else classes_of(word)


def call_of(word: str) -> str | None:
    """The call that a word is of, or None for beginnings."""
    return None if word in BEGINNINGS or word == START else word.partition(":")[0]


def class_of(call: str, argument: int | None) -> str:
    """The word for a call that was made with this argument (REFINED says which); None: not known, so all classes."""
    if call not in REFINED or argument is None:
        return call
    names, _ = REFINED[call]
    value = argument & 0xFFFFFFFF
    if names is ACCESS:
        name = names[1] if value & _WRITES else names[0]
    elif names is PROTECTION:
        name = names[1] if value & _PROT_EXEC else names[0]
    else:
        name = _FAMILIES.get(value, "other")
    return f"{call}:{name}"


_called: dict[str, dict[str, int]] = {}


def called(arch: str) -> dict[str, int]:
    """Word → number of every call of an ABI that has no classes, and of every class: all that a transition leads to.

    Without calls whose numbers the tables have no room for (arm's private ones).
    """
    found = _called.get(arch)
    if found is None:
        found = _called[arch] = {}
        for call, number in syscalls.numbers(arch).items():
            if number < FIRST:
                for index, word in enumerate(classes_of(call)):
                    found[word] = number if index == 0 else NUMBERS[word]
    return found


_numbers: dict[str, dict[str, int]] = {}


def numbers(arch: str) -> dict[str, int]:
    """Word → number of all that a transition leads from. ``signal`` is the handler, though x86 has such a call."""
    found = _numbers.get(arch)
    if found is None:
        found = _numbers[arch] = {**called(arch), **{word: NUMBERS[word] for word in BEGINNINGS}}
    return found


_words: dict[str, dict[int, str]] = {}


def words(arch: str) -> dict[int, str]:
    """Number → word, of beginnings, calls and classes."""
    found = _words.get(arch)
    if found is None:
        found = _words[arch] = {number: word for word, number in called(arch).items()}
        found.update((NUMBERS[word], word) for word in BEGINNINGS)
    return found
