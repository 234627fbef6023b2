"""Flags of ``scmm extract`` ↔ choices: what a command line chooses, and the command line that chooses the same."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any, TypeVar

from scmm_oci.cli.decision_options import DEFAULT_ACTIONS
from scmm_oci.errors import BadInput, Problem, short, unknown_value
from scmm_oci.policy.choices import Choices, pattern_problems
from scmm_oci.policy.decisions import (
    DEPTHS,
    ORDER,
    Addresses,
    ArgumentRules,
    CategoryChoice,
    CreatedFiles,
    Decisions,
    Generalise,
    Unseen,
)
from scmm_oci.policy.model import Action, OnMissing, Protocol, WatchAction
from scmm_oci.tables import errnos, syscalls
from scmm_oci.tables.categories import Category

_E = TypeVar("_E", bound=StrEnum)

_BY_FLAG = {"allow": Action.ALLOW, "deny": Action.DENY, "log": Action.LOG, "kill": Action.KILL}
_DIRECTIONS = ("inbound", "outbound")
_USUAL = Decisions()


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
        refine=values["refine"],
        depth=read.depth(),
        serving_from=read.serving_from(),
        watch=read.watch(),
        likely=read.likely(),
    )
    choices = Choices(decisions, read.patterns("leave_out"))
    read.contradictions(choices)
    if not decisions.transitions and not values.get("stats_only"):
        read.only_with_transitions(decisions)
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

    def depth(self) -> int:
        text: str = self._values["depth"]
        if text in map(str, DEPTHS):
            return int(text)
        self.found.append(unknown_value("--depth", "a depth", text, [*map(str, DEPTHS)]))
        return _USUAL.depth

    def serving_from(self) -> tuple[str, ...]:
        names: tuple[str, ...] = tuple(dict.fromkeys(self._values["serving_from"]))
        for name in names:
            self._call("--serving-from", name)
        return names

    def watch(self) -> WatchAction | None:
        text = self._values["watch"]
        return None if text is None else self.word("watch", WatchAction, "what a watch does", WatchAction.ALERT)

    def likely(self) -> int:
        text: str | None = self._values["likely"]
        if text is None:
            return 0
        if text.isascii() and text.isdecimal() and int(text[:6]) > 0 and len(text) < 6:
            return int(text)
        self.found.append(Problem("--likely", f"{short(text)} is no number of recordings", "1 to 99999"))
        return 0

    def only_with_transitions(self, decisions: Decisions) -> None:
        for one in ORDER:
            if getattr(decisions, one) != getattr(_USUAL, one):
                flag = f"--{one.replace('_', '-')}"
                self.found.append(
                    Problem(flag, "is about transitions, which the policy will not have", "--transitions")
                )

    def contradictions(self, choices: Choices) -> None:
        decisions = choices.decisions
        for text in decisions.accept:
            if text in decisions.reject:
                self.found.append(Problem("--accept", f"{short(text)} is rejected too"))
        for name, index in sorted(decisions.check & decisions.leave_open):
            self.found.append(Problem("--check-argument", f"{name}:{index} is left open too"))


def _plain(path: str) -> str:
    from scmm_oci.policy.paths.patterns import escape

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
    flags += ["--refine"] if decided.refine else []
    word("--depth", decided.depth, _USUAL.depth)
    values("--serving-from", decided.serving_from)
    word("--watch", decided.watch, None)
    word("--likely", decided.likely, _USUAL.likely)
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
