"""The command line that engines give a container runtime: read, and rewritten in one place.

Two grammars. runc's is Go's flag package under urfave/cli 1.22: `-x v`, `-x=v`, `--x v` and `--x=v` are the same, short
options are not bundled, the last of several counts, `--` ends options. Verbs other than exec and ps also take options
after the id. crun's is glibc's argp in order: `-xv`, bundled short options, long ones cut short, and nothing after the
id is an option. tests/runtime/test_runtime_argv_real.py compares both with the programs.

Later runcs have urfave/cli 3, which finds options among the ids and cuts off blanks. What versions read differently is
`ambiguous`: who must be sure of what is started cannot go on. Standard library only (on the shim's way).
"""

from __future__ import annotations

import os

from scmm_oci.oci.option_words import Reading, reordered
from scmm_oci.oci.runtime_options import COMMON, CRUN, FLAG, GLOBAL, OPTIONAL, RUNC, VERBS, spellings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from scmm_oci.oci.option_words import Table

_IN_ORDER = ("exec", "ps")  # runc's SkipArgReorder and StopOnNthArg: what follows the id is another program's
_TRUE = frozenset(("1", "t", "T", "true", "TRUE", "True"))  # Go's strconv.ParseBool
# What a container or a process is made from; a blank more or less elsewhere is the runtime's own affair.
_DECISIVE = ("root", "bundle", "config", "process", "preserve-fds")


def dialect(program: str) -> str:
    """RUNC or CRUN: whose grammar the runtime at this path has, by its name (links followed)."""
    name = os.path.basename(os.path.realpath(program))
    return CRUN if name.startswith((CRUN, "krun")) else RUNC


class CommandLine:
    """What a runtime takes its words for.

    verb: None where there is none, or only help or the version is asked for. root, log: as given; None without.
    id: the first word that is no option, for verbs that are known. options: the verb's by their long names; a flag
    without a value is None. command: exec's words after the id. ambiguous: why it is not certain that a runtime reads
    it this way, or the empty string.
    """

    __slots__ = (
        "_id_at",
        "_places",
        "_table",
        "_verb_at",
        "ambiguous",
        "command",
        "dialect",
        "id",
        "log",
        "log_format",
        "options",
        "root",
        "verb",
        "words",
    )

    def __init__(self, words: Sequence[str], *, dialect: str) -> None:
        self.words = tuple(words)
        self.dialect = dialect
        self.verb: str | None = None
        self.root: str | None = None
        self.log: str | None = None
        self.log_format = "text"
        self.id: str | None = None
        self.options: dict[str, str | None] = {}
        self.command: tuple[str, ...] = ()
        self.ambiguous = ""
        self._verb_at = self._id_at = -1
        self._table: Table = {}
        self._places: dict[str, tuple[int, str]] = {}

    @property
    def preserve_fds(self) -> int:
        """The number that --preserve-fds gives, 0 without. Raises ValueError if it is none: then it is ambiguous."""
        return int(self.options.get("preserve-fds") or 0)

    def config(self) -> str:
        """The file, absolute, that create and run read: config.json of the bundle unless --config names another."""
        bundle = os.path.abspath(self.options.get("bundle") or ".")
        named = self.options.get("config")
        # crun takes this one name for one in the bundle, and others for one in the working directory (run_create.c);
        # runc knows no such exception (revisePaths).
        if not named or (named == "config.json" and self.dialect == CRUN):
            return os.path.join(bundle, "config.json")
        return os.path.abspath(named)

    def with_option(self, name: str, value: str | None) -> list[str]:
        """The words with the verb's option `name` (long) being `value`, or None: on, for a flag; all else stays.

        Where it was given, the last one is replaced in its own form; else it is put right after the verb. Raises
        ValueError if the verb has no such option, or one of the other kind.
        """
        long, kind = self._table.get(name, ("", OPTIONAL))
        if long != name or kind == OPTIONAL or (kind == FLAG) != (value is None) or value == "":
            raise ValueError(f"{self.verb} has no option --{name} that can be {value!r}")
        words = list(self.words)
        at, start = self._places.get(name, (-1, ""))
        if at < 0:
            # Joined on also for runc's flags: urfave/cli would move the word that follows a bare one (reorderArgs).
            joined = "=true" if self.dialect == RUNC else ""
            words.insert(self._verb_at + 1, f"--{name}{joined}" if value is None else f"--{name}={value}")
        elif value is not None:
            words[at] = start + value
        elif start:
            words[at] = f"{start}true"
        return words

    def with_command(self, command: Sequence[str]) -> list[str]:
        """The words with `command` after exec's id; what stands before it stays. Raises ValueError for other verbs."""
        if self.verb != "exec" or self.id is None:
            raise ValueError(f"{self.verb} runs no command of its own")
        return [*self.words[: self._id_at + 1], *command]


def parse(words: Sequence[str], *, dialect: str = RUNC) -> CommandLine:
    """What the runtime takes `words` (without its own name) for. Never raises: see CommandLine.ambiguous.

    dialect: RUNC or CRUN, as `dialect` says.
    """
    line = CommandLine(words, dialect=dialect)
    before = Reading(line.words, spellings(GLOBAL[dialect]))
    if dialect == CRUN:
        before.argp(0)
        wrong = before.wrong
        if before.places.get("rootless", (-1, ""))[0] > before.places.get("root", (-1, ""))[0]:
            # Measured: crun 1.8.1 keeps its state below what --rootless gives; later ones ignore that option.
            wrong.append("versions of crun differ on --rootless after --root")
    else:
        before.go(range(len(words)))
        upto = before.rest[0] + 1 if before.rest else len(words)
        wrong = before.wrong + _read_otherwise(before, range(upto), stop=1)
    given = before.options
    line.root, line.log = given.get("root"), given.get("log")
    line.log_format = given.get("log-format") or "text"
    asked = [given[each] for each in ("help", "usage", "version") if each in given]
    if before.rest and not any(each is None or each in _TRUE for each in asked):
        line._verb_at = before.rest[0]
        line.verb = words[line._verb_at]
        wrong += _read_verb(line)
    line.ambiguous = "; ".join(dict.fromkeys(wrong))
    return line


def _read_verb(line: CommandLine) -> list[str]:
    """Read what follows the verb. Returns what is not certain about it."""
    words, verb = line.words, line.verb or ""
    text = VERBS[line.dialect].get(verb)
    if text is None:
        return []
    line._table = spellings(f"{text} {COMMON[line.dialect]}")
    start = line._verb_at + 1
    reading = Reading(words, line._table)
    if line.dialect == CRUN:
        reading.argp(start)
        wrong = reading.wrong
    else:
        order = range(start, len(words))
        in_order = verb in _IN_ORDER
        reading.go(order if in_order else reordered(words, start, line._table))
        wrong = reading.wrong + _read_otherwise(reading, order, stop=1 if in_order else None)
    line.options, line._places = reading.options, reading.places
    if reading.rest:
        line._id_at = reading.rest[0]
        line.id = words[line._id_at]
    if verb == "exec":
        line.command = tuple(reading.taken[1:])
    number = line.options.get("preserve-fds")
    if number is not None and not (number.isascii() and number.isdecimal() and str(int(number[:9])) == number):
        # Go reads 010 as 8 and 0x1 as 1, C as 10 and 0.
        wrong.append(f"--preserve-fds {number!r} is not a plain number")
    return wrong


def _read_otherwise(reading: Reading, order: Sequence[int], *, stop: int | None) -> list[str]:
    """Why a runc that has urfave/cli 3 would take the words at these places for something else."""
    other = Reading(reading.words, reading.table)
    other.mixed(order, stop=stop)
    if other.wrong:
        return other.wrong
    ours = [each for each, at in zip(reading.taken, reading.rest, strict=True) if at in order]
    if other.taken == ours and all(other.options.get(n) == reading.options.get(n) for n in _DECISIVE):
        return []
    shown = " ".join(repr(reading.words[each]) for each in order)
    return [f"versions of runc differ on the options in {shown[:200]}"]
