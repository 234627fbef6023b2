"""What watches that are over saw: one small JSON file for each of the last ones, beside the ledger of those that go on.

Standard library only (hook).
"""

from __future__ import annotations

import os

from scmm_oci import quickjson

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

ENDED = "ended"
MOST = 64


def kept(directory: str) -> list[dict[str, Any]]:
    """The summaries below a ledger's directory, the oldest first."""
    where = os.path.join(directory, ENDED)
    found = []
    try:
        names = sorted(os.listdir(where))
    except FileNotFoundError:
        return []
    for name in names:
        try:
            with open(os.path.join(where, name), "rb") as file:
                found.append(quickjson.loads(file.read()))
        except (OSError, ValueError):
            continue  # just removed, or not yet written
    return found


def keep(directory: str, summary: dict[str, Any], now: float) -> None:
    """Write a summary for those who look later; of many, the last ones stay. now: seconds since the epoch."""
    where = os.path.join(directory, ENDED)
    try:
        os.makedirs(where, mode=0o700, exist_ok=True)
        path = os.path.join(where, f"{int(now * 1000):015}-{summary['slot']:03}.json")
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
        with os.fdopen(os.open(path + ".tmp", flags, 0o600), "wb") as file:
            file.write(quickjson.dumps(summary))
        os.rename(path + ".tmp", path)
        for name in sorted(os.listdir(where))[:-MOST]:
            os.unlink(os.path.join(where, name))
    except OSError:
        pass  # no room in the run directory; whoever ends the watch has the summary
