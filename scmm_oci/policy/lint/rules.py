"""What lint looks for: every rule with its stable id, severity, meaning and remedy. The documentation's table is this.

Called by policy.lint and its parts, and by the command line.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType


class Severity(StrEnum):
    """How bad it is, the worst first."""

    DANGER = "danger"
    """The policy lets something out, or does not do what it says."""
    WARNING = "warning"
    """Probably not meant, or more than is needed."""
    NOTE = "note"
    """Worth knowing."""

    @property
    def rank(self) -> int:
        """0 for danger, and more the milder it is."""
        return list(Severity).index(self)


@dataclass(frozen=True)
class LintRule:
    """One thing that is looked for."""

    id: str
    severity: Severity
    meaning: str
    remedy: str


@dataclass(frozen=True)
class LintFinding:
    """Something found in a policy.

    Attributes:
        id: of the rule in RULES; stable.
        place: the section and what in it: ``syscalls: mount``, ``filesystem: /etc``.
        message: what is so, in one sentence without a full stop; ``remedy``: the way out.
    """

    id: str
    severity: Severity
    place: str
    message: str
    remedy: str


_D, _W, _N = Severity.DANGER, Severity.WARNING, Severity.NOTE

_TABLE = (
    ("default-allow", _D, "calls without a rule are allowed", "deny by default, and allow what is needed"),
    ("default-log", _W, "calls without a rule are allowed and logged", "deny by default when the log is complete"),
    ("dangerous-call", _D, "a call that can harm the host is allowed", "deny it, or check its arguments"),
    ("dangerous-checked", _N, "a call that can harm the host is allowed with some arguments", "check the need"),
    ("io-uring", _D, "io_uring does calls that no filter sees", "deny io_uring_setup; programs do without"),
    ("unseen-arguments", _W, "a call whose arguments no filter sees is allowed, while its older form is checked",
     "answer it ENOSYS, and programs take the older form"),
    ("untestable", _D, "a constraint that no filter can hold", "make it a rule for files, or leave it out knowingly"),
    ("high-word", _D, "a comparison of 64 bits can be passed by, as the kernel takes 32 of the argument",
     "use allowed or denied, which look at what the kernel takes"),
    ("never-decides", _W, "a rule with constraints that never changes an answer", "mend it, or take it out"),
    ("group-overridden", _N, "a rule for a group whose calls all have rules of their own", "take it out"),
    ("same-as-default", _N, "a rule that does what the default does", "take it out"),
    ("write-exec-memory", _W, "memory may be made writable and executable at once",
     "deny PROT_WRITE with PROT_EXEC, unless the program compiles as it runs"),
    ("terminal-input", _W, "ioctl may put input into the terminal (TIOCSTI, TIOCLINUX)", "deny these two commands"),
    ("notify-pointer", _W, "a supervisor is asked about memory that the program can change after the answer",
     "decide by numbers only, or do the call for the program"),
    ("no-execve", _W, "execve is refused, so no program can start under the policy", "take the rule out"),
    ("no-exit", _W, "exit_group is refused, so the program cannot end well", "take the rule out"),
    ("floor-refused", _W, "a call is refused that the runtime needs before the program starts",
     "allow it, or start the program with scmm's launcher"),
    ("trace-without-tracer", _W, "trace answers ENOSYS where no tracer is attached", "use deny, or attach a tracer"),
    ("notify-without-listener", _D, "notify without a listener: engines refuse that", "give settings.listener"),
    ("log-denials", _N, "log_denials takes a flag that runc before 1.2 refuses", "set it to false there"),
    ("too-many-rules", _W, "the policy comes to more than the 128 rules that engines take of a profile",
     "use fewer constraints"),
    ("bad-arch-action", _W, "profiles cannot choose what becomes of calls of other ABIs: engines kill",
     "enforce with scmm's launcher, or leave it kill"),
    ("write-exec-file", _D, "files may be written and executed", "give programs and data different directories"),
    ("loader-runs-written", _W, "the ELF loader may be executed, and runs any file that is readable, also written ones",
     "let no tree be both writable and readable, or do without the loader's execute"),
    ("secret-readable", _D, "credentials may be read", "name the files that are needed"),
    ("protected-root", _W, "a system directory, home or shared directory is opened as a whole",
     "name the files that are needed"),
    ("precreate-protected", _D, "a missing file is made in a system directory", "make it in the image, or skip"),
    ("except-is-for-what-is-there", _W,
     "a rule with exceptions is for what is there when the program starts",
     "give the directories that are needed rules of their own"),
    ("covered-rule", _N, "a rule for files that other rules cover", "take it out"),
    ("addresses-not-held", _W, "no layer of the kernel that is used can hold peers' addresses: any is reachable",
     "hold them by a firewall"),
    ("udp-needs-abi-10", _N, "rules for UDP hold from Landlock's ABI 10 on", "hold them by a firewall below that"),
    ("scopes-need-abi-6", _N, "scopes hold from Landlock's ABI 6 on", "check with `scmm doctor`"),
    ("run-as-root", _W, "the program runs as root", "run it as a user of its own"),
    ("wide-machine", _W, "transitions allow more than a tenth of all steps that there could be among their states",
     "tell calls apart by their classes (`scmm extract --refine`), and starting from serving (`--serving-from`)"),
    ("no-start", _W, "no program can make its first call by the transitions", "let a call follow start:exec"),
    ("unreached-state", _N, "transitions from states that no way leads to", "take them out, or add what leads there"),
    ("ending-state", _N, "a call that no call may follow: a thread that goes on after it is told of",
     "let something follow, unless the thread waits there until it is ended"),
    ("handler-without-return", _W, "signal handlers may run, and transitions have no rt_sigreturn",
     "record the program with signals, or let rt_sigreturn follow"),
    ("reached-from-everywhere", _W, "a call that attacks come to may follow very many states",
     "see which of them were recorded (`scmm graph`), and take out the others"),
    ("never-that-history", _W, "`A > B`, and transitions do not lead from A to B", "take it out, or add the step"),
    ("never-serving", _W, "serving begins with a call that transitions of the start do not lead to",
     "name a call that the program makes"),
    ("serving-not-narrower", _N, "all that holds at the start holds for serving, too",
     "name a call at which the start is over, or leave serving out"),
    ("refused-in-transitions", _N, "transitions lead to calls that the filter refuses, so that none is ever seen",
     "take them out of the transitions, or allow them"),
    ("allowed-and-never-called", _W, "the filter allows calls that no transition leads to",
     "deny them: then they are refused also where nobody watches"),
    ("watch-blind-to-rings", _W, "a watch sees nothing of what io_uring does", "deny io_uring_setup"),
    ("transitions-of-one-abi", _W, "transitions have calls that one of the policy's ABIs lacks",
     "record a program of that ABI, or take it out of the architectures"),
    ("watch-on-thin-evidence", _W, "a watch ends or stops a program, and few recordings say what it does",
     "record more runs (`scmm extract --stats-only` estimates how many), or begin with alert"),
    ("strong-capability", _D, "a capability that is as good as being root of the host", "leave it out"),
)  # fmt: skip

RULES: Mapping[str, LintRule] = MappingProxyType({row[0]: LintRule(*row) for row in _TABLE})


def finding(rule: str, place: str, message: str, *, remedy: str = "") -> LintFinding:
    """A finding of a rule; the remedy is the rule's unless another is given."""
    known = RULES[rule]
    return LintFinding(rule, known.severity, place, message, remedy or known.remedy)
