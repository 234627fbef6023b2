"""What engines say to a runtime, in both grammars; what each form means is measured in tests/runtime."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scmm_oci.oci.runtime_argv import CommandLine, dialect, parse
from scmm_oci.oci.runtime_options import COMMON, CRUN, FLAG, GLOBAL, OPTIONAL, RUNC, VALUE, VERBS, spellings
from scmm_oci.recorder import installation

ROOT = Path(__file__).resolve().parents[2]


def read(text: str, *, grammar: str = RUNC) -> CommandLine:
    return parse(text.split(), dialect=grammar)


# What engines say


def test_containerd_creates() -> None:
    line = read(
        "--root /run/r/moby --log /l/log.json --log-format json --systemd-cgroup create --bundle /b --pid-file /p"
        " --console-socket /s --preserve-fds 2 0123abc"
    )
    assert (line.verb, line.id, line.root, line.log, line.log_format) == (
        "create",
        "0123abc",
        "/run/r/moby",
        "/l/log.json",
        "json",
    )
    assert line.options == {"bundle": "/b", "pid-file": "/p", "console-socket": "/s", "preserve-fds": "2"}
    assert line.preserve_fds == 2
    assert (line.command, line.ambiguous) == ((), "")


def test_conmon_executes() -> None:
    line = read("exec --pid-file /p --process /f --detach --tty 0123abc", grammar=CRUN)
    assert (line.verb, line.id, line.root, line.ambiguous) == ("exec", "0123abc", None, "")
    assert line.options == {"pid-file": "/p", "process": "/f", "detach": None, "tty": None}


@pytest.mark.parametrize("grammar", [RUNC, CRUN])
@pytest.mark.parametrize(
    ("text", "verb", "container"),
    [
        ("--root r kill --all c 9", "kill", "c"),
        ("--root r kill c -9", "kill", "c"),
        ("--root r update --resources=- c", "update", "c"),
        ("--root r ps --format json c", "ps", "c"),
        ("--root r delete --force c", "delete", "c"),
        ("--root r state c", "state", "c"),
        ("--root r list -f json", "list", None),
        ("features", "features", None),
        ("--root r unheard-of --word c", "unheard-of", None),
        ("--version", None, None),
        ("--help create c", None, None),
        ("", None, None),
    ],
)
def test_verbs_are_found(grammar: str, text: str, verb: str | None, container: str | None) -> None:
    line = read(text, grammar=grammar)
    assert (line.verb, line.id, line.ambiguous) == (verb, container, "")


# Forms. Each of these is what the programs do, see tests/runtime/test_runtime_argv_real.py.


@pytest.mark.parametrize(
    ("text", "bundle", "container"),
    [
        ("create --bundle b c", "b", "c"),
        ("create --bundle=b c", "b", "c"),
        ("create -bundle b c", "b", "c"),
        ("create -b b c", "b", "c"),
        ("create -b=b c", "b", "c"),
        ("create --b=b=b c", "b=b", "c"),
        ("create --bundle x --bundle b c", "b", "c"),
        ("create --bundle -- c", "--", "c"),
        ("create --bundle --no-pivot c", "--no-pivot", "c"),
        ("create --bundle b -- c", "b", "c"),
        ("create c --bundle b", "b", "c"),
        ("create c --no-pivot --bundle=b", "b", "c"),
        ("create c", None, "c"),
        ("create --bundle= c", "", "c"),
        ("--debug=false create -b b c", "b", "c"),
        ("--version=false --log create create -b b c", "b", "c"),
        ("create --new=option -b b c", "b", "c"),
    ],
)
def test_runc_forms(text: str, bundle: str | None, container: str) -> None:
    line = read(text)
    assert (line.options.get("bundle"), line.id, line.ambiguous) == (bundle, container, "")


@pytest.mark.parametrize(
    ("text", "options", "container"),
    [
        ("exec -eA=1 -tdpf c", {"env": "A=1", "tty": "dpf"}, "c"),
        ("exec -dpf c", {"detach": None, "process": "f"}, "c"),
        ("exec -dp f c", {"detach": None, "process": "f"}, "c"),
        ("exec -p=f c", {"process": "=f"}, "c"),
        ("exec -t no c", {"tty": None}, "no"),
        ("exec --tty=no c", {"tty": "no"}, "c"),
        ("exec -- -t x", {}, "-t"),
        ("run --bun b --no-p c", {"bundle": "b", "no-pivot": None}, "c"),
        ("run c -b b", {}, "c"),
    ],
)
def test_crun_forms(text: str, options: dict[str, str | None], container: str) -> None:
    line = read(text, grammar=CRUN)
    assert (line.options, line.id, line.ambiguous) == (options, container, "")


def test_the_command_of_exec_is_another_programs() -> None:
    for grammar in (RUNC, CRUN):
        line = read("exec -e A=create c ls --process x -- -p create", grammar=grammar)
        assert line.command == ("ls", "--process", "x", "--", "-p", "create")
        assert line.options == {"env": "A=create"}


@pytest.mark.parametrize(
    ("grammar", "text", "reason"),
    [
        (RUNC, "--new create c", "whether '--new' takes a value is not known"),
        (RUNC, "create --new x c", "whether '--new' takes a value is not known"),
        (RUNC, "create c --new x", "whether '--new' takes a value is not known"),
        (RUNC, "create --root r c", "whether '--root' takes a value"),
        (RUNC, "exec -td c ls", "whether '-td' takes a value"),
        (RUNC, "create ---bundle b c", "'---bundle' is no option"),
        (RUNC, "create -= c", "'-=' is no option"),
        (RUNC, "create c --bundle", "'--bundle' has no value"),
        (RUNC, "--root", "'--root' has no value"),
        (RUNC, "kill c -a 9", "versions of runc differ"),
        (RUNC, "exec c -- ls", "versions of runc differ"),
        (RUNC, "exec - ls", "versions of runc differ"),
        (RUNC, "create --preserve-fds 010 c", "'010' is not a plain number"),
        (CRUN, "create --preserve-fds=0x1 c", "'0x1' is not a plain number"),
        (CRUN, "--new create c", "which option '--new' is, is not known"),
        (CRUN, "exec --pro f c", "which option '--pro' is"),
        (CRUN, "exec -xp f c", "-x in '-xp' is not known"),
        (CRUN, "create --no-pivot=1 c", "'--no-pivot=1' takes no value"),
        (CRUN, "create -b", "'-b' has no value"),
        (CRUN, "--root r --rootless auto state c", "--rootless after --root"),
        (CRUN, "--rootless auto state c", "--rootless after --root"),
    ],
)
def test_what_is_not_certain_is_said(grammar: str, text: str, reason: str) -> None:
    assert reason in read(text, grammar=grammar).ambiguous


@pytest.mark.parametrize(
    "words",
    [
        [" --root", "r", "create", "c"],
        ["--root=r ", "create", "c"],
        ["create", " --bundle", "b", "c"],
        ["create", "--bundle=b ", "c"],
        ["exec", "-p=f\t", "c"],
        ["state", "c "],
    ],
)
def test_blanks_that_versions_read_differently_are_said(words: list[str]) -> None:
    assert parse(words).ambiguous
    assert parse([word.strip() for word in words]).ambiguous == ""


def test_blanks_that_decide_nothing_are_not() -> None:
    line = parse(["--root", " r ", "exec", "--env=A=b ", "-e", " B", "c", " ls "])
    assert (line.root, line.command, line.ambiguous) == (" r ", (" ls ",), "")


def test_rootless_before_root_is_certain() -> None:
    assert read("--rootless=auto --root r state c", grammar=CRUN).ambiguous == ""


@pytest.mark.parametrize("text", ["-v create c", "--version=T create c", "-h=1 create c", "--help create c"])
def test_who_asks_for_help_starts_nothing(text: str) -> None:
    assert read(text).verb is None
    assert read(text.replace("T", "0").replace("=1", "=0").replace("-v ", "").replace("--help", "")).verb == "create"


def test_grammars_go_by_the_runtimes_name(tmp_path: Path) -> None:
    (tmp_path / "crun").touch()
    (tmp_path / "link").symlink_to("crun")
    assert dialect(str(tmp_path / "link")) == CRUN
    assert dialect("/usr/bin/krun") == CRUN
    assert dialect("/usr/sbin/runc") == RUNC
    assert dialect("/crun/youki") == RUNC


@pytest.mark.parametrize(
    ("grammar", "text", "file"),
    [
        (RUNC, "run c", "config.json"),
        (RUNC, "run -b b c", "b/config.json"),
        (RUNC, "run -b /b c", "/b/config.json"),
        (RUNC, "run -b b --config f.json c", "f.json"),
        (RUNC, "run -b b --config config.json c", "config.json"),
        (CRUN, "run -b b -f config.json c", "b/config.json"),
        (CRUN, "run -b b -ff.json c", "f.json"),
    ],
)
def test_config_is_found(grammar: str, text: str, file: str) -> None:
    assert read(text, grammar=grammar).config() == str(Path.cwd() / file)


# Rewriting


@pytest.mark.parametrize(
    ("grammar", "text", "expected"),
    [
        (RUNC, "create --bundle b c", "create --bundle N c"),
        (RUNC, "create -b=b c", "create -b=N c"),
        (RUNC, "create c --bundle b --no-pivot", "create c --bundle N --no-pivot"),
        (RUNC, "create --bundle b --bundle b c", "create --bundle b --bundle N c"),
        (RUNC, "--root create create --no-pivot c", "--root create create --bundle=N --no-pivot c"),
        (RUNC, "-- run c", "-- run --bundle=N c"),
        (CRUN, "run -db b c", "run -db N c"),
        (CRUN, "run -dbb c", "run -dbN c"),
        (CRUN, "run --bun=b c", "run --bun=N c"),
        (CRUN, "run c", "run --bundle=N c"),
    ],
)
def test_a_value_is_replaced_or_put_in(grammar: str, text: str, expected: str) -> None:
    line = read(text, grammar=grammar)
    assert line.ambiguous == ""
    assert line.with_option("bundle", "N") == expected.split()


@pytest.mark.parametrize(
    ("grammar", "text", "expected"),
    [
        (RUNC, "exec c ls", "exec --no-new-privs=true c ls"),
        (RUNC, "exec --no-new-privs c ls", "exec --no-new-privs c ls"),
        (RUNC, "exec -no-new-privs=false -t c ls", "exec -no-new-privs=true -t c ls"),
        (CRUN, "exec c ls", "exec --no-new-privs c ls"),
        (CRUN, "exec --no-new c ls", "exec --no-new c ls"),
    ],
)
def test_a_flag_is_on_afterwards(grammar: str, text: str, expected: str) -> None:
    assert read(text, grammar=grammar).with_option("no-new-privs", None) == expected.split()


def test_what_cannot_be_given_is_refused() -> None:
    line = read("create c")
    for name, value in (("bundle", None), ("bundle", ""), ("no-pivot", "x"), ("process", "f"), ("b", "x")):
        with pytest.raises(ValueError, match="create has no option"):
            line.with_option(name, value)
    with pytest.raises(ValueError, match="None has no option"):
        read("--version").with_option("bundle", "x")
    with pytest.raises(ValueError, match="exec has no option --tty"):
        read("exec c ls", grammar=CRUN).with_option("tty", "x")


def test_a_command_is_replaced() -> None:
    assert read("--root r exec -t c ls -l").with_command(["L", "--", "ls"]) == [
        "--root",
        "r",
        "exec",
        "-t",
        "c",
        "L",
        "--",
        "ls",
    ]
    assert read("exec -p f c").with_command(["L"]) == ["exec", "-p", "f", "c", "L"]
    for text in ("exec -t", "run c", "--help"):
        with pytest.raises(ValueError, match="no command of its own"):
            read(text).with_command(["L"])


# Laws

names = st.sampled_from(["a", "b1", "create", "run", "-", "exec", "/x/y", "a=b", "9", ""])
anything = names | st.text(max_size=6) | st.sampled_from(["--", "-b", "--bundle", "-t", "--root", "-d", "--process=x"])
grammars = st.sampled_from([RUNC, CRUN])
# With these the verb is not run, or the root of crun is not certain.
LEFT_OUT = ("help", "usage", "version", "rootless")


@st.composite
def options(draw: st.DrawFn, text: str, grammar: str) -> list[str]:
    """Some options of a table, each in one of its grammar's forms."""
    table = {name: kind for name, kind in spellings(text).items() if kind[0] not in LEFT_OUT}
    words: list[str] = []
    for spelling in draw(st.lists(st.sampled_from(sorted(table)), max_size=4)) if table else []:
        _, kind = table[spelling]
        short = len(spelling) == 1
        dash = "-" if short or (grammar == RUNC and draw(st.booleans())) else "--"
        value = draw(names.filter(bool))
        if spelling == "preserve-fds":
            value = "3"
        if kind == FLAG:
            bare = grammar == CRUN or draw(st.booleans())
            words.append(f"{dash}{spelling}" + ("" if bare else "=true"))
        elif kind == OPTIONAL or draw(st.booleans()):
            words.append(f"{dash}{spelling}{'' if short and grammar == CRUN else '='}{value}")
        else:
            words += [f"{dash}{spelling}", value]
    return words


@st.composite
def lines(draw: st.DrawFn) -> tuple[str, list[str], list[str], list[str]]:
    """A grammar, and words before the verb, of the verb and its options, and behind these."""
    grammar = draw(grammars)
    verb = draw(st.sampled_from(sorted(VERBS[grammar])))
    before = draw(options(GLOBAL[grammar], grammar))
    own = draw(options(VERBS[grammar][verb], grammar))
    behind = [draw(st.sampled_from(["c1", "create", "0a"]))]
    if verb == "exec":
        behind += draw(st.lists(anything.filter(lambda word: word != "--"), min_size=1, max_size=4))
    return grammar, before, [verb, *own], behind


def seen(line: CommandLine) -> dict[str, Any]:
    return {name: getattr(line, name) for name in ("verb", "root", "log", "log_format", "id", "options", "command")}


@given(lines())
def test_what_is_written_is_read(given_: tuple[str, list[str], list[str], list[str]]) -> None:
    grammar, before, own, behind = given_
    line = parse([*before, *own, *behind], dialect=grammar)
    assert (line.ambiguous, line.verb, line.id) == ("", own[0], behind[0])
    assert line.command == (tuple(behind[1:]) if own[0] == "exec" else ())
    assert set(line.options) <= {name for name, _ in spellings(VERBS[grammar][own[0]]).values()}
    assert (line.root is None) == (not any(word.lstrip("-").startswith("root") for word in _spelt(before, grammar)))


def _spelt(words: list[str], grammar: str) -> list[str]:
    """The words without those that are the value of the one before."""
    table, found, value = spellings(GLOBAL[grammar]), [], False
    for word in words:
        if not value:
            found.append(word)
        value = not value and "=" not in word and table.get(word.lstrip("-"), ("", FLAG))[1] == VALUE
    return found


@given(lines())
def test_rewriting_changes_one_option_only(given_: tuple[str, list[str], list[str], list[str]]) -> None:
    grammar, before, own, behind = given_
    line = parse([*before, *own, *behind], dialect=grammar)
    for name, kind in sorted(set(spellings(VERBS[grammar][own[0]]).values())):
        if kind == OPTIONAL:
            continue
        value = {"preserve-fds": "7"}.get(name, "/new") if kind == VALUE else None
        words = line.with_option(name, value)
        after = parse(words, dialect=grammar)
        assert after.ambiguous == ""
        expected = seen(line)
        expected["options"] = {**line.options, name: after.options[name]}
        assert seen(after) == expected
        assert after.options[name] in ((value,) if kind == VALUE else (None, "true"))
        changed = [old for old, new in zip(line.words, words, strict=False) if old != new]
        assert len(changed) <= 1 if len(words) == len(line.words) else len(words) == len(line.words) + 1
        assert after.with_option(name, value) == words


@given(lines())
def test_a_value_put_back_gives_the_same_words(given_: tuple[str, list[str], list[str], list[str]]) -> None:
    grammar, before, own, behind = given_
    line = parse([*before, *own, *behind], dialect=grammar)
    for name, value in line.options.items():
        if spellings(VERBS[grammar][own[0]])[name][1] == VALUE:
            assert line.with_option(name, value) == list(line.words)
    if own[0] == "exec":
        assert line.with_command(line.command) == list(line.words)
        assert parse(line.with_command(["L", "--", "-x"]), dialect=grammar).command == ("L", "--", "-x")


@given(st.lists(anything, max_size=8), grammars)
def test_any_words_are_read(words: list[str], grammar: str) -> None:
    line = parse(words, dialect=grammar)
    assert line.words == tuple(words)
    assert line.id is None or line.id in words
    assert line.verb is None or line.verb in words
    if line.verb == "exec" and line.id is not None:
        assert line.with_command(["L"])[-2:] == [line.id, "L"]


# Tables


def test_tables_are_sound() -> None:
    for grammar in (RUNC, CRUN):
        for text in (GLOBAL[grammar], *(f"{each} {COMMON[grammar]}" for each in VERBS[grammar].values())):
            count = sum(len(word.rstrip("=:").split(",")) for word in text.split())
            assert len(spellings(text)) == count, f"a spelling stands twice in {text}"
            longs = {name for name, _ in spellings(text).values()}
            assert all(len(name) > 1 for name in longs)


def test_spellings() -> None:
    assert spellings("bundle,b= tty,t: no-pivot") == {
        "bundle": ("bundle", VALUE),
        "b": ("bundle", VALUE),
        "tty": ("tty", OPTIONAL),
        "t": ("tty", OPTIONAL),
        "no-pivot": ("no-pivot", FLAG),
    }


# Time


def test_it_loads_little() -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); from scmm_oci.oci import runtime_argv\n"
        "runtime_argv.parse(['create', 'c']); print(' '.join(sys.modules))"
    )
    command = [installation.python(), "-I", "-S", "-c", code, str(ROOT)]
    done = subprocess.run(command, env={}, capture_output=True, text=True, timeout=60, check=True)
    ours = {name for name in done.stdout.split() if name.startswith("scmm_oci.")}
    assert ours == {
        f"scmm_oci.{name}" for name in ("oci", "oci.runtime_argv", "oci.option_words", "oci.runtime_options")
    }
    assert {"re", "typing", "enum", "argparse"}.isdisjoint(done.stdout.split())


def test_it_takes_less_than_a_millisecond() -> None:
    took = []
    for _ in range(50):
        began = time.perf_counter()
        read("--root /r --log /l --log-format json --systemd-cgroup create --bundle /b --pid-file /p c")
        took.append(time.perf_counter() - began)
    assert min(took) < 0.001


def test_environment_and_files_do_not_count(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    before = seen(read("--root r run -b b c"))
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        monkeypatch.delenv(name)
    assert seen(read("--root r run -b b c")) == before
