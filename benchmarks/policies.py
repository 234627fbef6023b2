"""Policies of real programs: how large they are, and whether they fit the next run.

Each workload is recorded three times; policies are made of the first recording, as it was seen and generalised, and of
two, and asked about the third, which had other process ids, names and ports. Run as root:
`python -m benchmarks.policies`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import click
from rich.console import Console
from rich.table import Table

from benchmarks.ground import ground
from benchmarks.policy_runs import containers, record
from benchmarks.policy_workloads import A2, WORKLOADS, A, B
from rig import images
from rig.podman import Podman
from rig.process import RigError
from scmm_oci.capture.model import Capture, Phase
from scmm_oci.policy import document
from scmm_oci.policy.admit import Refusal, refusals
from scmm_oci.policy.decisions import CreatedFiles, Decisions, Generalise
from scmm_oci.policy.infer import Inference, infer
from scmm_oci.policy.model import Policy
from scmm_oci.policy.paths.patterns import Kind, Pattern

T = TypeVar("T")
WIDTH = 180

#: What was seen and nothing else: no pattern, and no directory for the files that were made.
EXACT = Decisions(generalise=Generalise.NONE, created_files=CreatedFiles.SKIP)


@dataclass(frozen=True)
class Row:
    """A workload: what policies were made of its recordings, and what they refuse of run B."""

    key: str
    paths: int
    calls: int
    one: Inference
    refused: tuple[Refusal, ...]
    exact: tuple[Refusal, ...]
    two: tuple[Refusal, ...]
    two_rules: int
    size: int
    seconds: float

    @property
    def needs_yes(self) -> int:
        """How many findings say that a protected directory would have to be opened."""
        return sum(finding.code == "needs-yes" for finding in self.one.findings)


def row(key: str, a: Capture, a2: Capture, b: Capture) -> Row:
    """The row of one workload, from its recordings."""
    seconds, one = _timed(lambda: infer([a]))
    both = infer([a, a2]).policy
    paths = {use.path for use in a.files if use.access or use.parent_access}
    return Row(
        key,
        paths=len(paths),
        calls=sum(call.entered for _, call in a.calls(Phase.APP)),
        one=one,
        refused=refusals(one.policy, b),
        exact=refusals(infer([a], EXACT).policy, b),
        two=refusals(both, b),
        two_rules=len(both.filesystem or ()),
        size=len(document.dump(one.policy)),
        seconds=seconds,
    )


def patterns(policy: Policy) -> tuple[int, int, int]:
    """How many file rules are `DIR/**`, `DIR/*.x`, and of either form or neither with wildcards above."""
    beneath = files = inner = 0
    for rule in policy.filesystem or ():
        parsed = Pattern.parse(rule.path)
        if any(part.name is None for part in parsed.parts[:-1]):
            inner += 1
        else:
            beneath += parsed.kind is Kind.BENEATH
            files += parsed.kind is Kind.FILES
    return beneath, files, inner


_HEADS = (
    *("", "paths", "calls", "file\nrules", "of them\nDIR/**", "\nDIR/*", "\n*/FILE", "names", "names\nwith args"),
    *("network\nrules", "YAML", "needs\nyes", "made in", "B is\nrefused", "exact:\nrefused", "two runs:\nrefused"),
    "two runs:\nfile rules",
)


def table(rows: Iterable[Row]) -> Table:
    """The rows for people."""
    result = Table(title="policy of run A, asked about run B", title_justify="left")
    for head in _HEADS:
        result.add_column(head, justify="right" if head else "left", no_wrap=True)
    for one in rows:
        policy = one.one.policy
        assert policy.filesystem is not None and policy.network is not None
        numbers = (
            one.paths,
            one.calls,
            len(policy.filesystem),
            *patterns(policy),
            len({rule.name for rule in policy.syscalls if rule.action.passes}),
            len({rule.name for rule in policy.syscalls if rule.constraints}),
            len(policy.network.outbound) + len(policy.network.inbound),
            f"{one.size / 1000:.1f} kB",
            one.needs_yes,
            f"{one.seconds * 1000:.0f} ms",
            *(len(each) for each in (one.refused, one.exact, one.two)),
            one.two_rules,
        )
        result.add_row(one.key, *map(str, numbers))
    return result


def recordings() -> Mapping[str, tuple[Capture, Capture, Capture]]:
    """Runs A, A2 and B of each workload, recorded by our hooks under podman and runc. Raises RigError."""
    reason = images.services_unavailable()
    if reason:
        raise RigError(reason)
    with ExitStack() as stack:
        here = stack.enter_context(ground())
        engine = stack.enter_context(Podman(runtime="runc", hooks_dirs=[here.layout.hooks_dir]))
        directory = Path(here.settings.capture_dir)
        place = stack.enter_context(containers(engine))
        found = {}
        for workload in WORKLOADS:
            click.echo(f"recording {workload.key}", err=True)
            a, a2, b = (record(place, workload, variant, directory) for variant in (A, A2, B))
            found[workload.key] = a, a2, b
        return found


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Record nginx, redis, sqlite3 and python3, and show their policies."""
    try:
        rows = [row(key, *captures) for key, captures in recordings().items()]
    except RigError as error:
        raise click.ClickException(str(error)) from None
    console = Console(width=WIDTH, highlight=False)
    console.print(table(rows))
    for one in rows:
        for refusal in one.refused:
            console.print(f"{one.key}: run B is refused {refusal}", soft_wrap=True, markup=False)


def _timed(do: Callable[[], T]) -> tuple[float, T]:
    began = time.process_time()
    result = do()
    return time.process_time() - began, result


if __name__ == "__main__":
    main()
