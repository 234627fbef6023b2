"""A picture of machines as one page that needs nothing else: no network, no script to read it. Pure.

It is HTML that is XML as well. Its policy for content lets in its own style and script, by their digests, and nothing
else, so that no text of a policy can become either.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from functools import cache
from hashlib import sha256
from pathlib import Path

from scmm_oci.compiled.graph.links import links, marker
from scmm_oci.compiled.graph.matrix import matrix
from scmm_oci.compiled.graph.model import Phase, Picture, deep_rows, listed
from scmm_oci.compiled.graph.svg import NAMESPACE, clean_style, legend, style, too_large
from scmm_oci.compiled.graph.text import clean, element, number
from scmm_oci.policy import order

_HINT = "Point at a state, or at a cell: what may come after it, and before it, stands here. A click keeps it."


def page(picture: Picture) -> str:
    """The text of the page, which ends in a line end."""
    styles, script = _styles(), _script()
    content = f"default-src 'none'; style-src {_digest(styles)}; script-src {_digest(script)}"
    head = element("meta", charset="utf-8")
    head += element("meta", http_equiv="Content-Security-Policy", content=content)
    head += element("meta", name="viewport", content="width=device-width, initial-scale=1")
    head += element("title", clean(f"{picture.title}: what may follow what")) + f"<style>{styles}</style>"
    body = element("h1", clean(picture.title)) + "".join(element("p", clean(line)) for line in picture.lines)
    keys, width, height = legend(picture)
    body += _svg(element("defs", marker()) + keys, width, height, "legend")
    phases = "".join(_section(phase) for phase in picture.phases)
    body += element("div", phases or element("p", "nothing is judged"), class_="phases")
    body += f"<script>{script}</script>"
    text = element("head", head) + element("body", body)
    return f"<!DOCTYPE html>\n{element('html', text, xmlns='http://www.w3.org/1999/xhtml', lang='en')}\n"


def _section(phase: Phase) -> str:
    pieces = [element("h2", clean(phase.title)), element("p", clean(phase.note)), element("p", clean(phase.size))]
    pieces.append(element("p", clean(_HINT), class_="told"))
    if phase.is_followed:
        pieces.append(element("div", _svg(*links(phase), "links"), class_="drawing"))
    elif phase.states:
        pieces.append(element("p", clean(too_large(phase))))
    if phase.states:
        pieces.append(element("h3", "which call (column) may follow which (row)"))
        pieces.append(element("div", _svg(*matrix(phase), "square-of-states"), class_="drawing"))
    rows = [(before, state, following) for before, state, following in deep_rows(phase)]
    if rows:
        pieces.append(element("h3", "what alone may follow, where that was before (repetitions left out)"))
        pieces.append(_table(("before", "after", "these"), rows))
    transitions = [(one.call, listed(list(one.to))) for one in order.transitions(phase.table) if not one.before]
    if transitions:
        table = _table(("after", "these"), transitions)
        pieces.append(element("details", element("summary", "all of it as a table") + table))
    return element("section", "".join(pieces))


def _table(columns: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [element("tr", "".join(element("th", clean(column)) for column in columns))]
    for *first, last in rows:
        cells = [*(element("th", clean(cell)) for cell in first), element("td", clean(last))]
        lines.append(element("tr", "".join(cells)))
    return element("table", element("tbody", "".join(lines)))


def _svg(inner: str, width: float, height: float, name: str) -> str:
    box = f"0 0 {number(width)} {number(height)}"
    return element(
        "svg", inner, xmlns=NAMESPACE, class_=name, width=float(width), height=float(height), viewBox=box
    )  # fmt: skip


@cache
def _styles() -> str:
    return clean_style(style() + Path(__file__).with_name("page.css").read_text(encoding="utf-8"))


@cache
def _script() -> str:
    text = Path(__file__).with_name("page.js").read_text(encoding="utf-8")
    # So that it stands in XML as in HTML.
    assert not set("<&") & set(text)
    return text


def _digest(text: str) -> str:
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode('ascii')}'"
