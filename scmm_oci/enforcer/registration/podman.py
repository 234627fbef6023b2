"""containers.conf with runtimes added: every other byte stays as it is. Pure.

containers.conf(5): `[engine.runtimes]` has a list of paths for each name, the first that exists counts. Only of
runtimes that `runtime_supports_json` names does podman take errors as JSON: for others it shows the runtime's log as it
is (podman 4.3.1, measured). A list in a file stands in the place of podman's own, so it has to name those too.
"""

from __future__ import annotations

from collections.abc import Mapping

from scmm_oci.enforcer.registration import toml_text
from scmm_oci.errors import BadInput, Finding, Problem, short

_RUNTIMES = ("engine", "runtimes")
_LIST = "runtime_supports_json"
# What podman's own list has in any of its versions from 4.3 on; a name that is not installed does nothing.
_OTHERS = ("crun", "crun-vm", "kata", "krun", "runc", "runsc", "youki")


def edited(text: str | None, runtimes: Mapping[str, str]) -> str:
    """The file with the runtimes in it; see `engines.Engine`."""
    document = toml_text.parse(text)
    present = toml_text.table(document, _RUNTIMES)
    problems = [
        Problem(
            toml_text.place((*_RUNTIMES, name)),
            f"is there already, and is {short(present[name])}",
            f"remove it, or give it another name: this one is for {path}",
        )
        for name, path in runtimes.items()
        if name in present and present[name] != [path]
    ]
    if problems:
        raise BadInput(problems)
    result = text or ""
    missing: dict[str, toml_text.Value] = {name: [path] for name, path in runtimes.items() if name not in present}
    if _LIST not in toml_text.table(document, ("engine",)):
        result = toml_text.add(result, ("engine",), {_LIST: sorted({*_OTHERS, *runtimes})})
    if missing:
        result = toml_text.add(result, _RUNTIMES, missing)
    return result


def entries(text: str | None, runtimes: Mapping[str, str]) -> list[str]:
    """Those of the runtimes that the file has; see `engines.Engine`."""
    present = toml_text.table(toml_text.parse(text), _RUNTIMES)
    return [name for name in runtimes if name in present]


def notes(text: str, runtimes: Mapping[str, str]) -> list[Finding]:
    """What to look at beside; see `engines.Engine`."""
    listed = toml_text.table(toml_text.parse(text), ("engine",)).get(_LIST, [])
    absent = [name for name in runtimes if not isinstance(listed, list) or name not in listed]
    if not absent:
        return []
    what = f".engine.{_LIST} does not name {' and '.join(absent)}: podman shows the runtime's errors as they come"
    return [Finding("podman-json", what, "add them to that list")]
