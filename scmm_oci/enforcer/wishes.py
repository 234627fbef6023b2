"""What a container's config.json asks of the shim: a policy and its mode, a recording, a watch. Pure; changes the
environment.

Annotations come from whoever starts the container, the configuration from who owns the host. The process's
environment may be the image's: it decides only where neither of those says anything. podman (measured: 4.3) makes
annotations of the image the container's, too, where the command line has none of the same key; config.json does not
tell them apart. Standard library only, and little of it: stands on every container start (scmm_oci.enforcer.shim).
"""

from __future__ import annotations

from scmm_oci.enforcer import images
from scmm_oci.oci import annotations as names
from scmm_oci.oci.state import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import Any

    from scmm_oci.enforcer.shim_settings import Image, Settings

# Variables → the annotations that they stand for, where an engine has none.
VARIABLES = {
    "SCMM_RECORD": names.RECORD,
    "SCMM_NAME": names.NAME,
    "SCMM_POLICY": names.POLICY,
    "SCMM_MODE": names.MODE,
    "SCMM_WATCH": names.WATCH,
    "SCMM_DEPTH": names.DEPTH,
}
_PREFIX = "SCMM_"
# Variables that decide what the program may do, and annotations: one that is not understood starts no container.
_STRICT = ("SCMM_POLICY", "SCMM_MODE", "SCMM_WATCH")
_RECORD_WORDS = {"1": "true", "0": "false", "true": "true", "false": "false", "required": "required"}

# How CRI's engines tell a pod's sandbox (its pause container), and its id: where that is another's, these annotations
# are not the engine's.
_SANDBOX = (
    ("io.kubernetes.cri.container-type", "io.kubernetes.cri.sandbox-id"),
    ("io.kubernetes.cri-o.ContainerType", "io.kubernetes.cri-o.SandboxID"),
)

# Of variables or annotations that are not known: an image with thousands would push all else out of the log.
_MOST_NOTES = 8

# An image may have chosen them: the log has it.
_WEAK = {
    "seccomp": "of the policy, calls alone are held",
    "permissive": "nothing is refused, and calls are told",
    "ask": "a monitor decides about calls that the policy refuses",
    names.WATCHED: "nothing of the policy is enforced",
}

ANNOTATION, CONFIGURATION, ENVIRONMENT = "annotation", "configuration", "environment"


class Wish:
    """What is asked for.

    Attributes:
        policy: its name in the store, or None; digest: its SHA-256 in hexadecimal digits, or None for any.
        mode: of oci.annotations.MODES, or WATCHED there.
        source: ANNOTATION, CONFIGURATION or ENVIRONMENT, by whichever the policy came; "" without one.
        record, required, name, depth: the recording; name and depth, of names.DEPTHS, are None where none is given.
        watch: what is done about calls in an order that the policy has not, of oci.annotations.ACTIONS; None where
            nothing is watched, as without a policy.
        problems: what keeps the container from starting: enforcing (or a recording that is required) was asked for in
            a way that is not understood.
        notes: what was left out, or taken otherwise than it says; for the log.
        stripped: the variables that were taken out of the process's environment.
    """

    __slots__ = (
        "depth",
        "digest",
        "mode",
        "name",
        "notes",
        "policy",
        "problems",
        "record",
        "required",
        "source",
        "stripped",
        "watch",
    )

    def __init__(self) -> None:
        self.policy: str | None = None
        self.digest: str | None = None
        self.mode = names.MODES[0]
        self.source = ""
        self.record = False
        self.required = False
        self.name: str | None = None
        self.depth: str | None = None
        self.watch: str | None = None
        self.problems: list[str] = []
        self.notes: list[str] = []
        self.stripped: list[str] = []

    @property
    def is_enforced(self) -> bool:
        """Whether a policy is to be enforced, and not only to be watched by."""
        return self.policy is not None and self.mode != names.WATCHED

    @property
    def is_closed(self) -> bool:
        """Whether nothing may start where what is asked for cannot be had."""
        return self.is_enforced or self.required or self.watch in names.CLOSED


def read(
    config: dict[str, Any],
    settings: Settings,
    *,
    container: str | None = None,
    named: Callable[[], tuple[str, ...]] = tuple,
) -> Wish:
    """What the configuration of a container asks for; SCMM_ variables are taken out of its process, in place.

    A pod's annotations come to its sandbox too, whose program is the engine's: it asks for nothing.

    container: its id, which tells a sandbox. named: what its engine calls the image (enforcer.images.names), which is
    asked for only where that decides; what it raises is a problem of the wish.

    Raises:
        ValueError: annotations or environment are malformed.
    """
    wish = Wish()
    annotations = annotations_of(config)
    process = config.get("process")
    environment = _environment(process, wish) if isinstance(process, dict) else {}
    wish.stripped = strip(process) if isinstance(process, dict) else []
    if is_sandbox(annotations, container):
        if any(key.startswith("scmm.") for key in annotations):
            wish.notes.append("the pod's annotations are for its containers, and this is its sandbox")
        return wish
    _unknown(annotations, "annotation", "scmm.", names.KNOWN, wish)
    _unknown(environment, "variable", _PREFIX, VARIABLES, wish)
    _choose(annotations, environment, settings.images, named, wish)
    _recording(annotations, environment, wish)
    _watching(annotations, environment, wish)
    return wish


def annotations_of(config: Mapping[str, Any]) -> dict[str, str]:
    """The annotations of a configuration; none is an empty dictionary. Raises ValueError for what is no such object."""
    found = config.get("annotations")
    if found is None:
        return {}
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise ValueError("config.json: .annotations: not an object of strings")
    return found


def strip(process: dict[str, Any]) -> list[str]:
    """Take the variables of VARIABLES out of a process's environment, in place; those that were there, once each."""
    entries = process.get("env")
    if not isinstance(entries, list):
        return []
    kept = [one for one in entries if not (isinstance(one, str) and one.partition("=")[0] in VARIABLES)]
    gone = {one.partition("=")[0] for one in entries if isinstance(one, str)} & VARIABLES.keys()
    if gone:
        process["env"] = kept
    return sorted(gone)


def is_sandbox(annotations: Mapping[str, str], container: str | None) -> bool:
    """Whether a container of that id is a pod's sandbox, as containerd's CRI plugin and CRI-O tell it."""
    return container is not None and any(
        annotations.get(kind) == "sandbox" and annotations.get(sandbox) == container for kind, sandbox in _SANDBOX
    )


def _environment(process: Mapping[str, Any], wish: Wish) -> dict[str, str]:
    """Our variables in a process's environment that have a value.

    One that is there twice with two is a problem if it is about enforcing, or a recording that is required. Of others
    the last counts, as with Docker, which puts `--env` behind what an `--env-file` has.
    """
    entries = process.get("env")
    if entries is None:
        return {}
    if not isinstance(entries, list) or not all(isinstance(one, str) for one in entries):
        raise ValueError("config.json: .process.env: not a list of strings")
    found: dict[str, str] = {}
    for entry in entries:
        name, _, value = entry.partition("=")
        if not name.startswith(_PREFIX) or not value:
            continue
        before = found.get(name, value)
        if before != value:
            is_strict = name in _STRICT or (name == "SCMM_RECORD" and "required" in (before, value))
            message = f"the variable {shown(name)} is there twice: {shown(before)} and {shown(value)}"
            (wish.problems if is_strict else wish.notes).append(message)
        found[name] = value
    return found


def _unknown(given: Iterable[str], what: str, prefix: str, known: Iterable[str], wish: Wish) -> None:
    """A misspelt policy, mode or watch is no reason to start without one; all else is told, and not at any length."""
    left_out = 0
    told = len(wish.notes) + _MOST_NOTES
    for key in sorted(given):
        if not key.startswith(prefix) or key in known:
            continue
        from scmm_oci.errors import did_you_mean  # only here, as it is dear

        nearest = did_you_mean(key, known)
        hint = f"; did you mean {nearest}?" if nearest else ""
        message = f"unknown {what} {shown(key)} (known: {', '.join(known)}{hint})"
        meant = VARIABLES.get(nearest, nearest) if nearest else None
        if meant in (names.POLICY, names.MODE, names.WATCH):
            wish.problems.append(message)
        elif len(wish.notes) < told:
            wish.notes.append(message)
        else:
            left_out += 1
    if left_out:
        wish.notes.append(f"{left_out} unknown {what}s more")


def _image_rule(
    annotations: Mapping[str, str], rules: Sequence[Image], named: Callable[[], tuple[str, ...]], wish: Wish
) -> Image | None:
    """What the configuration has for the container's image, by whichever of its names; the first that fits."""
    if not rules:
        return None
    try:
        known = named()
    except (OSError, ValueError) as error:
        wish.problems.append(f"which image it is of cannot be told, and there are policies for images: {error}")
        return None
    told = images.annotated(annotations)
    # Annotations may be the image's own: what the engine itself has comes first.
    known = known or (() if told is None else (told,))
    return next((one for one in rules if any(images.matches(one.image, each) for each in known)), None)


def _choose(
    annotations: Mapping[str, str],
    environment: Mapping[str, str],
    rules: Sequence[Image],
    named: Callable[[], tuple[str, ...]],
    wish: Wish,
) -> None:
    policy, mode = annotations.get(names.POLICY), annotations.get(names.MODE)
    asked, asked_mode = environment.get("SCMM_POLICY"), environment.get("SCMM_MODE")
    rule = _image_rule(annotations, rules, named, wish) if policy is None else None
    by = ""
    if policy is not None:
        wish.source, by = ANNOTATION, f"the annotation {names.POLICY}={shown(policy)}"
        _name(policy, names.POLICY, wish)
        wish.mode = _mode(mode, names.MODE, wish)
    elif rule is not None:
        wish.source, by = CONFIGURATION, f"the configuration for images {shown(rule.image)}"
        wish.policy, wish.digest = rule.policy, rule.digest
        wish.mode = rule.mode if mode is None else _mode(mode, names.MODE, wish)
    elif asked is not None:
        wish.source = ENVIRONMENT
        _name(asked, "SCMM_POLICY", wish)
        wish.mode = _mode(asked_mode, "SCMM_MODE", wish) if mode is None else _mode(mode, names.MODE, wish)
        if mode is not None and asked_mode not in (None, mode):
            wish.notes.append(f"SCMM_MODE={shown(asked_mode)} is ignored: the annotation {names.MODE} decides")
    else:
        for value, name in ((mode, names.MODE), (asked_mode, "SCMM_MODE")):
            if value is not None:
                wish.problems.append(
                    f"{name}={shown(value)}, but no policy is named: give {names.POLICY} or SCMM_POLICY"
                )
    if wish.policy is not None and wish.mode in _WEAK:
        wish.notes.append(f"the mode is {wish.mode}: {_WEAK[wish.mode]}")
    if by:
        for value, name, decided in (
            (asked, "SCMM_POLICY", (wish.policy, f"{wish.policy}@sha256:{wish.digest}")),
            (asked_mode, "SCMM_MODE", (wish.mode,)),
        ):
            if value is not None and value not in decided:
                wish.notes.append(f"{name}={shown(value)} is ignored: {by} decides")


def _name(value: str, key: str, wish: Wish) -> None:
    try:
        wish.policy, wish.digest = names.parse_policy(value)
    except ValueError as error:
        wish.problems.append(f"{key}={error}")


def _mode(value: str | None, key: str, wish: Wish) -> str:
    if value is None:
        return names.MODES[0]
    if value not in (*names.MODES, names.WATCHED):
        wish.problems.append(f"{key}={shown(value)} (known values: {', '.join((*names.MODES, names.WATCHED))})")
        return names.MODES[0]
    return value


def _recording(annotations: Mapping[str, str], environment: Mapping[str, str], wish: Wish) -> None:
    """What is wrong with it is a problem only where the recording is required; else it is told, and gives way."""
    record, key = annotations.get(names.RECORD), names.RECORD
    if record is None:
        record, key = environment.get("SCMM_RECORD", "false"), "SCMM_RECORD"
        record = _RECORD_WORDS.get(record, record)
    elif environment.get("SCMM_RECORD") is not None and _RECORD_WORDS.get(environment["SCMM_RECORD"]) != record:
        wish.notes.append(f"SCMM_RECORD={shown(environment['SCMM_RECORD'])} is ignored: the annotation {key} decides")
    if record not in ("true", "false", "required"):
        wish.notes.append(f"{key}={shown(record)} (known values: true, required, false): not recorded")
        return
    wish.record, wish.required = record != "false", record == "required"
    name, key = annotations.get(names.NAME), names.NAME
    if name is None:
        name, key = environment.get("SCMM_NAME"), "SCMM_NAME"
    unusable = []
    if name is not None and names.is_capture_name(name):
        wish.name = name
    elif name is not None:
        unusable.append(f"{key}={shown(name)} (a capture name is {names.NAME_RULE})")
    depth, key = annotations.get(names.DEPTH), names.DEPTH
    if depth is None:
        depth, key = environment.get("SCMM_DEPTH"), "SCMM_DEPTH"
    if depth in names.DEPTHS:
        wish.depth = depth
    elif depth is not None:
        unusable.append(names.unknown_depth(key, depth))
    if wish.record:
        (wish.problems if wish.required else wish.notes).extend(unusable)


def _watching(annotations: Mapping[str, str], environment: Mapping[str, str], wish: Wish) -> None:
    """A watch is by the policy that is named. One that is to freeze or kill is not to start a container without."""
    asked, key = annotations.get(names.WATCH), names.WATCH
    by_variable = environment.get("SCMM_WATCH")
    if asked is None:
        asked, key = by_variable, "SCMM_WATCH"
    elif by_variable not in (None, asked):
        wish.notes.append(f"SCMM_WATCH={shown(by_variable)} is ignored: the annotation {key} decides")
    if asked is None:
        if wish.mode == names.WATCHED:
            known = ", ".join(names.ACTIONS)
            wish.problems.append(f"the mode is {wish.mode}, but {names.WATCH} does not say how (known values: {known})")
        return
    is_named = bool(wish.source)
    if asked not in names.ACTIONS:
        (wish.problems if is_named else wish.notes).append(names.unknown_action(key, asked))
    if not is_named:
        message = f"{key}={shown(asked)}, but no policy is named to watch by: give {names.POLICY} or SCMM_POLICY"
        (wish.problems if asked in names.CLOSED else wish.notes).append(f"not watched: {message}")
    elif asked in names.ACTIONS:
        wish.watch = asked
