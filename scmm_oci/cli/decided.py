"""Flags of ``scmm extract`` ↔ choices: what a command line chooses, and the command line that chooses the same."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any, TypeVar

import click

from scmm_oci.cli.sections import option
from scmm_oci.errors import BadInput, Problem, short, unknown_value
from scmm_oci.policy.choices import Choices, pattern_problems
from scmm_oci.policy.decisions import (
    Addresses,
    ArgumentRules,
    CategoryChoice,
    CreatedFiles,
    Decisions,
    Generalise,
    Unseen,
)
from scmm_oci.policy.model import Action, OnMissing, Protocol
from scmm_oci.tables import errnos, syscalls
from scmm_oci.tables.categories import Category

_E = TypeVar("_E", bound=StrEnum)

# Runtimes refuse notify as the default.
DEFAULT_ACTIONS = tuple(action for action in Action if action is not Action.NOTIFY)
_BY_FLAG = {"allow": Action.ALLOW, "deny": Action.DENY, "log": Action.LOG, "kill": Action.KILL}
_DIRECTIONS = ("inbound", "outbound")
_USUAL = Decisions()


def _words(kind: Iterable[StrEnum]) -> str:
    return "|".join(one.value for one in kind)


def _option(section: str, *words: str, **changes: Any) -> Callable[[click.decorators.FC], click.decorators.FC]:
    return option(*words, section=section, **changes)


_CALLS, _ARGUMENTS, _FILES, _NETWORK, _MORE = "System calls", "Arguments", "Files", "Network", "The rest of the policy"

_OPTIONS = (
    _option(_CALLS, "--default-action", metavar=f"[{_words(DEFAULT_ACTIONS)}]", default="deny", show_default=True,
            help="What happens to calls outside the policy."),
    _option(_CALLS, "--default-errno", metavar="ERROR", default="EPERM", show_default=True,
            help="What denied calls are answered."),
    _option(_CALLS, "--category", "category", multiple=True, metavar=f"CATEGORY={_words(CategoryChoice)}",
            help=f"What becomes of the observed calls of a category ({', '.join(Category)}): allow them (default); the "
            "10 most frequent ones (top, or top:N); only those that --allow names (review); none (deny)."),
    _option(_CALLS, "--categories", metavar="CATEGORY,…",
            help="Allow calls of these categories only: `--category …=deny` for each other one."),
    *(
        _option(_CALLS, f"--{word}", f"{word}_calls", multiple=True, metavar="CALL", help=text)
        for word, text in {
            "allow": "Allow an observed call, whatever its category says.",
            "deny": "Do not allow an observed call.",
            "log": "Allow an observed call and have the kernel log it.",
            "kill": "End the process at an observed call.",
        }.items()
    ),
    _option(_CALLS, "--call", "call_actions", multiple=True, metavar="CALL=ACTION",
            help=f"The same with any action: {', '.join(Action)}."),
    _option(_CALLS, "--portable", is_flag=True,
            help="Also allow what other kernels and C libraries call for the same job."),
    _option(_ARGUMENTS, "--arguments", metavar=f"[{_words(ArgumentRules)}]", default="sensitive",
            show_default=True,
            help="Which recorded arguments must be as seen: none, those that decide what a call can do, or all."),
    _option(_ARGUMENTS, "--check-argument", multiple=True, metavar="CALL:N",
            help="Check this one whatever --arguments says; N counts from 0."),
    _option(_ARGUMENTS, "--open-argument", multiple=True, metavar="CALL:N", help="Do not check this one."),
    _option(_ARGUMENTS, "--unseen-arguments", metavar=f"[{_words(Unseen)}]", default="allow", show_default=True,
            help="clone3 and openat2 have their flags in memory, where no filter sees them: allow them, or answer "
            "ENOSYS, so that programs take the older call."),
    _option(_FILES, "--no-files", is_flag=True, help="Make no file rules: the policy does not speak of files."),
    _option(_FILES, "--generalise", metavar=f"[{_words(Generalise)}]", default="evidence", show_default=True,
            help="Take patterns where the evidence is strong, or only those that --accept names."),
    _option(_FILES, "--accept", multiple=True, metavar="PATTERN",
            help="Take this pattern. That is a yes for protected places such as /etc too."),
    _option(_FILES, "--reject", multiple=True, metavar="PATTERN", help="Do not take this pattern."),
    _option(_FILES, "--leave-out", "leave_out", multiple=True, metavar="PATTERN",
            help="Make no rules for observed files that this pattern stands for."),
    _option(_FILES, "--missing-files", metavar=f"[{_words(OnMissing)}]", default="skip", show_default=True,
            help="Files that were looked for and not there: make them, grant the directory, or leave them out."),
    _option(_FILES, "--created-files", metavar=f"[{_words(CreatedFiles)}]", default="auto", show_default=True,
            help="Files that the program makes, where no pattern stands for them: make them before the start, grant "
            "the directory, or leave them out; auto makes those that have a fixed name."),
    _option(_FILES, "--home", metavar="DIR", help="The home directory of the program's user: it becomes ${HOME}."),
    _option(_NETWORK, "--no-network", is_flag=True, help="Make no network rules."),
    _option(_NETWORK, "--addresses", metavar=f"[{_words(Addresses)}]", default="any", show_default=True,
            help="Which peers outbound rules name: any, or those that were seen."),
    _option(_NETWORK, "--leave-out-port", multiple=True, metavar="DIRECTION/PROTOCOL/PORT",
            help="Make no rule for this port, such as outbound/tcp/443."),
    _option(_MORE, "--name", metavar="NAME", help="The policy's name; by default the capture's."),
    _option(_MORE, "--no-capabilities", is_flag=True, help="Name no capabilities."),
    _option(_MORE, "--transitions", is_flag=True, help="Say which call may follow which."),
    _option(_MORE, "--accept-incomplete", is_flag=True, help="Use captures that lost something."),
)  # fmt: skip


def decision_options(command: click.decorators.FC) -> click.decorators.FC:
    """The options that make choices."""
    for one in reversed(_OPTIONS):
        command = one(command)
    return command


def choices_of(values: Mapping[str, Any]) -> Choices:
    """What the values of :func:`decision_options` choose.

    Raises:
        BadInput: some name nothing, or contradict each other; with all of that.
    """
    read = _Reader(values)
    categories, top = read.categories()
    decisions = Decisions(
        name=values["name"],
        default_action=read.word("default_action", DEFAULT_ACTIONS, "an action for the default", Action.DENY),
        default_errno=read.errno(),
        accept_incomplete=values["accept_incomplete"],
        categories=categories,
        top=top,
        calls=read.calls(),
        arguments=read.word("arguments", ArgumentRules, "a choice", ArgumentRules.SENSITIVE),
        check=read.places("check_argument"),
        leave_open=read.places("open_argument"),
        unseen=read.word("unseen_arguments", Unseen, "a choice", Unseen.ALLOW),
        portable=values["portable"],
        files=not values["no_files"],
        generalise=read.word("generalise", Generalise, "a choice", Generalise.EVIDENCE),
        accept=read.patterns("accept"),
        reject=read.patterns("reject"),
        missing_files=read.word("missing_files", OnMissing, "a choice", OnMissing.SKIP),
        created_files=read.word("created_files", CreatedFiles, "a choice", CreatedFiles.AUTO),
        home=read.home(),
        network=not values["no_network"],
        addresses=read.word("addresses", Addresses, "a choice", Addresses.ANY),
        ports=read.ports(),
        capabilities=not values["no_capabilities"],
        transitions=values["transitions"],
    )
    choices = Choices(decisions, read.patterns("leave_out"))
    read.contradictions(choices)
    if read.found:
        raise BadInput(list(dict.fromkeys(read.found)))
    return choices


class _Reader:
    """Reads values and gathers what is wrong with them."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values
        self.found: list[Problem] = []

    def word(self, key: str, known: Iterable[_E], what: str, usual: _E) -> _E:
        words = {one.value: one for one in known}
        text = self._values[key]
        if text in words:
            return words[text]
        self.found.append(unknown_value(f"--{key.replace('_', '-')}", what, text, list(words)))
        return usual

    def errno(self) -> str:
        text: str = self._values["default_errno"]
        if errnos.number(text) is None:
            self.found.append(errnos.unknown("--default-errno", text))
        return text

    def home(self) -> str | None:
        home: str | None = self._values["home"]
        if home is not None:
            self.found += pattern_problems("--home", _plain(home))
        return home

    def categories(self) -> tuple[dict[Category, CategoryChoice], int]:
        chosen: dict[Category, CategoryChoice] = {}
        tops: dict[int, None] = {}
        for text in self._values["category"]:
            name, equals, word = text.partition("=")
            word, colon, number = word.partition(":")
            category = self._category("--category", name)
            if not equals or word not in set(CategoryChoice) or (colon and word != CategoryChoice.TOP):
                known = [one.value for one in CategoryChoice]
                self.found.append(unknown_value(f"--category {short(name)}", "a choice", text[len(name) + 1 :], known))
                continue
            if colon and not (number.isascii() and number.isdecimal() and len(number) < 6):
                self.found.append(Problem(f"--category {short(text)}", "has no number after top:"))
                continue
            if word == CategoryChoice.TOP:
                tops[int(number) if colon else _USUAL.top] = None
            if category is not None:
                if chosen.get(category, word) != word:
                    self.found.append(Problem("--category", f"{category} has two choices"))
                chosen[category] = CategoryChoice(word)
        if len(tops) > 1:
            self.found.append(Problem("--category", "top has two numbers", "it is one for all categories"))
        self._only(chosen)
        return {one: word for one, word in chosen.items() if word is not CategoryChoice.ALLOW}, next(iter(tops), 10)

    def _only(self, chosen: dict[Category, CategoryChoice]) -> None:
        """``--categories``: all others are denied."""
        text = self._values["categories"]
        if text is None:
            return
        named = {self._category("--categories", name.strip()) for name in text.split(",")}
        for category in Category:
            if category not in named:
                if chosen.get(category, CategoryChoice.DENY) is not CategoryChoice.DENY:
                    self.found.append(Problem("--category", f"{category} is none of --categories"))
                chosen[category] = CategoryChoice.DENY

    def _category(self, place: str, name: str) -> Category | None:
        if name in set(Category):
            return Category(name)
        self.found.append(unknown_value(place, "a category", name, [one.value for one in Category]))
        return None

    def calls(self) -> dict[str, Action]:
        pairs = [(name, action) for word, action in _BY_FLAG.items() for name in self._values[f"{word}_calls"]]
        for text in self._values["call_actions"]:
            name, _, word = text.partition("=")
            if word in set(Action):
                pairs.append((name, Action(word)))
            else:
                self.found.append(unknown_value(f"--call {short(name)}", "an action", word, [*map(str, Action)]))
        chosen: dict[str, Action] = {}
        for name, action in pairs:
            self._call(f"--{action if action in _BY_FLAG.values() else 'call'}", name)
            if chosen.setdefault(name, action) is not action:
                self.found.append(Problem("", f"{short(name)} has two actions: {chosen[name]} and {action}"))
        return chosen

    def _call(self, place: str, name: str) -> None:
        if name not in syscalls.all_names():
            self.found.append(unknown_value(place, "a system call", name, sorted(syscalls.all_names())))

    def places(self, key: str) -> frozenset[tuple[str, int]]:
        chosen = set()
        for text in self._values[key]:
            name, _, index = text.rpartition(":")
            place = f"--{key.replace('_', '-')}"
            if index in ("0", "1", "2", "3", "4", "5") and name:
                self._call(place, name)
                chosen.add((name, int(index)))
            else:
                self.found.append(Problem(place, f"{short(text)} is not CALL:N", "N is 0 to 5, as in socket:0"))
        return frozenset(chosen)

    def patterns(self, key: str) -> tuple[str, ...]:
        texts: tuple[str, ...] = tuple(dict.fromkeys(self._values[key]))
        for text in texts:
            self.found += pattern_problems(f"--{key.replace('_', '-')} {short(text)}", text)
        return texts

    def ports(self) -> frozenset[tuple[str, str, int]]:
        chosen = set()
        for text in self._values["leave_out_port"]:
            direction, _, rest = text.partition("/")
            protocol, _, port = rest.partition("/")
            number = int(port) if port.isascii() and port.isdecimal() and len(port) < 6 else 65536
            if direction in _DIRECTIONS and protocol in set(Protocol) and number < 65536:
                chosen.add((direction, protocol, number))
            else:
                hint = "as in outbound/tcp/443; directions: inbound, outbound; protocols: tcp, udp"
                self.found.append(Problem("--leave-out-port", f"{short(text)} is not DIRECTION/PROTOCOL/PORT", hint))
        return frozenset(chosen)

    def contradictions(self, choices: Choices) -> None:
        decisions = choices.decisions
        for text in decisions.accept:
            if text in decisions.reject:
                self.found.append(Problem("--accept", f"{short(text)} is rejected too"))
        for name, index in sorted(decisions.check & decisions.leave_open):
            self.found.append(Problem("--check-argument", f"{name}:{index} is left open too"))


def _plain(path: str) -> str:
    from scmm_oci.policy.patterns import escape

    return escape(path.rstrip("/") or "/")


def flags_of(choices: Choices) -> list[str]:
    """The flags that choose the same: ``choices_of`` makes equal choices of them. What is usual has none."""
    decided = choices.decisions
    flags: list[str] = []

    def values(flag: str, texts: Iterable[object]) -> None:
        flags.extend(f"{flag}={text}" for text in texts)

    def word(flag: str, value: object, usual: object) -> None:
        values(flag, [value] if value != usual else [])

    word("--name", decided.name, None)
    word("--default-action", decided.default_action, _USUAL.default_action)
    word("--default-errno", decided.default_errno, _USUAL.default_errno)
    for category, choice in sorted(decided.categories.items()):
        number = f":{decided.top}" if choice is CategoryChoice.TOP and decided.top != _USUAL.top else ""
        values("--category", [f"{category}={choice}{number}"] if choice is not CategoryChoice.ALLOW else [])
    for name, action in sorted(decided.calls.items()):
        values(*((f"--{action}", [name]) if action in _BY_FLAG.values() else ("--call", [f"{name}={action}"])))
    flags += ["--portable"] if decided.portable else []
    word("--arguments", decided.arguments, _USUAL.arguments)
    values("--check-argument", [f"{name}:{index}" for name, index in sorted(decided.check)])
    values("--open-argument", [f"{name}:{index}" for name, index in sorted(decided.leave_open)])
    word("--unseen-arguments", decided.unseen, _USUAL.unseen)
    flags += [] if decided.files else ["--no-files"]
    word("--generalise", decided.generalise, _USUAL.generalise)
    values("--accept", decided.accept)
    values("--reject", decided.reject)
    values("--leave-out", choices.leave_out)
    word("--missing-files", decided.missing_files, _USUAL.missing_files)
    word("--created-files", decided.created_files, _USUAL.created_files)
    word("--home", decided.home, None)
    flags += [] if decided.network else ["--no-network"]
    word("--addresses", decided.addresses, _USUAL.addresses)
    values("--leave-out-port", [f"{way}/{protocol}/{port}" for way, protocol, port in sorted(decided.ports)])
    flags += [] if decided.capabilities else ["--no-capabilities"]
    flags += ["--transitions"] if decided.transitions else []
    flags += ["--accept-incomplete"] if decided.accept_incomplete else []
    return flags


def command_line(words: Sequence[str]) -> str:
    """The words as one line for a shell, safe to print: characters that could steer a terminal are escaped ($'…')."""
    return " ".join(map(_shell_word, words))


def _shell_word(word: str) -> str:
    if word.isprintable():
        return shlex.quote(word)
    try:
        data = os.fsencode(word)
    except UnicodeEncodeError:
        # No file can have this name, and no command line can say it.
        data = word.encode("utf-8", "surrogatepass")
    safe = "".join(chr(one) if 0x20 <= one < 0x7F and one not in b"'\\" else f"\\{one:03o}" for one in data)
    return f"$'{safe}'"
