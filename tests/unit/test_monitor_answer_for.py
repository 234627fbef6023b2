"""What an answer that is remembered is for: all that was shown and will be used, and nothing that can still change."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scmm_oci.enforcer.monitor import calls
from scmm_oci.enforcer.monitor.addresses import address_of
from scmm_oci.enforcer.monitor.model import Call, Memory
from scmm_oci.enforcer.monitor.seen import Seen
from scmm_oci.kernel.notify import Notification
from scmm_oci.tables.arch import Arch
from scmm_oci.tables.syscalls import numbers

HERE = (1 << 64) - 100  # AT_FDCWD


def call(name: str, *args: int) -> Call:
    words = (*args, *(0,) * (6 - len(args)))
    return calls.decode(Notification(1, 1, numbers(Arch.X86_64)[name], Arch.X86_64.audit, words))  # type: ignore[arg-type]


def held(*paths: str, text: bytes | None = None, address: bytes = b"") -> Seen:
    return Seen(Memory(text=text, address=address_of(address)), paths, is_held=True)


@pytest.mark.parametrize("name", ["symlink", "symlinkat"])
def test_a_link_to_elsewhere_is_another_link(name: str) -> None:
    what = call(name, 0x7F00, HERE, 0x7F80) if name == "symlinkat" else call(name, 0x7F00, 0x7F80)
    harmless = held("/srv/link", text=b"/etc/motd").detail(what)
    assert harmless == held("/srv/link", text=b"/etc/motd").detail(what)
    assert harmless != held("/srv/link", text=b"/etc/shadow").detail(what)
    assert harmless != held("/srv/other", text=b"/etc/motd").detail(what)


def test_what_a_program_can_still_change_is_not_in_it() -> None:
    what = call("symlink", 0x7F00, 0x7F80)
    one = Seen(Memory((b"a",), text=b"/etc/motd")).detail(what)
    assert one == Seen(Memory((b"b",), text=b"/etc/shadow")).detail(what) == Seen().detail(what)


def test_names_with_line_ends_are_not_two_names() -> None:
    what = call("rename", 0x7F00, 0x7F80)
    assert held("/srv/a\n/srv/b", "/srv/c").detail(what) != held("/srv/a", "/srv/b\n/srv/c").detail(what)
    link = call("symlink", 0x7F00, 0x7F80)
    assert held("/b\n/c", text=b"/a").detail(link) != held("/c", text=b"/a\n/b").detail(link)


@given(st.lists(st.lists(st.text("/a\\n\n", max_size=6), min_size=2, max_size=2), min_size=2, max_size=4))
def test_two_names_are_never_taken_for_two_others(pairs: list[list[str]]) -> None:
    what = call("rename", 0x7F00, 0x7F80)
    for one, other in itertools.combinations(pairs, 2):
        assert (held(*one).detail(what) == held(*other).detail(what)) == (one == other)
