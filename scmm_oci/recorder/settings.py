"""Where the hook keeps things. Read from the JSON that `scmm hooks install` wrote, never from the environment."""

from __future__ import annotations

from scmm_oci import settings_file
from scmm_oci.settings_file import BadSettings, is_place

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MAX_SETTINGS = 64 << 10  # bytes

DEFAULTS: dict[str, Any] = {
    "capture_dir": "/var/lib/scmm/captures",
    "run_dir": "/run/scmm",
    "pin_dir": "/sys/fs/bpf/scmm",
    "log_file": "/var/log/scmm/hook.log",
    "deadline": 8,
    "call_tables": 256,
    "facts": 131072,
    "watch_pin_dir": "/sys/fs/bpf/scmm-watch",
    "policy_dir": "/var/lib/scmm/policies",
    "watch_machines": 128,
}

_RANGES = {
    "deadline": (1, 60, "seconds"),
    "call_tables": (16, 65536, "tables"),
    "facts": (1024, 4194304, "facts"),
    "watch_machines": (4, 4096, "machines"),
}


class Settings:
    """capture_dir, run_dir, pin_dir and watch_pin_dir (below a bpffs), log_file: absolute paths; deadline: seconds a
    hook may take.

    call_tables: for all recordings at once, of 36 KiB each; a container takes 3, each late entrant 3 more. As many
    tables of order, of 40 KiB each, come with them.
    facts: names, addresses and programs for all recordings at once, of which one may have half; 256 bytes and more
    each, taken as they come.
    policy_dir: the policy store, by which the hooks watch (enforcer.store).
    watch_machines: for all watches at once, of 41 KiB each; a policy takes one for each ABI, two with a serving phase,
    and watches of the same policy share them.
    """

    __slots__ = (
        *("call_tables", "capture_dir", "deadline", "facts", "log_file", "pin_dir", "run_dir"),
        *("policy_dir", "watch_machines", "watch_pin_dir"),
    )

    def __init__(
        self,
        *,
        capture_dir: str,
        run_dir: str,
        pin_dir: str,
        log_file: str,
        deadline: int,
        call_tables: int,
        facts: int,
        watch_pin_dir: str,
        policy_dir: str,
        watch_machines: int,
    ) -> None:
        self.capture_dir = capture_dir
        self.run_dir = run_dir
        self.pin_dir = pin_dir
        self.log_file = log_file
        self.deadline = deadline
        self.call_tables = call_tables
        self.facts = facts
        self.watch_pin_dir = watch_pin_dir
        self.policy_dir = policy_dir
        self.watch_machines = watch_machines

    def as_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


def check(document: object) -> Settings:
    """Settings from a mapping; what it leaves out has its default. Raises BadSettings."""
    if not isinstance(document, dict):
        raise BadSettings(["an object of settings expected"])
    problems = [f".{name}: no such setting; known: {', '.join(DEFAULTS)}" for name in document if name not in DEFAULTS]
    values = {**DEFAULTS, **{name: value for name, value in document.items() if name in DEFAULTS}}
    for name, value in values.items():
        if name in _RANGES:
            low, high, what = _RANGES[name]
            if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
                problems.append(f".{name}: {value!r} is not a number of {what} from {low} to {high}")
        elif not is_place(value):
            problems.append(f".{name}: {value!r} is not an absolute path without '..' and '//'")
    if problems:
        raise BadSettings(problems)
    return Settings(**values)


def read(path: str | None) -> Settings:
    """The settings in the JSON file `path`, or the defaults. Raises BadSettings or OSError."""
    if path is None:
        return check({})
    return settings_file.read(path, MAX_SETTINGS, check)
