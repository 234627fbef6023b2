"""containerd's config.toml with runtimes added for Kubernetes (CRI): every other byte stays as it is. Pure.

containerd-config.toml(5), docs/cri/config.md: a runtime of type io.containerd.runc.v2 calls the program in
`options.BinaryName`; annotations of pods and containers reach it only if `pod_annotations` and `container_annotations`
have a pattern for them. What the runtime that is the default has set (SystemdCgroup above all) must hold for this one
too, or its pods do not start. A file's table of runtimes stands in the place of containerd's own, which has runc: so
that has to be in it (containerd 1.6.20, measured by `config dump`). `ctr run --runc-binary` needs no entry.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from scmm_oci.enforcer.registration import toml_text
from scmm_oci.errors import BadInput, Finding, Problem, short, unknown_value

# Version of the file → the plugin that has the runtimes. containerd 1.x reads 2, containerd 2.x both.
_PLUGINS = {2: "io.containerd.grpc.v1.cri", 3: "io.containerd.cri.v1.runtime"}
_TYPE = "io.containerd.runc.v2"
_BUILT_IN = "runc"
_ANNOTATIONS = ("pod_annotations", "container_annotations")
_PATTERN = "scmm.*"
_NEW = "version = 2\n"


def edited(text: str | None, runtimes: Mapping[str, str]) -> str:
    """The file with the runtimes in it; see `engines.Engine`."""
    document = toml_text.parse(text)
    if not document:
        text = _NEW + (text or "")
        document = toml_text.parse(text)
    assert text is not None
    above = ("plugins", _plugin(document), "containerd")
    settings = toml_text.table(document, above)
    present = toml_text.table(document, (*above, "runtimes"))
    like = toml_text.table(document, (*above, "runtimes", _default(settings)))
    problems = []
    result = text
    if not present and _default(settings) == _BUILT_IN:
        result = toml_text.add(result, (*above, "runtimes", _BUILT_IN), {"runtime_type": _TYPE})
    for name, program in runtimes.items():
        entry, options = _entry(like, program)
        path = (*above, "runtimes", name)
        if name not in present:
            result = toml_text.add(toml_text.add(result, path, entry), (*path, "options"), options)
        elif present[name] != {**entry, "options": options}:
            problems.append(
                Problem(
                    toml_text.place(path),
                    f"is there already, and is {short(present[name])}",
                    f"remove it, or give it another name: this one is for {program}",
                )
            )
    if problems:
        raise BadInput(problems)
    return result


def entries(text: str | None, runtimes: Mapping[str, str]) -> list[str]:
    """Those of the runtimes that the file has; see `engines.Engine`."""
    document = toml_text.parse(text)
    found = [toml_text.table(document, ("plugins", plugin, "containerd", "runtimes")) for plugin in _PLUGINS.values()]
    return [name for name in runtimes if any(name in each for each in found)]


def notes(text: str, runtimes: Mapping[str, str]) -> list[Finding]:
    """What to look at beside; see `engines.Engine`."""
    document = toml_text.parse(text)
    result = []
    disabled = document.get("disabled_plugins", [])
    if isinstance(disabled, list) and any(each in ("cri", *_PLUGINS.values()) for each in disabled):
        what = "disabled_plugins switches CRI off: only Kubernetes would use what was registered"
        result.append(Finding("cri-disabled", what, "with ctr, use --runc-binary"))
    above = ("plugins", _plugin(document), "containerd")
    default = _default(toml_text.table(document, above))
    program = toml_text.table(document, (*above, "runtimes", default, "options")).get("BinaryName")
    if program:
        what = f"containerd's {default} is {program}"
        result.append(Finding("binary-name", what, f"install with --runc {program} to have the same below the shim"))
    return result


def _plugin(document: Mapping[str, Any]) -> str:
    version = document.get("version")
    if version is None:
        problem = Problem(".version", "is missing, which is 1 to containerd", "containerd config migrate makes it 2")
        raise BadInput([problem])
    if not isinstance(version, int) or isinstance(version, bool) or version not in _PLUGINS:
        raise BadInput([unknown_value(".version", "a version that is known", version, [*map(str, _PLUGINS)])])
    return _PLUGINS[version]


def _default(settings: Mapping[str, Any]) -> str:
    name = settings.get("default_runtime_name")
    return name if isinstance(name, str) and name else _BUILT_IN


def _entry(like: Mapping[str, Any], program: str) -> tuple[dict[str, toml_text.Value], dict[str, toml_text.Value]]:
    """The table of a runtime and its options, with what the default has beside."""
    entry = {name: value for name, value in like.items() if name != "options" and _plain(value)}
    options = {name: value for name, value in toml_text.table(like, ("options",)).items() if _plain(value)}
    for name in _ANNOTATIONS:
        others = entry.get(name)
        entry[name] = [*(each for each in (others if isinstance(others, list) else ()) if each != _PATTERN), _PATTERN]
    return {**entry, "runtime_type": _TYPE}, {**options, "BinaryName": program}


def _plain(value: object) -> bool:
    return isinstance(value, str | bool | int) or (
        isinstance(value, list) and all(isinstance(each, str) for each in value)
    )
