"""Pieces of SVG and HTML: elements with their attributes and texts escaped. Pure."""

from __future__ import annotations

from html import escape

from scmm_oci.errors import printable

# Elements that have nothing in them. HTML takes no other for closed at once.
_EMPTY = frozenset({"circle", "meta", "path", "rect"})


def clean(text: str) -> str:
    """A text for the inside of an element: no markup, and nothing that XML cannot hold."""
    return escape("\n".join(printable(line) for line in text.split("\n")), quote=True)


def element(name: str, inner: str = "", /, **attributes: str | float | int) -> str:
    """An element. Attributes' names have ``_`` for ``-``, and one at the end for Python's keywords.

    Args:
        inner: what is in it, as it stands: texts go through `clean` first.
    """
    words = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{clean(number(value) if isinstance(value, float) else str(value))}"'
        for key, value in attributes.items()
    )
    return f"<{name}{words}/>" if name in _EMPTY else f"<{name}{words}>{inner}</{name}>"


def number(value: float) -> str:
    """A number of pixels, to a tenth."""
    text = f"{value:.1f}"
    return text.removesuffix(".0")
