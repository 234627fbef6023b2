"""The options of ``scmm extract`` that make choices, in sections; ``decided`` reads them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import Any

import click

from scmm_oci.cli.sections import option
from scmm_oci.policy.decisions import (
    DEPTHS,
    Addresses,
    ArgumentRules,
    CategoryChoice,
    CreatedFiles,
    Generalise,
    Unseen,
)
from scmm_oci.policy.model import Action, OnMissing, WatchAction
from scmm_oci.tables.categories import Category

# Runtimes refuse notify as the default.
DEFAULT_ACTIONS = tuple(action for action in Action if action is not Action.NOTIFY)


def _words(kind: Iterable[StrEnum]) -> str:
    return "|".join(one.value for one in kind)


def _option(section: str, *words: str, **changes: Any) -> Callable[[click.decorators.FC], click.decorators.FC]:
    return option(*words, section=section, **changes)


_CALLS, _ARGUMENTS, _FILES, _NETWORK = "System calls", "Arguments", "Files", "Network"
_ORDER, _MORE = "Order of calls, for scmm-watch", "The rest of the policy"

_OPTIONS = (
    _option(_CALLS, "--default-action", metavar=f"[{_words(DEFAULT_ACTIONS)}]", default="deny", show_default=True,
            help="What happens to calls outside the policy."),
    _option(_CALLS, "--default-errno", metavar="ERROR", default="EPERM", show_default=True,
            help="What denied calls are answered."),
    _option(_CALLS, "--category", "category", multiple=True, metavar=f"CATEGORY={_words(CategoryChoice)}",
            help=f"What becomes of the observed calls of a category ({', '.join(Category)}): allow them (default); the "
            "10 most frequent ones (top, or top:N); only those that --allow names (review); none (deny)."),
    _option(_CALLS, "--categories", metavar="CATEGORY,…",
            help="Allow calls of these categories only: `--category …=deny` for each other one."),
    *(
        _option(_CALLS, f"--{word}", f"{word}_calls", multiple=True, metavar="CALL", help=text)
        for word, text in {
            "allow": "Allow an observed call, whatever its category says.",
            "deny": "Do not allow an observed call.",
            "log": "Allow an observed call and have the kernel log it.",
            "kill": "End the process at an observed call.",
        }.items()
    ),
    _option(_CALLS, "--call", "call_actions", multiple=True, metavar="CALL=ACTION",
            help=f"The same with any action: {', '.join(Action)}."),
    _option(_CALLS, "--portable", is_flag=True,
            help="Also allow what other kernels and C libraries call for the same job."),
    _option(_ARGUMENTS, "--arguments", metavar=f"[{_words(ArgumentRules)}]", default="sensitive",
            show_default=True,
            help="Which recorded arguments must be as seen: none, those that decide what a call can do, or all."),
    _option(_ARGUMENTS, "--check-argument", multiple=True, metavar="CALL:N",
            help="Check this one whatever --arguments says; N counts from 0."),
    _option(_ARGUMENTS, "--open-argument", multiple=True, metavar="CALL:N", help="Do not check this one."),
    _option(_ARGUMENTS, "--unseen-arguments", metavar=f"[{_words(Unseen)}]", default="allow", show_default=True,
            help="clone3 and openat2 have their flags in memory, where no filter sees them: allow them, or answer "
            "ENOSYS, so that programs take the older call."),
    _option(_FILES, "--no-files", is_flag=True, help="Make no file rules: the policy does not speak of files."),
    _option(_FILES, "--generalise", metavar=f"[{_words(Generalise)}]", default="evidence", show_default=True,
            help="Take patterns where the evidence is strong, or only those that --accept names."),
    _option(_FILES, "--accept", multiple=True, metavar="PATTERN",
            help="Take this pattern. That is a yes for protected places such as /etc too."),
    _option(_FILES, "--reject", multiple=True, metavar="PATTERN", help="Do not take this pattern."),
    _option(_FILES, "--leave-out", "leave_out", multiple=True, metavar="PATTERN",
            help="Make no rules for observed files that this pattern stands for."),
    _option(_FILES, "--missing-files", metavar=f"[{_words(OnMissing)}]", default="skip", show_default=True,
            help="Files that were looked for and not there: make them, grant the directory, or leave them out."),
    _option(_FILES, "--created-files", metavar=f"[{_words(CreatedFiles)}]", default="auto", show_default=True,
            help="Files that the program makes, where no pattern stands for them: make them before the start, grant "
            "the directory, or leave them out; auto makes those that have a fixed name."),
    _option(_FILES, "--home", metavar="DIR", help="The home directory of the program's user: it becomes ${HOME}."),
    _option(_NETWORK, "--no-network", is_flag=True, help="Make no network rules."),
    _option(_NETWORK, "--addresses", metavar=f"[{_words(Addresses)}]", default="any", show_default=True,
            help="Which peers outbound rules name: any, or those that were seen."),
    _option(_NETWORK, "--leave-out-port", multiple=True, metavar="DIRECTION/PROTOCOL/PORT",
            help="Make no rule for this port, such as outbound/tcp/443."),
    _option(_ORDER, "--transitions", is_flag=True, help="Say which call may follow which in a thread."),
    _option(_ORDER, "--refine", is_flag=True,
            help="Tell classes of calls apart (open to read or to write, families of sockets, memory that may be "
            "executed), and programs, processes and threads that begin."),
    _option(_ORDER, "--depth", metavar=f"[{'|'.join(map(str, DEPTHS))}]", default="2", show_default=True,
            help="3: what may follow a call also depends on what came before it, where that makes less possible. "
            "Recordings need it (scmm record --depth 3)."),
    _option(_ORDER, "--serving-from", multiple=True, metavar="CALL",
            help="Keep apart what a process does before and after it makes this call: listen, accept or accept4."),
    _option(_ORDER, "--watch", metavar=f"[{_words(WatchAction)}]", help="What happens at a call in any other order."),
    _option(_ORDER, "--likely", metavar="N",
            help="Also allow steps that no recording has where what is seen in at least N recordings speaks for them. "
            "--stats-only lists them."),
    _option(_MORE, "--name", metavar="NAME", help="The policy's name; by default the capture's."),
    _option(_MORE, "--no-capabilities", is_flag=True, help="Name no capabilities."),
    _option(_MORE, "--accept-incomplete", is_flag=True, help="Use captures that lost something."),
)  # fmt: skip


def decision_options(command: click.decorators.FC) -> click.decorators.FC:
    """The options that make choices."""
    for one in reversed(_OPTIONS):
        command = one(command)
    return command
