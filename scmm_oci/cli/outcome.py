"""What ``scmm record`` says of a capture when it has written it: one line for people, or JSON."""

from __future__ import annotations

from typing import Any

from scmm_oci.cli.output import data, plain, say


def report(document: dict[str, Any], path: str, *, status: int | None, as_json: bool, quiet: bool) -> None:
    """Say what was written, on stderr; with as_json, on stdout too. status: a command's exit status, if it has one."""
    if as_json:
        data({"path": path, "name": document["name"], "exit_status": status, **figures(document)})
    if quiet:
        return
    try:
        say(f"{plain(path)}: {plain(summary(document))}")
    except OSError:
        pass  # a terminal that is gone; the capture is there


def figures(document: dict[str, Any]) -> dict[str, Any]:
    """What there is to know of a capture without reading it. calls: of the program; system_calls: different ones."""
    calls = [call for each in document["sessions"] for call in each["phases"]["app"]]
    return {
        "complete": document["complete"],
        "losses": document["losses"],
        "notes": document["notes"],
        "system_calls": len({(call["arch"], call["nr"]) for call in calls}),
        "calls": sum(call["entered"] for call in calls),
        "files": len({row["path"] for row in document["files"]}),
        "addresses": len(document["sockets"]),
        "programs": len(document["programs"]),
    }


def summary(document: dict[str, Any]) -> str:
    """One line on what a capture holds and lacks."""
    found = figures(document)
    what = ", ".join(
        (
            f"{many(found['system_calls'], 'system call')} ({found['calls']} made)",
            many(found["files"], "file"),
            many(found["addresses"], "address", "addresses"),
            many(found["programs"], "program"),
        )
    )
    lacks = ", ".join(_counted(each) for each in found["losses"])
    goes_on = [each["count"] for each in found["notes"] if each["kind"] == "still-running"]
    if any(each["kind"] == "snapshot" for each in found["losses"]):
        goes_on = []  # that goes without saying
    more = f"; {many(goes_on[0], 'thread')} of it still running" if goes_on else ""
    return f"{what}; " + (f"incomplete: {lacks}" if lacks else "complete") + more


def many(count: int, one: str, more: str = "") -> str:
    """ "1 file", "2 files"; more: another plural than with an s."""
    return f"{count} {one if count == 1 else more or one + 's'}"


def _counted(item: dict[str, Any]) -> str:
    return f"{item['kind']} ×{item['count']}" if item["count"] != 1 else str(item["kind"])
