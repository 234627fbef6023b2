"""How the registrations stand: which engines know the shim, and what keeps it from working there. Changes nothing.

Called by `scmm doctor`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from scmm_oci.enforcer import admits, handing, shim_settings, store
from scmm_oci.enforcer.registration import engines, parts
from scmm_oci.enforcer.registration.files import read_text
from scmm_oci.errors import BadInput, Finding
from scmm_oci.oci.annotations import MODES
from scmm_oci.settings_file import BadSettings

SHIM, MONITOR = "scmm-runc", "scmm-monitor"


@dataclass(frozen=True)
class Standing:
    """One engine that has one of our names in its configuration, or the shim itself; findings: what is wrong there."""

    name: str
    detail: str
    findings: tuple[Finding, ...] = ()


def standings(libexec: Path, configs: Mapping[engines.Kind, Path]) -> Iterator[Standing]:
    """The shim, and each engine that is told of it; nothing where neither is there.

    Raises PermissionError: something may only be looked into by root.
    """
    settings_path = libexec / parts.SETTINGS
    settings = None
    if os.path.lexists(settings_path):
        try:
            settings = shim_settings.read(str(settings_path))
        except PermissionError:
            raise
        except (BadSettings, OSError) as error:
            yield _wrong(SHIM, "shim-settings", str(error), "run scmm install again")
    runtimes = settings.runtimes if settings is not None else {shim_settings.DEFAULT: ""}
    if settings is not None:
        yield Standing(
            "scmm-runc", f"installed in {libexec}, over {_over(runtimes)}", tuple(_broken(libexec, settings))
        )
        unserved = tuple(_unserved(settings))
        if unserved:
            yield Standing("policies", "", unserved)
        yield from _monitor(settings)
    for kind, config in configs.items():
        yield from _engine(kind, config, engines.names(libexec, runtimes))


def _engine(kind: engines.Kind, config: Path, names: Mapping[str, str]) -> Iterator[Standing]:
    engine = engines.ENGINES[kind]
    try:
        text = read_text(config)
        present = engine.entries(text, names)
    except BadInput as error:
        # What an engine makes of its own file is not ours to judge, unless we are in there; that cannot be told.
        yield _wrong(kind.value, "unreadable", str(error).replace("\n", "; "), "correct the file")
        return
    if not present or text is None:
        return
    findings = []
    again = f"scmm install {kind}"
    for name in present:
        path = Path(names[name])
        if not os.access(path, os.X_OK):
            what = f"{config} names {name}, and {path} is not there: no container of that runtime starts"
            findings.append(Finding("starter-missing", what, f"run {again}, or {again} --undo"))
    try:
        engine.edited(text, {name: names[name] for name in present})
    except BadInput as error:
        findings += [
            Finding("entry", f"{config}: {problem.place} {problem.message}", again) for problem in error.problems
        ]
    yield Standing(kind.value, f"{' and '.join(present)} registered in {config}", tuple(findings))


def _broken(libexec: Path, settings: shim_settings.Settings) -> Iterator[Finding]:
    for name in settings.runtimes:
        starter = libexec / parts.starter(name)
        if not os.access(starter, os.X_OK):
            yield Finding("starter-missing", f"{starter} is not there, or no program", "run scmm install again")
            continue
        try:
            shim_settings.runtime(settings, str(starter))
        except ValueError as error:
            yield Finding("runtime", str(error))
    for path, what in ((settings.launcher, "no policy can be enforced"), (settings.hook, "nothing can be recorded")):
        if not os.access(path, os.X_OK):
            yield Finding("missing", f"{path} is not there, or no program: {what}", "run scmm install again")


def _store(settings: shim_settings.Settings) -> store.Store | None:
    """The policies, if this user may look."""
    if os.path.isdir(settings.policy_dir) and not os.access(settings.policy_dir, os.R_OK | os.X_OK):
        return None
    return store.Store(settings.policy_dir)


def _monitor(settings: shim_settings.Settings) -> Iterator[Standing]:
    """Whether somebody listens, where a policy asks or an image's containers are to ask."""
    held = _store(settings)
    if held is None or not (asking := _asking(held, settings)):
        return
    who = f"asked by {', '.join(asking)}"
    try:
        os.close(handing.connected(settings.monitor))
    except ValueError as error:
        yield _wrong(MONITOR, "monitor", f"{who}, whose containers do not start: {error}", "scmm install has --monitor")
    else:
        yield Standing(MONITOR, f"listens at {settings.monitor}, {who}")


def _asking(held: store.Store, settings: shim_settings.Settings) -> list[str]:
    machine = os.uname().machine
    found = []
    try:
        names = held.names()
    except store.BadStore:
        return []  # whoever needs one of them is told
    for name in names:
        try:
            if admits.asks(held.read(name), MODES[0], machine):
                found.append(name)
        except ValueError:
            continue
    return [*found, *(f"images {each.image}" for each in settings.images if each.mode == admits.ASK)]


def _unserved(settings: shim_settings.Settings) -> Iterator[Finding]:
    """Images whose containers cannot start, as their policy is not to be had."""
    held = _store(settings)
    if held is None:
        return
    for image in settings.images:
        try:
            held.read(image.policy, image.digest)
        except store.BadStore as error:
            what = f"no container of the images {image.image} starts: {error}"
            yield Finding("image-policy", what, f"scmm policy add {image.policy} FILE, or change shim.images")


def _over(runtimes: Mapping[str, str]) -> str:
    return ", ".join(sorted(set(runtimes.values())))


def _wrong(name: str, code: str, message: str, hint: str) -> Standing:
    return Standing(name, "", (Finding(code, message, hint),))
