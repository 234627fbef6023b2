"""What the launcher calls on its way to the program, and a container's seccomp section that has to let it. Pure.

The container's runtime loads its own filter before the launcher runs, so that a profile made for the program alone
refuses what the launcher needs. Standard library only, and little of it: stands on every container start (the shim).

Sources: launcher/*.c, and strace of the launcher under policies of every kind (tests/kernel/test_launcher_needs.py).
"""

from __future__ import annotations

from scmm_oci.enforcer import sections
from scmm_oci.enforcer.store import HEADER_SIZE, MAGIC

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

# What of a compiled policy decides which calls are made (docs/formats.md, "Compiled policy"), and the mode.
FILTER = "filter"
RULESET = "ruleset"
PATHS = "paths"
PORTS = "ports"
PRECREATE = "precreate"
IDENTITY = "identity"
PERMISSIVE = "permissive"
# Of --guard: there is a filter, and no ruleset (launcher/guard.h).
GUARD = "guard"
# Of --listener-fd: who is asked gets the listener.
LISTENER = "listener"
ASK = "ask"

_SECTIONS = {1: FILTER, 2: FILTER, 3: RULESET, 4: PATHS, 6: PORTS, 7: IDENTITY}
_FILTER, _PERMISSIVE_FILTER = 1, 2
_ENTRY, _PATH_RULE, _MOST_SECTIONS = 24, 24, 64
# A filter begins with 16 bytes and has 8 for each instruction (linux/filter.h, struct sock_filter).
_BEFORE, _INSTRUCTION = 16, 8
_RETURNS = b"\x06\0"  # BPF_RET | BPF_K
_ACTION, _ALLOW, _LOG, _USER_NOTIF = 0xFFFF0000, 0x7FFF0000, 0x7FFC0000, 0x7FC00000
# AUDIT_ARCH_* of the machines that there are launchers for (linux/audit.h).
_AUDIT = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}


class Need:
    """One call that the launcher makes.

    Attributes:
        when: the parts and modes of which one makes the launcher call it; empty: always.
        argument: index and value of the argument that tells one use of the call from others, or None: any.
        spared: without it the launcher does the same in another way, or only says less.
    """

    __slots__ = ("argument", "name", "spared", "when", "why")

    def __init__(
        self,
        name: str,
        why: str,
        *when: str,
        argument: tuple[int, int] | None = None,
        spared: bool = False,
    ) -> None:
        self.name = name
        self.why = why
        self.when = when
        self.argument = argument
        self.spared = spared

    def __str__(self) -> str:
        return self.name if self.argument is None else f"{self.name} (argument {self.argument[0]}: {self.argument[1]})"


def _uses(name: str, index: int, values: dict[int, str], *when: str, spared: bool = False) -> tuple[Need, ...]:
    return tuple(Need(name, why, *when, argument=(index, value), spared=spared) for value, why in values.items())


NEEDS: tuple[Need, ...] = (
    Need("execve", "it becomes the program"),
    Need("exit_group", "its own end, when it cannot become the program"),
    Need("openat", "the policy, /etc/passwd, the program in PATH, files that rules are for"),
    Need("read", "the policy, /etc/passwd"),
    Need("close", "what it has opened"),
    Need("fstat", "whose the policy is; whether the program is there"),
    Need("lseek", "the policy is read from its beginning on"),
    Need("mmap", "memory for the policy"),
    Need("geteuid", "whether the policy is its own"),
    Need("getuid", "the user for ${HOME} and ${USER}"),
    Need("getgid", "the group beside that user"),
    Need("rt_sigaction", "SIGPIPE and SIGXFSZ are ignored meanwhile"),
    Need("write", "what it says on standard error", spared=True),
    Need("ppoll", "waits until standard error takes what it says", spared=True),
    *_uses("fcntl", 1, {1: "F_GETFD: which descriptors are open"}),
    *_uses("fcntl", 1, {2: "F_SETFD: descriptors are closed with execve, on kernels without close_range"}, spared=True),
    Need("capget", "which capabilities there are, whether or not the policy gives any", spared=True),
    Need("close_range", "descriptors that are not to be preserved", spared=True),
    Need("getdents64", "lists descriptors where close_range is refused", spared=True),
    Need("fstatfs", "whether /proc is procfs, before descriptors are listed", spared=True),
    *_uses("prctl", 0, {38: "PR_SET_NO_NEW_PRIVS"}),
    Need("landlock_create_ruleset", "which ABI the kernel has", spared=True),
    *_uses("seccomp", 0, {1: "SECCOMP_SET_MODE_FILTER"}, FILTER),
    Need("landlock_create_ruleset", "the ruleset", RULESET),
    Need("landlock_restrict_self", "the domain", RULESET),
    Need("landlock_add_rule", "rules for files and ports", PATHS, PORTS),
    Need("landlock_add_rule", "files may be moved, in a domain that restricts nothing else", GUARD, spared=True),
    Need("landlock_restrict_self", "that domain", GUARD, spared=True),
    Need("fstatfs", "which file systems may hold links to follow", PATHS),
    Need("readlinkat", "links on the way to the files of rules", PATHS),
    Need("getdents64", "names that patterns match", PATHS),
    Need("munmap", "memory for those names", PATHS),
    *_uses("fcntl", 1, {1030: "F_DUPFD_CLOEXEC: a directory that several rules begin with"}, PATHS),
    Need("mkdirat", "directories that are made beforehand", PRECREATE),
    Need("fchownat", "what is made belongs to the program's user", PRECREATE),
    Need("setfsuid", "directories in places that others can write to are made as that user", PRECREATE),
    Need("setfsgid", "directories in places that others can write to are made as that user", PRECREATE),
    Need("getresuid", "whether it is the user already", IDENTITY),
    Need("getresgid", "whether it is the group already", IDENTITY),
    Need("getgroups", "whether there are more groups", IDENTITY),
    Need("setgroups", "drops them", IDENTITY),
    Need("setresgid", "the group", IDENTITY),
    Need("setresuid", "the user", IDENTITY),
    Need("capget", "which capabilities there are", IDENTITY, PERMISSIVE),
    Need("capset", "those that stay", IDENTITY),
    *_uses(
        "prctl",
        0,
        {
            8: "PR_SET_KEEPCAPS",
            23: "PR_CAPBSET_READ",
            24: "PR_CAPBSET_DROP",
            47: "PR_CAP_AMBIENT",
        },
        IDENTITY,
    ),
    Need("getpid", "for its child to know its parent", PERMISSIVE),
    Need("getppid", "whether its parent still lives", PERMISSIVE),
    *_uses("seccomp", 0, {3: "SECCOMP_GET_NOTIF_SIZES"}, PERMISSIVE),
    # CLONE_FILES | SIGCHLD: nothing of namespaces is admitted.
    *_uses("clone", 0, {0x411: "the program's process"}, PERMISSIVE),
    *_uses("prctl", 0, {1: "PR_SET_PDEATHSIG", 36: "PR_SET_CHILD_SUBREAPER"}, PERMISSIVE),
    Need("rt_sigprocmask", "signals wait until they are passed on", PERMISSIVE),
    Need("signalfd4", "signals that are passed on", PERMISSIVE),
    Need("ppoll", "signals and calls to tell", PERMISSIVE),
    Need("wait4", "the program's end", PERMISSIVE),
    Need("kill", "signals are passed on", PERMISSIVE),
    *_uses(
        "ioctl",
        1,
        {
            0xC0502100: "SECCOMP_IOCTL_NOTIF_RECV",
            0xC0182101: "SECCOMP_IOCTL_NOTIF_SEND",
            0x40082102: "SECCOMP_IOCTL_NOTIF_ID_VALID",
        },
        PERMISSIVE,
    ),
    *_uses("unshare", 0, {0x400: "CLONE_FILES: descriptors of its own"}, PERMISSIVE, spared=True),
    Need("pread64", "arguments that are texts, from /proc/PID/mem", PERMISSIVE, spared=True),
    Need("process_vm_readv", "the same where /proc/PID/mem is closed", PERMISSIVE, spared=True),
    Need("readlinkat", "where the caller's directory is", PERMISSIVE, spared=True),
    Need("prlimit64", "no core of its own when the program ended with one", PERMISSIVE),
    Need("getsockopt", "whether what leads to the monitor is a socket, and nobody has hung up", LISTENER),
    *_uses("fcntl", 1, {2: "F_SETFD: that socket is closed with execve"}, LISTENER),
    # CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM
    *_uses("clone", 0, {0x50F00: "a thread that the filter does not hold"}, LISTENER),
    Need("ppoll", "waits for the monitor", LISTENER),
    Need("getpid", "what the monitor is told", LISTENER),
    Need("sendmsg", "the monitor gets the listener", LISTENER),
    Need("shutdown", "there comes no more", LISTENER, spared=True),
    *_uses("ioctl", 1, {0x5411: "TIOCOUTQ: whether the monitor has taken it"}, LISTENER),
)


def parts(policy: bytes) -> frozenset[str]:
    """What is in a compiled policy that decides which calls the launcher makes.

    Raises:
        ValueError: its table of sections is none. All else is the launcher's and the store's to check.
    """
    found = set()
    for kind, _, content in _sections(policy):
        part = _SECTIONS.get(kind)
        if part is None:
            continue
        found.add(part)
        # The lowest byte of what is done about a path that is not there: 0 to 2.
        if part == PATHS and 1 in content[12::_PATH_RULE]:
            found.add(PRECREATE)
    return frozenset(found)


def asks(policy: bytes, mode: str, machine: str) -> bool:
    """Whether somebody is asked about calls under a compiled policy: its filter has the kernel ask (SCMP_ACT_NOTIFY).

    mode: in ASK, that is done about all that the policy refuses, so that what permissive mode would tell counts. In
    permissive mode nobody is asked. machine: as uname(2) names it.

    Raises:
        ValueError: as `parts`.
    """
    if mode == PERMISSIVE:
        return False
    wanted = (_PERMISSIVE_FILTER if mode == ASK else _FILTER, _AUDIT.get(machine))
    is_asked = _is_told if mode == ASK else _is_notified
    if mode != ASK and _USER_NOTIF.to_bytes(4, "little")[2:] not in policy:
        return False  # nearly always
    for kind, of, content in _sections(policy):
        if (kind, of) == wanted and any(map(is_asked, _returned(content))):
            return True
    return False


def _is_notified(value: int) -> bool:
    return value & _ACTION == _USER_NOTIF


def _is_told(value: int) -> bool:
    """As launcher/filters.c has it: a violation, or what the policy itself asks about."""
    return value == _LOG | 1 or value & _ACTION not in (_ALLOW, _LOG)


def _returned(content: bytes) -> set[int]:
    """What the instructions of a filter's section return, whether or not they are reached."""
    each = range(_BEFORE, len(content) - _INSTRUCTION + 1, _INSTRUCTION)
    returns = {content[at + 4 : at + _INSTRUCTION] for at in each if content[at : at + 2] == _RETURNS}
    return {int.from_bytes(value, "little") for value in returns}


def _sections(policy: bytes) -> list[tuple[int, int, bytes]]:
    """Type, id and content of each section. Raises ValueError."""

    def number(offset: int, size: int) -> int:
        if not 0 <= offset <= len(policy) - size:
            raise ValueError("not a compiled policy: it ends early")
        return int.from_bytes(policy[offset : offset + size], "little")

    if policy[: len(MAGIC)] != MAGIC or not 0 < number(12, 4) <= _MOST_SECTIONS:
        raise ValueError("not a compiled policy")
    found = []
    for entry in range(HEADER_SIZE, HEADER_SIZE + _ENTRY * number(12, 4), _ENTRY):
        offset, length = number(entry + 8, 8), number(entry + 16, 8)
        if not 0 <= offset <= len(policy) - length:
            raise ValueError("not a compiled policy: it ends early")
        found.append((number(entry, 4), number(entry + 4, 4), policy[offset : offset + length]))
    return found


def needs(mode: str, found: Iterable[str]) -> list[Need]:
    """The calls of the launcher in a mode (oci.annotations.MODES) under a policy with these parts.

    found: of `parts`, and LISTENER where somebody is asked.
    """
    there = {*found, mode}
    if mode == "seccomp":
        there &= {FILTER, LISTENER}
    elif mode == PERMISSIVE:
        # Nothing of it but calls is watched, and it becomes nobody.
        there &= {FILTER, PERMISSIVE}
    elif FILTER in there and RULESET not in there:
        there.add(GUARD)
    chosen = [need for need in NEEDS if not need.when or there.intersection(need.when)]
    # What cannot be spared for one reason is not spared for another.
    certain = {(need.name, need.argument) for need in chosen if not need.spared}
    return [need for need in chosen if not (need.spared and (need.name, need.argument) in certain)]


class Admitted:
    """What `admit` did: calls `added` to the section; `notes` on what it refuses and the launcher can spare."""

    __slots__ = ("added", "notes")

    def __init__(self, added: list[str], notes: list[str]) -> None:
        self.added = added
        self.notes = notes


def admit(seccomp: dict[str, Any], wanted: Iterable[Need]) -> Admitted:
    """Add rules to a container's `linux.seccomp`, in place, for those calls that it does not allow.

    No rule is taken out or changed. Where a use of a call can be told by an argument, only that use is added.

    Raises:
        ValueError: the section is malformed, or has a rule that refuses what the launcher cannot spare; with all of it.
    """
    section = sections.Section(seccomp)
    plain: list[str] = []
    uses: list[Need] = []
    notes: list[str] = []
    refused: list[str] = []
    for need in wanted:
        answer = section.answer(need.name, need.argument)
        if answer == sections.MISSING:
            if need.argument is None:
                if need.name not in plain:
                    plain.append(need.name)
            elif all(str(one) != str(need) for one in uses):
                uses.append(need)
        elif answer == sections.REFUSED or (answer == sections.MAYBE and need.name.startswith("landlock_")):
            # A domain that cannot be had is only told in the mode standard.
            (notes if need.spared else refused).append(f"refuses {need}, with which {_SUBJECT}: {need.why}")
        elif answer == sections.MAYBE:
            notes.append(f"refuses some uses of {need.name}, with which {_SUBJECT}: {need.why}")
    if refused:
        raise ValueError(
            f"linux.seccomp {'; '.join(refused)}. Take the rules out: the policy's own filter holds for the program"
        )
    if plain or uses:
        rules = seccomp.get("syscalls")
        if rules is None:
            rules = seccomp["syscalls"] = []
        if plain:
            rules.append({"names": sorted(plain), "action": sections.ALLOW})
        rules += [_rule(need) for need in uses if need.name not in plain]
    return Admitted([*sorted(plain), *(str(need) for need in uses if need.name not in plain)], notes)


_SUBJECT = "scmm-enforce does this"


def _rule(need: Need) -> dict[str, Any]:
    assert need.argument is not None
    index, value = need.argument
    condition = {"index": index, "value": value, "op": "SCMP_CMP_EQ"}
    return {"names": [need.name], "action": sections.ALLOW, "args": [condition]}
