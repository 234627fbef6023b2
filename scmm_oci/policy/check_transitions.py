"""Check the words of transitions, and of what goes with them: keys, lists, the calls that serving begins with.

Called by policy.check only.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

from scmm_oci.errors import Problem, short, unknown_value
from scmm_oci.policy.check_names import name_problem
from scmm_oci.policy.model import AFTER
from scmm_oci.schema import Found, Steps
from scmm_oci.tables import states
from scmm_oci.tables.arch import Arch

_FIRST = (states.START, *states.BEGINNINGS)
_SIGN = AFTER.strip()


def check_transitions(
    document: dict[str, Any], given: Collection[str], arches: Sequence[Arch], known: Collection[str]
) -> Iterator[Found]:
    """Everything wrong with the words of the sections transitions and serving, and whether watch has any to watch.

    Args:
        given: the sections that the document has, also those that are not in it any more, as the schema refused them.
        known: the calls that there are.
    """
    words = _Words(arches, known)
    serving = document.get("serving", {})
    for section, path in ((document, ()), (serving, ("serving",))):
        for key, following in section.get("transitions", {}).items():
            place: Steps = (*path, "transitions", key)
            yield from (Found(place, problem) for problem in words.key(key))
            for index, word in enumerate(following or ()):
                if word is not None and (problem := words.follower(word)) is not None:
                    yield Found((*place, index), problem)
    for index, word in enumerate(serving.get("from", ())):
        if word is not None and (problem := words.switch(word)) is not None:
            yield Found(("serving", "from", index), problem)
    if "watch" in document and "transitions" not in given and "serving" not in given:
        message = "there is nothing to watch without transitions"
        yield Found(("watch",), Problem("", message, "learn them: scmm extract --transitions"))


class _Words:
    """What is wrong with words; each is looked at once."""

    def __init__(self, arches: Sequence[Arch], known: Collection[str]) -> None:
        self._arches = arches
        self._known = known
        self._followers: dict[str, Problem | None] = {}

    def key(self, key: str) -> Iterator[Problem]:
        """Of a key: ``read``, ``openat:write``, ``start:exec``, ``@basic-io``, ``connect > sendto``."""
        if _SIGN not in key:
            problem = self._first(key)
            if problem is not None:
                yield problem
            return
        parts = [part.strip() for part in key.split(_SIGN)]
        if len(parts) != 2 or not all(parts):
            hint = "write 'connect > sendto': what was before, and the call that these follow"
            yield Problem("", f"{short(key)} is not two states with {_SIGN} between them", hint)
            return
        before, call = parts
        if key != AFTER.join(parts):
            hint = f"write {short(AFTER.join(parts))}"
            yield Problem("", f"{short(key)} has not just one space on each side of {_SIGN}", hint)
        for part in parts:
            if part.startswith("@"):
                yield Problem("", f"a group cannot stand in {short(key)}", "name a call")
        if not before.startswith("@") and (problem := self._first(before)) is not None:
            yield problem
        if call == states.SIGNAL:
            yield Problem(
                "", f"nothing is before a {call} handler, and so none can stand in {short(key)}", f"write {call}"
            )
        elif not call.startswith("@") and (problem := self.follower(call)) is not None:
            yield problem
        elif before == call:
            yield Problem("", f"{short(key)} never holds, as a call that is repeated counts once")

    def follower(self, word: str) -> Problem | None:
        """Of a word in a list: a call, a class of one, a group."""
        if word not in self._followers:
            self._followers[word] = self._follower(word)
        return self._followers[word]

    def switch(self, word: str) -> Problem | None:
        """Of a word in serving.from: a call or a group."""
        call = states.call_of(word)
        if call in self._known and call != word:
            return Problem("", f"serving begins with a call, not with {short(word)} alone", f"write {call}")
        return self.follower(word)

    def _first(self, word: str) -> Problem | None:
        if word in _FIRST:
            return None
        if word.startswith(f"{states.START}:"):
            return unknown_value("", "where a thread begins", word, _FIRST)
        return self._class(word) if ":" in word else name_problem(word, self._arches, self._known, more=_FIRST)

    def _follower(self, word: str) -> Problem | None:
        # Some ABIs have a call of the name signal.
        if word in _FIRST and word not in self._known:
            return Problem("", f"{word} is a beginning, and no call", "it can only be what calls follow")
        if word.startswith(f"{states.START}:"):
            return unknown_value("", "where a thread begins, nor a call", word, _FIRST)
        return self._class(word) if ":" in word else name_problem(word, self._arches, self._known)

    def _class(self, word: str) -> Problem | None:
        call = word.partition(":")[0]
        problem = name_problem(call, self._arches, self._known)
        if problem is not None or word in states.classes_of(call):
            return problem
        if call not in states.REFINED:
            refined = ", ".join(sorted(one for one in states.REFINED if one in self._known))
            hint = f"write {call}; calls that have classes: {refined}"
            return Problem("", f"{short(word)} is no state, as {call} has no classes", hint)
        return unknown_value("", f"a class of {call}", word, states.classes_of(call))
