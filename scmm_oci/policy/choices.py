"""All that is chosen for one extraction: the decisions, and files that are left out; what of it had no effect.

Made by the flags of ``scmm extract`` and by its interview; as plain values it is what an interrupted interview keeps.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from scmm_oci.errors import BadInput, Finding, Problem, short
from scmm_oci.policy import decisions as decisions_form
from scmm_oci.policy.decisions import Decisions, Generalise
from scmm_oci.policy.infer import Seen
from scmm_oci.policy.infer.file_rules import chosen_patterns
from scmm_oci.policy.infer.network import direction_of, protocol_of
from scmm_oci.policy.paths.patterns import Pattern, PatternSet
from scmm_oci.policy.paths.proposals import Proposal


@dataclass(frozen=True)
class Choices:
    """The decisions of a policy, and the patterns of observed files that get no rule."""

    decisions: Decisions = field(default_factory=Decisions)
    leave_out: tuple[str, ...] = ()

    def changed(self, **changes: Any) -> Choices:
        """The same with other values for some decisions, or for ``leave_out``."""
        left = changes.pop("leave_out", self.leave_out)
        return Choices(self.decisions.changed(**changes) if changes else self.decisions, left)


def check(choices: Choices) -> None:
    """Raises BadInput with everything in the choices that names nothing."""
    found: list[Problem] = []
    try:
        decisions_form.check(choices.decisions)
    except BadInput as error:
        found += error.problems
    for text in choices.leave_out:
        found += pattern_problems(f"leave_out {short(text)}", text)
    if found:
        raise BadInput(found)


def pattern_problems(place: str, text: str) -> list[Problem]:
    """What is wrong with the text of a pattern; nothing if it is one."""
    try:
        Pattern.parse(text)
    except BadInput as error:
        return [Problem(place, one.message, one.hint) for one in error.problems]
    return []


def to_document(choices: Choices) -> dict[str, Any]:
    """The choices as plain JSON values."""
    return {"decisions": decisions_form.to_document(choices.decisions), "leave_out": list(choices.leave_out)}


def from_document(document: object, *, source: str = "") -> Choices:
    """What :func:`to_document` has written.

    Raises:
        BadInput: it is not that.
    """
    if not isinstance(document, dict) or document.keys() != {"decisions", "leave_out"}:
        raise BadInput([Problem("", "holds no choices")], source=source)
    left = document["leave_out"]
    if not isinstance(left, list) or not all(isinstance(one, str) for one in left):
        raise BadInput([Problem("leave_out", "is no list of patterns")], source=source)
    choices = Choices(decisions_form.from_document(document["decisions"], source=source), tuple(left))
    check(choices)
    return choices


def narrowed(seen: Seen, choices: Choices) -> Seen:
    """What the captures show, less the files that are left out; a finding says how many."""
    if not choices.leave_out:
        return seen
    left = _set(choices.leave_out, choices.decisions.home)
    needs = tuple(need for need in seen.needs if not left.granting(need.path))
    gone = len(seen.needs) - len(needs)
    if not gone:
        return seen
    told = Finding("left-out", f"{gone} of the observed paths are left out: the program may not find what it needs")
    return replace(seen, needs=needs, findings=(*seen.findings, told))


def unused(seen: Seen, choices: Choices) -> list[Finding]:
    """Findings for every choice that is about something the captures do not have.

    Args:
        seen: all that they show, before :func:`narrowed`.
    """
    decided = choices.decisions
    found = [_unused(text) for text in _places_without_effect(seen, decided)]
    if decided.files:
        found += [_unused(f"no observed path is granted by {text!r}") for text in _idle_patterns(seen, choices)]
        known = {one.pattern.text for one in seen.proposals} | set(decided.accept)
        found += [
            _unused(f"{text!r} is no pattern that would be taken") for text in decided.reject if text not in known
        ]
    used = set(_ports(seen))
    for port in sorted(decided.ports):
        if port not in used:
            found.append(_unused(f"no capture has a use of {'/'.join(map(str, port))}"))
    return found


def taken(proposals: Sequence[Proposal], decisions: Decisions) -> tuple[dict[str, str], tuple[Proposal, ...]]:
    """The patterns that are taken, with the reason of each; and those that wait for an explicit yes.

    These would open a protected root; the ones with the best evidence come first.
    """
    chosen = {pattern.text: reason for pattern, reason in chosen_patterns(proposals, decisions).items()}
    waiting: tuple[Proposal, ...] = ()
    if decisions.generalise is Generalise.EVIDENCE:
        waiting = tuple(
            one
            for one in proposals
            if one.protected is not None and one.pattern.text not in chosen and one.pattern.text not in decisions.reject
        )
        waiting = tuple(sorted(waiting, key=lambda one: (-one.confidence, one.order)))
    return chosen, waiting


def _unused(text: str) -> Finding:
    return Finding("unused-choice", text, "the choice has no effect")


def _places_without_effect(seen: Seen, decided: Decisions) -> Iterator[str]:
    recorded = {(one.name, index) for capture in seen.captures for one in capture.arguments for index in one.indexes}
    for name, index in sorted(decided.check | decided.leave_open):
        if (name, index) not in recorded:
            yield f"no capture has values of argument {index} of {name}"


def _idle_patterns(seen: Seen, choices: Choices) -> Iterator[str]:
    texts = [*choices.decisions.accept, *choices.leave_out]
    waiting = set(texts)
    patterns = _set(texts, choices.decisions.home)
    origin = {_resolved(text, choices.decisions.home).text: text for text in texts}
    for need in seen.needs:
        if not waiting:
            break
        waiting -= {origin[one.text] for one in patterns.granting(need.path)}
    yield from (text for text in dict.fromkeys(texts) if text in waiting)


def _ports(seen: Seen) -> Iterator[tuple[str, str, int]]:
    for capture in seen.captures:
        for use in capture.sockets:
            protocol = protocol_of(use)
            if protocol is not None and use.port is not None:
                yield direction_of(use), protocol.value, use.port


def _set(texts: Iterable[str], home: str | None) -> PatternSet:
    return PatternSet(_resolved(text, home) for text in texts)


def _resolved(text: str, home: str | None) -> Pattern:
    return Pattern.parse(text).resolve(home=home)
