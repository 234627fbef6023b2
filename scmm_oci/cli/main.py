"""The command ``scmm`` and its verbs, each also a command of its own (``scmm-extract``).

A verb's file is imported when the verb is run, not before: ``scmm --help`` is quick, and a verb needs only its own
libraries.
"""

from __future__ import annotations

import importlib
import keyword
from collections.abc import Sequence

import click

from scmm_oci import __version__
from scmm_oci.cli.forms import Telling
from scmm_oci.cli.output import run
from scmm_oci.errors import did_you_mean, short

# Verb → its module, where the command has the verb's name, and what ``scmm --help`` says of it; in the order of use.
VERBS = {
    "hooks": ("scmm_oci.cli.hooks", "Record podman's containers through OCI hooks: install, remove, inspect."),
    "install": ("scmm_oci.cli.install", "Make scmm-runc known to Docker, podman or containerd, or take that back."),
    "policy": ("scmm_oci.cli.policy", "Keep the policies that containers can ask scmm-runc for: add, list, remove."),
    "doctor": ("scmm_oci.cli.doctor", "Check all that recording needs on this host."),
    "record": ("scmm_oci.cli.record", "Record a command, a process or a container; look after recordings."),
    "show": ("scmm_oci.cli.show", "Print what captures or a compiled policy hold."),
    "import-strace": ("scmm_oci.cli.import_strace", "Make a capture of what strace wrote."),
    "import-profile": ("scmm_oci.cli.import_profile", "Make a policy of a seccomp profile that Docker or podman has."),
    "merge": ("scmm_oci.cli.merge", "Put captures into one file, kept apart, or make one policy of several."),
    "extract": ("scmm_oci.cli.extract", "Make a policy and a seccomp profile from captures."),
    "groups": ("scmm_oci.cli.groups", "Print the named groups of system calls that policies can use."),
    "diff": ("scmm_oci.cli.diff", "Tell what one policy does differently from another."),
    "lint": ("scmm_oci.cli.lint", "Find what is dangerous, useless or impossible in policies."),
    "compile": ("scmm_oci.cli.compile", "Make of a policy what runtimes, engines, systemd and launchers take."),
    "enforce": ("scmm_oci.cli.enforce", "Apply a policy, and become the program."),
    "monitor": (
        "scmm_oci.cli.monitor",
        "Decide about calls while they wait: by rules, a program, or on this terminal.",
    ),
    "watch": ("scmm_oci.cli.watch", "Judge the order of a container's or command's calls, in the kernel."),
    "try": ("scmm_oci.cli.try_policy", "Run a container under a policy: what would be refused, and does it serve?"),
    "explain": ("scmm_oci.cli.explain", "Tell what would happen to a system call, and which rule says so."),
    "graph": ("scmm_oci.cli.graph", "Draw which call may follow which: SVG, or a page."),
    "disasm": ("scmm_oci.cli.disasm", "Print the instructions of filters, with names."),
    "verify": ("scmm_oci.cli.verify", "Prove a policy against captures: what it refuses, what is left over, the cost."),
    "logs": ("scmm_oci.cli.logs", "Tell what was refused to a program or container, and what would allow it."),
}


def function_of(verb: str) -> str:
    """The name of the function that is a verb's command."""
    name = verb.replace("-", "_")
    return f"{name}_" if keyword.iskeyword(name) else name


class _Verbs(click.Group):
    """A group that knows its verbs from the table and imports the one that is run."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        module = importlib.import_module(VERBS[cmd_name][0])
        command: click.Command = getattr(module, function_of(cmd_name))
        command.context_class = Telling
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        word = args[0]
        if word not in VERBS and not word.startswith("-") and not ctx.resilient_parsing:
            near = did_you_mean(word, VERBS)
            ctx.fail(f"No such command {short(word)}.{f' Did you mean {near!r}?' if near else ''}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Verbs"):
            formatter.write_dl([(verb, summary) for verb, (_, summary) in VERBS.items()])


@click.command(
    cls=_Verbs,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="""\b
Example:
  scmm extract -i nginx.scmm-cap -o nginx.scmm.yaml --oci seccomp.json

`scmm VERB --help` explains a verb.""",
)
@click.version_option(__version__, message="%(prog)s %(version)s")
def _scmm() -> None:
    """Record what a container does, and run it under a policy made from that."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``scmm``; the exit code is 0 done, 1 failed, 2 bad input, or that of a program that was run."""
    return run(_scmm, argv, name="scmm")


def extract(argv: Sequence[str] | None = None) -> int:
    """Run ``scmm-extract``."""
    return _verb("extract", argv)


def compile(argv: Sequence[str] | None = None) -> int:
    """Run ``scmm-compile``."""
    return _verb("compile", argv)


def record(argv: Sequence[str] | None = None) -> int:
    """Run ``scmm-record``."""
    return _verb("record", argv)


def show(argv: Sequence[str] | None = None) -> int:
    """Run ``scmm-show``."""
    return _verb("show", argv)


def merge(argv: Sequence[str] | None = None) -> int:
    """Run ``scmm-merge``."""
    return _verb("merge", argv)


def diff(argv: Sequence[str] | None = None) -> int:
    """Run ``scmm-diff``."""
    return _verb("diff", argv)


def lint(argv: Sequence[str] | None = None) -> int:
    """Run ``scmm-lint``."""
    return _verb("lint", argv)


def groups(argv: Sequence[str] | None = None) -> int:
    """Run ``scmm-groups``."""
    return _verb("groups", argv)


def import_strace(argv: Sequence[str] | None = None) -> int:
    """Run ``scmm-import-strace``."""
    return _verb("import-strace", argv)


def import_profile(argv: Sequence[str] | None = None) -> int:
    """Run ``scmm-import-profile``."""
    return _verb("import-profile", argv)


def monitor(argv: Sequence[str] | None = None) -> int:
    """Run ``scmm-monitor``."""
    return _verb("monitor", argv)


def explain(argv: Sequence[str] | None = None) -> int:
    """Run ``scmm-explain``."""
    return _verb("explain", argv)


def graph(argv: Sequence[str] | None = None) -> int:
    """Run ``scmm-graph``."""
    return _verb("graph", argv)


def disasm(argv: Sequence[str] | None = None) -> int:
    """Run ``scmm-disasm``."""
    return _verb("disasm", argv)


def enforce(argv: Sequence[str] | None = None) -> int:
    """Run ``scmm-enforce``."""
    return _verb("enforce", argv)


def verify(argv: Sequence[str] | None = None) -> int:
    """Run ``scmm-verify``."""
    return _verb("verify", argv)


def logs(argv: Sequence[str] | None = None) -> int:
    """Run ``scmm-logs``."""
    return _verb("logs", argv)


def watch(argv: Sequence[str] | None = None) -> int:
    """Run ``scmm-watch``."""
    return _verb("watch", argv)


def _verb(verb: str, argv: Sequence[str] | None) -> int:
    command = _scmm.get_command(click.Context(_scmm), verb)
    assert command is not None
    return run(command, argv, name=f"scmm-{verb}")


if __name__ == "__main__":
    raise SystemExit(main())
