"""JSON through CPython's C scanner and encoder, without importing the json package.

`import json` costs a hook 8 ms (it pulls in re and enum), more than everything else the interpreter does
before the hook's first line; two hooks stand on every container start. Where the C parts are not to be had
in the shape known here, the json package does the work: same results, slower.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class _Context:
    # What _json.make_scanner reads of a json.decoder.JSONDecoder (CPython Modules/_json.c).
    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int

    @staticmethod
    def parse_constant(name: str) -> float:
        raise ValueError(f"{name} is not JSON")


def loads(data: bytes) -> Any:
    """The value of one JSON document in UTF-8. Raises ValueError (also for invalid UTF-8 and trailing text)."""
    text = data.decode("utf-8").strip(" \t\n\r")
    try:
        from _json import make_scanner

        scan = make_scanner(_Context)  # type: ignore[arg-type]
    except (ImportError, AttributeError, TypeError):
        import json

        return json.loads(text, parse_constant=_Context.parse_constant)
    try:
        value, end = scan(text, 0)
        if end == len(text):
            return value
    except (StopIteration, ValueError, RecursionError, SystemError):
        pass  # the C scanner looks for its exception in json.decoder; the slow way has words for it
    import json

    try:
        return json.loads(text, parse_constant=_Context.parse_constant)
    except RecursionError:
        raise ValueError("nested too deep") from None


def dumps(value: Any) -> bytes:
    """`value` as one line of JSON: keys sorted, ASCII only (lone surrogates survive as escapes)."""
    try:
        from _json import encode_basestring_ascii, make_encoder

        encode = make_encoder({}, _refuse, encode_basestring_ascii, None, ":", ",", True, False, False)
    except (ImportError, AttributeError, TypeError):
        import json

        return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode() + b"\n"
    return "".join(encode(value, 0)).encode() + b"\n"


def _refuse(value: object) -> Any:
    raise TypeError(f"{type(value).__name__} is not JSON")
