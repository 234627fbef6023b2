"""The launcher's reader in a hosted program with sanitizers (tests/payload/launcher_reader.c): built, and asked."""

import os
import struct
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LAUNCHER = ROOT / "launcher"
PAYLOAD = ROOT / "tests/payload/launcher_reader.c"
SANITIZED = ["-O1", "-g", "-std=c11", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
STRICT = ["-Wall", "-Wextra", "-Werror"]
# text.c has functions that the sanitizers have, too; in the launcher there are no others.
OWN = [f"-D{name}=own_{name}" for name in ("memcpy", "memset", "memcmp")]
X86_64, AARCH64 = 0xC000003E, 0xC00000B7


def compiled(directory, source, *flags):
    """An object file of a source, with sanitizers."""
    made = directory / f"{Path(source).stem}.o"
    command = ["gcc", *SANITIZED, *STRICT, *flags, f"-I{LAUNCHER}", "-c", "-o", made, source]
    subprocess.run(command, check=True, timeout=120)
    return made


def linked(directory, *objects):
    """The program that objects make."""
    binary = directory / "launcher_reader"
    subprocess.run(["gcc", *SANITIZED, "-o", binary, *objects], check=True, timeout=120)
    return binary


def build(directory):
    """The program, with its objects beside it."""
    text = compiled(directory, LAUNCHER / "text.c", *OWN, "-fno-builtin")
    sources = (PAYLOAD, LAUNCHER / "policy.c", LAUNCHER / "sha256.c")
    return linked(directory, text, *(compiled(directory, source) for source in sources))


def build_broken(built, directory, before, after):
    """The program that `build` made, with other text in launcher/policy.c, where it stands once."""
    policy = (LAUNCHER / "policy.c").read_text()
    assert policy.count(before) == 1, before
    source = directory / "policy.c"
    source.write_text(policy.replace(before, after))
    beside = (built.with_name(f"{name}.o") for name in ("text", "launcher_reader", "sha256"))
    return linked(directory, compiled(directory, source), *beside)


def ask(binary, records):
    """The answers, a line for each record. What a sanitizer finds is an error (CalledProcessError)."""
    records = list(records)
    environment = {**os.environ, "ASAN_OPTIONS": "detect_leaks=0"}
    told = subprocess.run(
        [binary, "ask"], input=b"".join(records), capture_output=True, check=True, timeout=120, env=environment
    )
    answers = told.stdout.decode().splitlines()
    assert len(answers) == len(records)
    return answers


def sized(data):
    return struct.pack("<I", len(data)) + data


def policy(data, audit=X86_64):
    return b"P" + struct.pack("<I", audit) + sized(data)


def glob(tokens, name):
    return b"G" + sized(tokens) + sized(name)


def verdict(call):
    args = (*call.args, 0, 0, 0, 0, 0, 0)[:6]
    return b"V" + struct.pack("<II6Q", call.arch, call.nr, *args)
