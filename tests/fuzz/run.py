"""Coverage-guided fuzzing, of the package with atheris and of the launcher's reader with libFuzzer (make fuzz).

    run.py all SECONDS          every target in turn, each in a process of its own, in that time altogether
    run.py NAME SECONDS         one target
    run.py NAME FILE            one input, for looking at what failed

What is found lies in .cache/fuzz/NAME, from where tests/fuzz/keep.py takes it. An input that fails is kept beside it,
and ends the run with an error.
"""

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
NAMES = (
    "polfile",
    "policy",
    "rules",
    "profile",
    "conditions",
    "program",
    "peer",
    "monitor",
    "answer",
    "address",
    "call",
)
# The reader in C: launcher_reader.c. It begins with what the reader in Python was found to reach something by.
LAUNCHER = "launcher"
SANITIZERS = "-fsanitize=fuzzer,address,undefined"
LONGEST = 4096
MEGABYTES = 2048
SLOWEST_S = 60


def fuzz(name, arguments):
    import atheris

    sys.path[:0] = [str(ROOT), str(ROOT / "tests/unit")]
    with atheris.instrument_imports(include=["scmm_oci"]):
        from fuzz_targets import TARGETS
    atheris.Setup([sys.argv[0], *arguments], TARGETS[name])
    atheris.Fuzz()


def built():
    """The launcher's target, built in .cache/fuzz. Needs clang and its sanitizers (Debian: libclang-rt-14-dev)."""
    binary = ROOT / ".cache/fuzz/launcher_reader"
    binary.parent.mkdir(parents=True, exist_ok=True)
    sources = [HERE / "launcher_reader.c", ROOT / "launcher/policy.c", ROOT / "launcher/sha256.c"]
    flags = ["-O1", "-g", "-std=c11", SANITIZERS, "-fno-sanitize-recover=all", "-Wall", "-Wextra", "-Werror"]
    subprocess.run(["clang", *flags, "-o", binary, *sources], check=True)
    return binary


def arguments_of(words):
    """The target, and what libFuzzer is told."""
    name, what = words
    if not what.isdigit():
        return name, [what]
    found = ROOT / ".cache/fuzz" / name
    found.mkdir(parents=True, exist_ok=True)
    told = [
        str(found),
        str(HERE / "corpus" / name),
        *([str(HERE / "corpus/polfile")] if name == LAUNCHER else []),
        f"-dict={HERE / 'words.dict'}",
        f"-artifact_prefix={found}-failed-",
    ]
    limits = [f"-max_len={LONGEST}", f"-timeout={SLOWEST_S}", f"-rss_limit_mb={MEGABYTES}"]
    return name, [*told, *limits, f"-max_total_time={what}", "-print_final_stats=1", "-verbosity=1"]


def main(words):
    if words[0] == "all":
        every = (*NAMES, LAUNCHER)
        each = str(max(1, int(words[1]) // len(every)))
        ends = [subprocess.run([sys.executable, __file__, name, each], check=False).returncode for name in every]
        return next(filter(None, ends), 0)
    name, arguments = arguments_of(words)
    if name == LAUNCHER:
        return subprocess.run([built(), *arguments], check=False).returncode
    fuzz(name, arguments)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
