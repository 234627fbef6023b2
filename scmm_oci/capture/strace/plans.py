"""What to do with each system call of a trace: its number, its counts, and which of its arguments matter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from scmm_oci.capture.facts import Stage
from scmm_oci.capture.strace.counts import Count
from scmm_oci.capture.strace.effects import EFFECTS
from scmm_oci.capture.strace.family import FORKS
from scmm_oci.capture.strace.lexer import BadLine
from scmm_oci.capture.strace.order import returns
from scmm_oci.capture.strace.threads import Thread
from scmm_oci.errors import did_you_mean
from scmm_oci.tables import states, syscalls
from scmm_oci.tables.arch import Arch
from scmm_oci.tables.arguments import Argument, arguments
from scmm_oci.tables.operations import FILE_CALLS

# Numbers up to here are of the tables' kind; the kernel answers ENOSYS to all others.
_MAX_NR = 0x3FFFFFFF
_MAX_NAMELESS = 4096

# What i386 and s390 do with socketcall(2) and ipc(2), and strace shows by what it does.
_SOCKETCALLS = frozenset(
    {
        "socket", "bind", "connect", "listen", "accept", "getsockname", "getpeername", "socketpair", "send", "recv",
        "sendto", "recvfrom", "shutdown", "setsockopt", "getsockopt", "sendmsg", "recvmsg", "accept4", "recvmmsg",
        "sendmmsg",
    }
)  # fmt: skip
_IPC = frozenset(
    {
        "semop", "semget", "semctl", "semtimedop", "msgsnd", "msgrcv", "msgget", "msgctl", "shmat", "shmdt", "shmget",
        "shmctl",
    }
)  # fmt: skip

_STAGES = {"listen": Stage.LISTENING, "accept": Stage.ACCEPTING, "accept4": Stage.ACCEPTING}


class Plan:
    """One system call of one ABI.

    Attributes:
        name: what the tables call it, None if they have it not.
        word: what strace calls it.
        reads: its arguments matter.
        names: it takes names of files.
        refined: it has classes.
        stage: what its process comes to when it is made.
    """

    def __init__(self, arch: Arch, nr: int, name: str | None, word: str, wanted: Sequence[Argument]) -> None:
        self.arch = arch
        self.nr = nr
        self.name = name
        self.word = word
        self.app = Count()
        self.setup = Count()
        self.file = FILE_CALLS.get(word)
        self.arguments = wanted
        self.forks = word in FORKS
        self.executes = word in ("execve", "execveat")
        self.exits = word in ("exit", "exit_group")
        self.returns = returns(word)
        self.restarts = word == "restart_syscall"
        self.refined = name is not None and name in states.REFINED and word == name
        self.stage = _STAGES.get(word)
        self.names = self.file is not None
        self.reads = bool(self.arguments) or self.names or self.forks or word in EFFECTS

    def ordered(self, arguments: list[str]) -> list[str]:
        """The arguments in the kernel's order: strace shows clone's by name, and the stack first."""
        if self.word != "clone":
            return arguments
        flags = [text.removeprefix("flags=") for text in arguments if text.startswith("flags=")]
        others = [text for text in arguments if not text.startswith("flags=")]
        # clone(2), C library/kernel differences: on s390 the first two are the other way round.
        return [*others[:1], *flags] if self.arch in (Arch.S390X, Arch.S390) else [*flags, *others]


class Plans:
    """The plans of a trace, made as calls are seen."""

    def __init__(self, arch: Arch) -> None:
        self._arch = arch
        self._plans: dict[tuple[Arch, str, int | None], Plan] = {}
        self._numbers: dict[tuple[Arch, int], Plan] = {}
        self._nameless = 0
        self._arguments: dict[Arch, Mapping[str, tuple[Argument, ...]]] = {}
        self.switched = 0

    def find(self, thread: Thread, word: str, number: int | None) -> Plan:
        """The plan of a call.

        Args:
            number: what -n shows.

        Raises:
            BadLine: there is no such call.
        """
        plan = self._plans.get((thread.arch, word, number))
        if plan is None:
            arch = self._abi(thread, word, number)
            if arch is not thread.arch:
                thread.arch = arch
            plan = self._plans.get((arch, word, number)) or self._make(arch, word, number)
            self._plans[arch, word, number] = plan
        return plan

    def numbered(self, arch: Arch, nr: int) -> Plan | None:
        """The plan of a number that was seen."""
        return self._numbers.get((arch, nr))

    def all(self) -> list[Plan]:
        """Each of them once, by ABI and number."""
        return [self._numbers[key] for key in sorted(self._numbers)]

    def mode(self, word: str) -> Arch | None:
        """The ABI that strace means by "32 bit", "64 bit" or "x32"."""
        if word == "64 bit":
            return self._arch
        beside = {"x32": (Arch.X32,), "32 bit": (Arch.X86, Arch.ARM, Arch.S390)}.get(word, ())
        return next((arch for arch in self._arch.beside if arch in beside), None)

    def _abi(self, thread: Thread, word: str, number: int | None) -> Arch:
        """Which ABI a call is of: the thread's, unless the name or the number is another's only."""
        candidates = (thread.arch, self._arch, *self._arch.beside)
        if number is not None and not word.startswith("syscall_0x"):
            for arch in candidates:
                if _number(arch, word, number) == (number & _MAX_NR if arch is Arch.X32 else number):
                    return arch
        for arch in candidates:
            if _number(arch, word, None) is not None:
                if arch is not thread.arch:
                    self.switched += 1
                return arch
        return thread.arch

    def _make(self, arch: Arch, word: str, number: int | None) -> Plan:
        nr = _number(arch, word, number)
        name: str | None = syscalls.name_of(arch, nr) if nr is not None else None
        if nr is None:
            known = syscalls.numbers(arch)
            near = did_you_mean(word, known)
            hint = f"did you mean {near!r}?" if near else "give the machine with --arch"
            raise BadLine(f"{word} is not a system call of {arch}", hint)
        plan = self._numbers.get((arch, nr))
        if plan is not None and plan.word == word:
            return plan
        if name is None:
            self._nameless += 1
            if self._nameless > _MAX_NAMELESS:
                raise BadLine("is one of too many calls without a name")
        if arch not in self._arguments:
            self._arguments[arch] = arguments(arch)
        made = Plan(arch, nr, name, word, self._arguments[arch].get(word, ()) if name == word else ())
        if plan is None:
            self._numbers[arch, nr] = made
        else:
            # socketcall and ipc: one number for all that they do.
            made.app, made.setup = plan.app, plan.setup
        return made


def _number(arch: Arch, word: str, number: int | None) -> int | None:
    table = syscalls.numbers(arch)
    if word.startswith("syscall_0x"):
        try:
            nr = int(word[10:], 16) & 0xFFFFFFFF
        except ValueError:
            return None
        return nr & _MAX_NR
    if word in table and (number is None or table[word] == number):
        return table[word]
    for many, one in ((_SOCKETCALLS, "socketcall"), (_IPC, "ipc")):
        if word in many and one in table and number in (None, table[one]):
            return table[one]
    return table.get(word)
