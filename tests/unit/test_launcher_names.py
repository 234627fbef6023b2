"""Names for what the launcher reports: the committed file is what the tables make, and means what they say."""

import re

import pytest

from scmm_oci.tables.arch import Arch
from scmm_oci.tables.errnos import NAMES
from scmm_oci.tables.syscalls import numbers
from tools import make_launcher_names

TEXT = make_launcher_names.TARGET.read_text()
BLOCKS = {"__x86_64__": (Arch.X86_64, Arch.X86, Arch.X32), "__aarch64__": (Arch.AARCH64, Arch.ARM)}


def test_committed_file_is_what_the_tables_make():
    assert make_launcher_names.document() == TEXT


def _pool(text, name):
    body = re.search(rf"{name}\[\] =\n(.*?);\n", text, re.DOTALL)[1]
    return "".join(re.findall(r'"(.*)"', body)).replace(r"\0", "\0")


def _table(text, name):
    return [int(one) for one in re.search(rf"{name}\[\] = {{(.*?)}};", text, re.DOTALL)[1].split(",") if one.strip()]


def _entry(pool, at):
    return pool[at : pool.index("\0", at)]


@pytest.mark.parametrize("macro", BLOCKS)
def test_every_number_leads_to_its_name(macro):
    block = TEXT.split(f"defined({macro})")[1].split("#e")[0]
    pool = _pool(block, "CALLS")
    far = {int(nr, 16): int(at) for nr, at in re.findall(r"\{(0x[0-9a-f]+), (\d+)\}", block)}
    for arch in BLOCKS[macro]:
        table = _table(block, f"CALLS_{arch.value.upper()}")
        found = {nr: at for nr, at in enumerate(table) if at} | (far if arch is Arch.ARM else {})
        entries = {_entry(pool, at).split(" ")[1]: nr for nr, at in found.items()}
        assert entries == dict(numbers(arch))
        assert len(found) == len(entries)
        for at in found.values():
            letters, name = _entry(pool, at).split(" ")
            assert letters == make_launcher_names.signature(arch, name), (arch, name)


def test_every_error_number_leads_to_its_name():
    pool, table = _pool(TEXT, "ERRORS"), _table(TEXT, "ERRORS_BY_NUMBER")
    assert {nr: _entry(pool, at) for nr, at in enumerate(table) if at} == NAMES


@pytest.mark.parametrize(
    ("arch", "name", "letters"),
    [
        (Arch.X86_64, "openat", "dpxx"),
        (Arch.X86_64, "getpid", ""),
        (Arch.X86_64, "renameat2", "dpdpx"),
        (Arch.X86_64, "symlinkat", "pdp"),
        (Arch.X86_64, "connect", "xax"),
        (Arch.X86_64, "sendto", "xxxxax"),
        # What a descriptor names is no path in memory.
        (Arch.X86_64, "ioctl", "xxx"),
        (Arch.X86_64, "ftruncate", "xx"),
        (Arch.X86_64, "pread64", "xxxx"),
        (Arch.X86, "pread64", "xxxxx"),
        (Arch.ARM, "pread64", "xxxxxx"),
        (Arch.X86_64, "fanotify_mark", "xxxdp"),
        (Arch.X86, "fanotify_mark", "xxxxdp"),
        # No kernel has it, so nobody knows.
        (Arch.X86_64, "tuxcall", "xxxxxx"),
    ],
)
def test_letters_say_how_arguments_are_written(arch, name, letters):
    assert make_launcher_names.signature(arch, name) == letters


def test_each_call_has_one_count():
    names = " ".join(make_launcher_names.COUNTS.values()).split()
    assert len(names) == len(set(names))
    assert set(names) <= set().union(*(numbers(arch) for arches in BLOCKS.values() for arch in arches))
