"""The launcher's reader of /etc/passwd, in a hosted program with sanitizers, and the numbers that its calls have."""

import random
import re
import subprocess
from pathlib import Path

import pytest
from launcher_questions import LAUNCHER, OWN, SANITIZED, STRICT, compiled

from scmm_oci.tables import syscalls
from scmm_oci.tables.arch import Arch

PAYLOAD = Path(__file__).resolve().parents[1] / "payload/launcher_passwd.c"
ROOM = 8192


@pytest.fixture(scope="module")
def look(tmp_path_factory):
    """(name, home) of a uid in a file's bytes, of which so many are read at a time."""
    directory = tmp_path_factory.mktemp("passwd")
    text = compiled(directory, LAUNCHER / "text.c", *OWN, "-fno-builtin")
    binary = directory / "launcher_passwd"
    subprocess.run(
        ["gcc", *SANITIZED, *STRICT, "-o", binary, PAYLOAD, LAUNCHER / "who.c", text], check=True, timeout=120
    )
    file = directory / "file"

    def found(data, uid, most=100_000):
        file.write_bytes(data)
        told = subprocess.run(
            [binary, file, str(uid), str(most)], capture_output=True, check=True, text=True, timeout=60
        )
        user, home = (line.split(" ")[1] for line in told.stdout.splitlines())
        return bytes.fromhex(user), bytes.fromhex(home)

    return found


USUAL = b"root:x:0:0:root:/root:/bin/sh\nweb:x:33:33::/srv/web:/bin/false\nweb2:x:33:33::/srv/2:/bin/false\n"


def test_the_first_line_of_a_uid_counts(look):
    for most in (1, 2, 7, 64, ROOM):
        assert look(USUAL, 0, most) == (b"root", b"/root")
        assert look(USUAL, 33, most) == (b"web", b"/srv/web")
        assert look(USUAL, 34, most) == (b"", b"")


def test_a_last_line_without_its_end(look):
    for most in (1, 9, ROOM):
        assert look(USUAL + b"me:x:7:7::/home/me:/bin/sh", 7, most) == (b"me", b"/home/me")
        assert look(b"me:x:7:7::/home/me", 7, most) == (b"me", b"/home/me")
    assert look(b"", 7) == (b"", b"")
    assert look(b"me:x:7:7:", 7) == (b"", b"")


@pytest.mark.parametrize(
    "line",
    [
        b"..:x:7:7::/home/me:",
        b".:x:7:7::/home/me:",
        b"a/b:x:7:7::/home/me:",
        b"a\0b:x:7:7::/home/me:",
        b":x:7:7::/home/me:",
        b"me:x::7::/home/me:",
        b"me:x:-7:7::/home/me:",
        b"me:x:7 :7::/home/me:",
        b"me:x:00000000007:7::/home/me:",
        b"me:x:4294967303:7::/home/me:",
        b"m" * 256 + b":x:7:7::/home/me:",
        b"me:x:7:7:/home/me",
    ],
)
def test_lines_that_are_none(look, line):
    assert look(line + b"\n" + USUAL, 7) == (b"", b"")
    assert look(line + b"\nme:x:7:7::/there:\n", 7) == (b"me", b"/there")


def test_homes_that_are_none(look):
    for home in (b"", b"home/me", b"/" + b"h" * 4095):
        assert look(b"me:x:7:7::" + home + b":\n", 7) == (b"me", b"")
    longest = b"/" + b"h" * 4094
    assert look(b"m" * 255 + b":x:7:7::" + longest + b":\n", 7) == (b"m" * 255, longest)


def test_lines_around_the_size_of_the_buffer(look):
    """One that does not fit is none, whatever its end looks like; what follows is read."""
    start, end = b"me:x:7:7:", b":/home/me:"
    for size in (ROOM - 2, ROOM - 1, ROOM, ROOM + 1, 2 * ROOM, 2 * ROOM + 1):
        line = start + b"c" * (size - len(start) - len(end)) + end
        for most in (ROOM, 1000):
            expected = (b"me", b"/home/me") if size < ROOM else (b"", b"")
            assert look(line + b"\n", 7, most) == look(USUAL + line + b"\n" + USUAL, 7, most) == expected, size
            assert look(line + b"\n" + USUAL, 33, most) == (b"web", b"/srv/web")
            # Its last part is no line, with or without an end.
            assert look(b"x" * size + USUAL[:-1], 0, most) == (b"", b"")
            assert look(b"x" * ROOM + b"me:x:7:7::/h:", 7, most) == (b"", b"")


def expected_of(data, uid):
    """The same, read otherwise: for files without long lines."""
    for line in data.split(b"\n"):
        fields = line.split(b":")
        if len(fields) >= 6 and 1 <= len(fields[0]) <= 255 and re.fullmatch(rb"[0-9]{1,10}", fields[2]):
            is_name = not set(b"/\0") & set(fields[0]) and fields[0] not in (b".", b"..")
            if int(fields[2]) == uid and is_name:
                return fields[0], fields[5] if re.fullmatch(rb"/[^\0]*", fields[5], re.DOTALL) else b""
    return b"", b""


def test_random_files(look):
    chance = random.Random(2)
    pieces = [
        b"me",
        b":",
        b":",
        b"x",
        b"7",
        b"7",
        b"/h",
        b"\n",
        b"me:x:7:7::/h:s\n",
        b"you:x:8:8::/y",
        b"..",
        b"-",
        b"/",
    ]
    answers = set()
    for _ in range(80):
        data = b"".join(chance.choice(pieces) for _ in range(chance.randrange(60)))
        answer = look(data, 7, chance.choice((1, 3, 100)))
        assert answer == expected_of(data, 7), data
        answers.add(answer)
    assert len(answers) > 2


def test_numbers_of_calls_are_those_of_the_tables():
    """In sys.h and wherever a source has more of them: first x86_64's, then aarch64's."""
    seen = {Arch.X86_64: {}, Arch.AARCH64: {}}
    for source in [LAUNCHER / "sys.h", *LAUNCHER.glob("*.c")]:
        arch = Arch.X86_64
        for line in source.read_text().splitlines():
            if "defined(__x86_64__)" in line:
                arch = Arch.X86_64
            elif "defined(__aarch64__)" in line or line == "#else":
                arch = Arch.AARCH64
            seen[arch] |= {name: int(number) for name, number in re.findall(r"\bNR_(\w+) = (\d+)", line)}
    assert seen[Arch.X86_64].keys() == seen[Arch.AARCH64].keys()
    assert len(seen[Arch.X86_64]) > 40
    for arch, numbers in seen.items():
        assert numbers == {name: syscalls.number_of(arch, name) for name in numbers}
