"""``scmm disasm``: filters, one line for each instruction, with the names that numbers stand for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import click

from scmm_oci.cli.confine import confine
from scmm_oci.cli.filters import Subject, compiled_filter, read_subject
from scmm_oci.cli.options import ARCHES, arch_of
from scmm_oci.cli.output import data, plain, say, tell
from scmm_oci.compiled import bpf, needed
from scmm_oci.compiled.bpf import ByteOrder, Program
from scmm_oci.compiled.disassemble import Line, lines
from scmm_oci.compiled.filter import Plan, build, of_policy, of_profile, permissive
from scmm_oci.compiled.polfile import is_compiled
from scmm_oci.compiled.question import byte_order
from scmm_oci.compiled.retarget import retarget
from scmm_oci.errors import BadInput, Problem
from scmm_oci.files import read_bounded
from scmm_oci.tables.arch import Arch

_EXAMPLE = """\b
Examples:
  scmm-disasm nginx.scmm-pol --arch x86_64
  scmm-disasm nginx.scmm.yaml --permissive
  scmm-disasm filter.bpf --raw"""

# More bytes than the longest filter has: what is longer is told, not cut.
_RAW_BYTES = (bpf.MAX_INSTRUCTIONS + 1) * bpf.INSTRUCTION_SIZE

# Where labels begin, unless a line is longer than this.
_WIDTH = 60


@dataclass(frozen=True)
class _Filter:
    """A filter, and whose; arch is None where nobody said."""

    arch: Arch | None
    program: Program


@click.command(epilog=_EXAMPLE, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("path", metavar="FILE")
@click.option("--arch", metavar="ARCH", help=f"Only the filter for this architecture, or for it. One of {ARCHES}.")
@click.option("--permissive", "twin", is_flag=True, help="The permissive twin, which refuses nothing.")
@click.option("--raw", is_flag=True, help="FILE is an array of struct sock_filter, as other tools write it.")
@click.option(
    "--byte-order", "order", type=click.Choice(["little", "big"]), help="With --raw: of the array, and of the machine."
)
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON on stdout.")
def disasm(*, path: str, arch: str | None, twin: bool, raw: bool, order: ByteOrder | None, as_json: bool) -> None:
    """Print the instructions of filters.

    FILE is a compiled policy (.scmm-pol), a policy or a profile of the runtime-spec (JSON); these two are compiled.

    Jumps name the index of the instruction that they go to. Behind `;` stands which calls come to such a place.
    """
    chosen = arch_of(arch)
    confine([path])
    if raw:
        if twin:
            raise click.UsageError("a raw filter has no twin: leave out --raw or --permissive")
        filters = [_raw(path, chosen, order)]
    else:
        if order is not None:
            raise click.UsageError("--byte-order goes with --raw")
        filters = _filters(read_subject(path), chosen, twin=twin)
    found = [(one, lines(one.program, arch=one.arch)) for one in filters]
    if as_json:
        data({"file": path, "permissive": twin, "filters": [_as_json(one, told) for one, told in found]})
    for one, told in found:
        if not as_json:
            click.echo(f"# {plain(path)}{f', {one.arch}' if one.arch is not None else ''}")
            for text in _text(told):
                click.echo(text)
        say(f"{one.arch or plain(path)}: {_counts(one.program)}")


def _raw(path: str, arch: Arch | None, order: ByteOrder | None) -> _Filter:
    own = byte_order(arch) if arch is not None else "little"
    content = read_bounded(path, _RAW_BYTES)
    if is_compiled(content):
        raise BadInput([Problem("", "is a compiled policy", "leave out --raw")], source=path)
    try:
        program = bpf.decode(content, order or own)
    except ValueError as error:
        hint = "--raw takes instructions as they are; of crun's annotation `base64 -d` makes such"
        raise BadInput([Problem("", str(error), hint)], source=path) from error
    found = bpf.problems(program)
    if found:
        raise BadInput(found, source=path)
    return _Filter(arch, program)


def _filters(subject: Subject, arch: Arch | None, *, twin: bool) -> list[_Filter]:
    tell(subject.findings)
    if subject.compiled is not None:
        every = subject.compiled.filters
        given = every if arch is None else (compiled_filter(subject.compiled, arch, place=subject.path),)
        if not given:
            raise BadInput([Problem(subject.path, "has no filter")])
        return [_Filter(one.arch, one.permissive if twin else one.program) for one in given]
    if subject.profile is not None:
        return [_built(of_profile(subject.profile, arch=arch or Arch.X86_64), arch or subject.arch, twin=twin)]
    assert subject.policy is not None
    whole, findings = needed.completed(subject.policy)
    tell(findings)
    if arch is not None and arch not in whole.settings.architectures:
        whole, findings = retarget(whole, arch)
        tell(findings)
    return [_built(of_policy(whole), whole.settings.arch, twin=twin)]


def _built(plan: Plan, arch: Arch, *, twin: bool) -> _Filter:
    return _Filter(arch, build(permissive(plan) if twin else plan))


def _text(told: Sequence[Line]) -> Iterator[str]:
    width = min(max(len(line.text) for line in told), _WIDTH)
    for line in told:
        one = line.instruction
        label = f"  ; {line.label}" if line.label else ""
        text = f"{line.index:4}  {one.code:02x} {one.jt:02x} {one.jf:02x} {one.k:08x}  "
        yield text + (f"{line.text:<{width}}{label}" if label else line.text)


def _counts(program: Program) -> str:
    kinds = Counter(
        "return"
        if one.code & 7 == 6
        else "comparison"
        if one.code & 7 == 5 and one.code != bpf.JA
        else "load"
        if one.code == bpf.LOAD
        else "other"
        for one in program
    )
    parts = [f"{kinds[kind]} {kind}{'s' if kinds[kind] != 1 else ''}" for kind in sorted(kinds)]
    return f"{len(program)} instructions: {', '.join(parts)}"


def _as_json(one: _Filter, told: Sequence[Line]) -> dict[str, Any]:
    return {
        "arch": one.arch,
        "instructions": [
            {
                "index": line.index,
                "code": line.instruction.code,
                "jt": line.instruction.jt,
                "jf": line.instruction.jf,
                "k": line.instruction.k,
                "text": line.text,
                "label": line.label,
            }
            for line in told
        ],
    }
