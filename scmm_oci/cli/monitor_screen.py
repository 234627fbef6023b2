"""What scmm-monitor's screen shows, as lines of styled text: nothing here knows a terminal.

Keys are below, in the same place for every question. Text that programs choose can neither steer the terminal nor hide
in it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from scmm_oci.cli.monitor_text import Line, Span, Style, fit
from scmm_oci.cli.outcome import many
from scmm_oci.enforcer.monitor.questions import Answer, Question, Shown

_LEAST_COLUMNS = 36  # the keys' rows
_NEEDED = 5  # facts that weigh more must be seen
_LABEL = 9  # columns
_MOST_LINES = 6  # of one text
_FOOT = 3  # rows
_MOST_ROWS = 18  # more would only part the keys from what they are about
_SOON_S = 5.0
_ENGINES = 64

#: Key, answer, what it is called, and how it is told.
KEYS = {
    "o": (Answer.ONCE, "allow once", "allowed once"),
    "r": (Answer.RUN, "this run", "allowed for this run"),
    "a": (Answer.ALWAYS, "always", "always allowed"),
    "d": (Answer.DENY, "deny", "denied"),
    "n": (Answer.NEVER, "never", "always denied"),
    "k": (Answer.KILL, "kill", "killed"),
}
_KEPT = (Answer.RUN, Answer.ALWAYS, Answer.NEVER)
_ROWS = (("o", "r", "a"), ("d", "n", "k"))
_PLACES = (1, 15, 27)  # columns of the three keys of a row


@dataclass(frozen=True, slots=True)
class Window:
    """columns, rows: its size. ascii: it cannot show more than ASCII."""

    columns: int
    rows: int
    ascii: bool = False


def is_enough(shown: Shown, window: Window) -> bool:
    """Whether all that matters can be seen in a window; in a smaller one nothing is to be allowed."""
    needed = sum(one.weight > _NEEDED for one in _facts(shown))
    return window.columns >= _LEAST_COLUMNS and window.rows >= 1 + needed + _FOOT


def question(shown: Shown, window: Window, *, left_s: float, listens: bool, said: str = "") -> list[Line]:
    """The screen with a question, as many lines as the window has, none of them wider.

    Args:
        left_s: seconds until it is denied.
        listens: whether keys count already.
        said: what became of it, if it is over.
    """
    if not is_enough(shown, window):
        return _too_small(window, left_s, said)
    foot = [_bar(shown, window, left_s, said), *(_keys(shown, row, listens and not said) for row in _ROWS)]
    head = _head(shown, window)
    rows = min(window.rows, _MOST_ROWS)
    return [head, *_body(shown, window, rows - _FOOT - 1), *foot, *((),) * (window.rows - rows)]


def _too_small(window: Window, left_s: float, said: str) -> list[Line]:
    told = said or f"denied in {_seconds(left_s)}"
    lines: list[Line] = [
        (Span("A call waits. Make this window larger,"),),
        (Span("or press d to deny."),),
        (Span(told),),
    ]
    lines = [_cut(line, window.columns) for line in lines][-window.rows :]
    return [*lines, *((),) * (window.rows - len(lines))]


def _head(shown: Shown, window: Window) -> Line:
    left, right = " scmm-monitor: a call waits", f"{shown.more} more wait " if shown.more else ""
    if shown.more == 1:
        right = "1 more waits "
    if len(left) + len(right) >= window.columns:
        left = " a call waits"
    return (Span(f"{left}{right:>{window.columns - len(left)}}", Style.INVERSE),)


def _body(shown: Shown, window: Window, rows: int) -> list[Line]:
    """Who and what. Where there is little room, what tells least goes first: spaces, how often, the process."""
    facts = _facts(shown)
    width = window.columns - _LABEL - 2
    while len(facts) > rows:
        facts.remove(min(facts, key=lambda one: one.weight))
    lines = [1] * len(facts)
    whole = [len(fit(one.text, width, _MOST_LINES, ascii=window.ascii)) for one in facts]
    # What is long gets more lines, the weightiest first.
    for at in sorted(range(len(facts)), key=lambda each: -facts[each].weight):
        lines[at] += min(whole[at] - 1, rows - sum(lines))
    found: list[Line] = []
    for fact, most in zip(facts, lines, strict=True):
        texts = fit(fact.text, width, most, ascii=window.ascii)
        for number, text in enumerate(texts):
            label = f" {fact.label if number == 0 else '':<{_LABEL}}"
            styled = tuple(Span(span.text, fact.style if span.style is Style.PLAIN else span.style) for span in text)
            found.append((Span(label, fact.label_style), *styled))
    free = rows - len(found)
    above = 1 if free >= 2 else 0
    return [*((),) * above, *found, *((),) * (free - above)]


@dataclass(frozen=True, slots=True)
class _Fact:
    label: str
    text: str
    weight: int
    style: Style = Style.PLAIN
    label_style: Style = Style.DIM


def _facts(shown: Shown) -> list[_Fact]:
    asked = shown.question
    process = asked.process
    found = [_Fact("who", _who(asked), 6)]
    if process is None:
        found.append(_Fact("program", "unknown", 7))
    else:
        found.append(_Fact("program", process.executable or "unknown", 7, Style.BOLD))
        found.append(_Fact("process", _process(asked), 3))
    found.append(_Fact("call", asked.words, 8))
    found += (_Fact("path", one, 10, Style.BOLD) for one in asked.paths)
    if asked.address:
        found.append(_Fact("address", asked.address, 10, Style.BOLD))
    found += (_Fact("says", one, 10, Style.BOLD, Style.CLAIM) for one in asked.claimed)
    if asked.claimed:
        found.append(_Fact("", "only its word; it may change", 9, Style.CLAIM))
        # What is kept is for the call: of what is only said, nothing is part of it.
        kept = [key for key, (answer, _, _) in KEYS.items() if answer in _KEPT and answer in asked.choices]
        if kept:
            found.append(_Fact("", f"{', '.join(kept)}: whatever it says", 9, Style.CLAIM))
    found.append(_Fact("before", _before(shown), 2))
    return found


def _who(asked: Question) -> str:
    target = asked.target
    if target.id == target.name:
        return target.name
    # Engines' ids are 64 digits, and people know them by the first 12.
    return f"{target.name} ({target.id[:12] if len(target.id) == _ENGINES else target.id})"


def _process(asked: Question) -> str:
    process = asked.process
    if process is None:
        return ""
    text = f"{process.pid}, user {process.uid}"
    # The kernel keeps 15 bytes of a thread's name: proc_pid_comm(5).
    usual = (process.executable or "").rpartition("/")[2][:15]
    return text if process.comm == usual else f'{text}, calls itself "{process.comm}"'


def _before(shown: Shown) -> str:
    text = f"asked {many(shown.times, 'time')}" if shown.times else "never asked"
    if not shown.waiting:
        return text
    return f"{text}; {many(shown.waiting, 'more call waits', 'more calls wait')} for this answer"


def _bar(shown: Shown, window: Window, left_s: float, said: str) -> Line:
    """How much of the time is left."""
    if said:
        return _cut((Span(f" {said}", Style.BOLD),), window.columns)
    told = f" denied in {_seconds(left_s)} "
    room = window.columns - len(told) - 1
    full = max(0, min(room, round(room * left_s / shown.timeout_s))) if shown.timeout_s > 0 else 0
    mark, empty = ("#", ".") if window.ascii else ("█", "░")
    style = Style.DENY if left_s <= _SOON_S else Style.BOLD
    return (Span(" "), Span(mark * full, style), Span(empty * (room - full), Style.DIM), Span(told))


def _seconds(left_s: float) -> str:
    return f"{max(0, int(left_s + 0.999))} s"


def _keys(shown: Shown, keys: Iterable[str], listens: bool) -> Line:
    """A row of keys; what is no choice leaves its place empty."""
    found: list[Span] = []
    at = 0
    for place, key in zip(_PLACES, keys, strict=True):
        answer, name, _ = KEYS[key]
        if answer not in shown.question.choices:
            continue
        colour = Style.DENY if key in _ROWS[1] else Style.ALLOW
        found += [
            Span(" " * (place - at)),
            Span(key, colour if listens else Style.DIM),
            Span(f" {name}", Style.PLAIN if listens else Style.DIM),
        ]
        at = place + 2 + len(name)
    return tuple(found)


def _cut(line: Line, columns: int) -> Line:
    """One span of ASCII, as much of it as there is room for."""
    return tuple(Span(span.text[:columns], span.style) for span in line)


def quiet(targets: int, decisions: int, columns: int) -> str:
    """One line while nobody is asked, shorter than the window: the cursor stands behind it."""
    text = f"scmm-monitor: {many(targets, 'container or program', 'containers and programs')}, "
    text += many(decisions, "decision")
    return text[: max(0, columns - 1)]
