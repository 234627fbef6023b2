"""The interview on a terminal: keys in, one question at a time on the screen; prompt_toolkit draws.

Everything that is shown may come from a capture that somebody else made: it goes through ``printable``.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import textwrap
from collections.abc import Callable, Iterable

from prompt_toolkit.application import Application
from prompt_toolkit.data_structures import Point
from prompt_toolkit.filters import Condition
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.input import create_input
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.layout import ConditionalContainer, Dimension, FormattedTextControl, HSplit, Layout, Window
from prompt_toolkit.output import create_output
from prompt_toolkit.styles import Style
from prompt_toolkit.widgets import TextArea

from scmm_oci.cli.interview.conversation import Conversation, Outcome
from scmm_oci.cli.interview.questions import Kind, Option
from scmm_oci.errors import ScmmError, printable

_STYLE = Style.from_dict(
    {
        "head": "reverse",
        "title": "bold",
        "here": "bold",
        "warning": "ansired",
        "dim": "ansibrightblack",
        "error": "ansired",
    }
)
_KEYS = "↑↓ choose  enter answer  u undo  ? help  ctrl-c stop"
_KEYS_MANY = "↑↓ move  space choose  a all or none  enter answer  u undo  ? help  ctrl-c stop"
_KEYS_TEXT = "enter answer  esc undo  ctrl-c stop"


def talk(conversation: Conversation) -> Outcome:
    """Go on with an interview until it ends or is stopped. Draws on stderr; stdout is for the product."""
    return _Screen(conversation).run()


class _Screen:
    """The question that is shown, the place of the cursor, and what is chosen."""

    def __init__(self, conversation: Conversation) -> None:
        self._talk = conversation
        self._at = 0
        self._chosen: set[str] = set()
        self._message = ""
        self._help = False
        self._text = TextArea(multiline=False, prompt="> ", height=1)
        self._list = FormattedTextControl(
            self._options, focusable=True, show_cursor=False, get_cursor_position=lambda: Point(0, self._at)
        )
        self._list_window = Window(self._list, height=Dimension(min=1, weight=2), always_hide_cursor=True)
        self._application: Application[Outcome] = Application(
            layout=Layout(self._build(), focused_element=self._list_window),
            key_bindings=self._bind(),
            style=_STYLE,
            full_screen=True,
            input=create_input(sys.stdin),
            output=create_output(sys.stderr),
        )
        # How long an escape waits for being the beginning of an arrow key.
        self._application.ttimeoutlen = 0.1
        self._application.timeoutlen = 0.1
        self._show()

    def run(self) -> Outcome:
        """Ask until there is an outcome."""

        def ready() -> None:
            # A plain end would leave the terminal as the interview has it.
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self._end, Outcome.STOPPED)

        try:
            return self._application.run(pre_run=ready)
        except EOFError:
            return Outcome.STOPPED

    def _end(self, outcome: Outcome) -> None:
        if not self._application.is_done:
            self._application.exit(result=outcome)

    # What is on the screen.

    def _build(self) -> HSplit:
        def part(text: Callable[[], StyleAndTextTuples], weight: int, most: int | None = None) -> Window:
            height = Dimension(min=0, max=most, weight=weight) if most else Dimension(min=0, weight=weight)
            return Window(FormattedTextControl(text), wrap_lines=True, height=height, dont_extend_height=True)

        typed = Condition(self._is_typed)
        return HSplit(
            [
                Window(FormattedTextControl(self._head), height=1, style="class:head"),
                part(self._title, 4, 3),
                part(self._lines, 1, 12),
                ConditionalContainer(self._list_window, ~typed),
                ConditionalContainer(self._text, typed),
                part(self._beside, 1),
                Window(height=Dimension(min=0)),
                part(self._told, 4, 6),
                Window(FormattedTextControl(self._foot), height=1, style="class:head"),
            ]
        )

    def _is_typed(self) -> bool:
        return self._talk.question.kind in (Kind.PATTERN, Kind.ERRNO)

    def _head(self) -> StyleAndTextTuples:
        return [("", f" scmm extract: {self._talk.where()}")]

    def _foot(self) -> StyleAndTextTuples:
        keys = {Kind.ONE: _KEYS, Kind.MANY: _KEYS_MANY}.get(self._talk.question.kind, _KEYS_TEXT)
        return [("", f" {keys}")]

    def _title(self) -> StyleAndTextTuples:
        return [("class:title", self._wrapped([self._talk.question.title]))]

    def _lines(self) -> StyleAndTextTuples:
        return [("", self._wrapped(self._talk.question.lines))]

    def _options(self) -> StyleAndTextTuples:
        many = self._talk.question.kind is Kind.MANY
        result: StyleAndTextTuples = []
        for number, one in enumerate(self._talk.question.options):
            here = number == self._at
            box = ("[x] " if one.key in self._chosen else "[ ] ") if many else ""
            style = "class:warning" if one.warning else "class:here" if here else ""
            mark = " !" if one.warning else ""
            end = "" if number == len(self._talk.question.options) - 1 else "\n"
            result.append((style, f"{'>' if here else ' '} {box}{printable(one.label)}{mark}{end}"))
        return result

    def _beside(self) -> StyleAndTextTuples:
        one = self._option()
        if one is None or not one.preview:
            return [("", "")]
        return [("class:dim", "\n" + self._wrapped(one.preview))]

    def _told(self) -> StyleAndTextTuples:
        said = self._talk.question.help
        parts: StyleAndTextTuples = [("", self._wrapped([said]))] if self._help and said else []
        if self._message:
            parts.append(("class:error", ("\n" if parts else "") + self._wrapped([self._message])))
        return parts

    def _wrapped(self, lines: Iterable[str]) -> str:
        """The lines, safe to print and broken between words to the present width."""
        width = max(self._application.output.get_size().columns, 8)
        found: list[str] = []
        for line in map(printable, lines):
            rest = " " * (len(line) - len(line.lstrip()) + 2)
            found += textwrap.wrap(line, width, subsequent_indent=rest, break_on_hyphens=False) or [""]
        return "\n".join(found)

    def _option(self) -> Option | None:
        options = self._talk.question.options
        return options[self._at] if self._at < len(options) else None

    def _show(self) -> None:
        """Begin with the present question."""
        question = self._talk.question
        self._at, self._chosen, self._message, self._help = 0, set(), "", False
        if question.kind is Kind.MANY:
            self._chosen = set(question.default)
        elif self._is_typed():
            self._text.text = printable(str(question.default))
            self._text.buffer.cursor_position = len(self._text.text)
        else:
            keys = [one.key for one in question.options]
            self._at = keys.index(str(question.default)) if question.default in keys else 0
        self._application.layout.focus(self._text if self._is_typed() else self._list_window)

    # What keys do.

    def _do(self, action: Callable[[], object]) -> None:
        """Do something; what goes wrong with it is shown, and a defect ends the interview as one."""
        self._message = ""
        before = self._talk.question
        try:
            action()
        except ScmmError as error:
            if self._talk.question is not before:
                self._show()  # the answer was taken, and could not be kept
            self._message = str(error).replace("\n", "; ")
        except Exception as error:
            # Left to the event loop it would be printed over the screen, and the interview would go on.
            self._application.exit(exception=error)

    def _answer(self) -> None:
        question = self._talk.question
        answer: object
        if question.kind is Kind.MANY:
            answer = tuple(self._chosen)
        elif self._is_typed():
            typed = self._text.text
            answer = question.default if typed == printable(str(question.default)) else typed
        else:
            one = self._option()
            answer = one.key if one is not None else ""
        outcome = self._talk.answer(answer)
        if outcome is not None:
            self._end(outcome)
        else:
            self._show()

    def _undo(self) -> None:
        if self._talk.undo():
            self._show()
        else:
            self._message = "This is the first question."

    def _move(self, to: int) -> None:
        self._at = max(0, min(to, len(self._talk.question.options) - 1))

    def _choose(self) -> None:
        one = self._option()
        if one is not None:
            self._chosen ^= {one.key}

    def _choose_all(self) -> None:
        every = {one.key for one in self._talk.question.options}
        self._chosen = set() if self._chosen == every else every

    def _page(self) -> int:
        info = self._list_window.render_info
        return max(1, info.window_height - 1) if info is not None else 10

    def _bind(self) -> KeyBindings:
        bindings = KeyBindings()
        listed = Condition(lambda: not self._is_typed())
        many = Condition(lambda: self._talk.question.kind is Kind.MANY)

        def on(keys: str, action: Callable[[], object], where: Condition | None = None) -> None:
            for key in keys.split():
                bindings.add(key, filter=where if where is not None else True)(self._handler(action))

        on("enter", self._answer)
        on("escape", self._undo)
        on("u left backspace", self._undo, listed)
        on("up k", lambda: self._move(self._at - 1), listed)
        on("down j", lambda: self._move(self._at + 1), listed)
        on("pageup", lambda: self._move(self._at - self._page()), listed)
        on("pagedown", lambda: self._move(self._at + self._page()), listed)
        on("home", lambda: self._move(0), listed)
        on("end", lambda: self._move(len(self._talk.question.options)), listed)
        on("space", self._choose, many)
        on("a", self._choose_all, many)
        on("?", self._toggle_help, listed)
        on("c-c <sigint>", lambda: self._end(Outcome.STOPPED))
        on("c-z", lambda: self._application.suspend_to_background())
        on("c-l", lambda: self._application.renderer.clear())
        return bindings

    def _handler(self, action: Callable[[], object]) -> Callable[[KeyPressEvent], None]:
        def handle(event: KeyPressEvent) -> None:
            del event
            self._do(action)

        return handle

    def _toggle_help(self) -> None:
        self._help = not self._help
