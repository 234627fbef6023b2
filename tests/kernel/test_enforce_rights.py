"""Every right on files by the launcher: granted alone, denied alone, and as each ABI of Landlock has it."""

from __future__ import annotations

import json
import os
import shutil
import socket
from dataclasses import replace
from pathlib import Path

import enforce
import pytest
from enforce import accepted, acts, bytes_of, bytes_of_rules, capped, checked, run

from scmm_oci.policy.model import LandlockScope, Network, NetworkRule, PortRange, Protocol
from scmm_oci.tables import landlock

RIGHTS = [name for name, bit in landlock.FS_RIGHTS.items() if bit & landlock.fs_of_abi(enforce.ABI)]

#: What is tried below a directory → the rights that it takes.
ACTS = {
    "exec prog": {"execute", "read_file"},
    "write file": {"write_file"},
    "read file": {"read_file"},
    "list listed": {"read_dir"},
    "rmdir gone": {"remove_dir"},
    "unlink old": {"remove_file"},
    "mkchr char": {"make_char"},
    "mkdir directory": {"make_dir"},
    "create regular": {"make_reg"},
    "mksock socket": {"make_sock"},
    "mkfifo fifo": {"make_fifo"},
    "mkblk block": {"make_block"},
    "symlink link": {"make_sym"},
    "link one/moved two/moved": {"refer", "make_reg"},
    "truncate long": {"truncate"},
    "ioctl device": {"ioctl_dev", "read_file"},
}
#: Acts after which something is there that was not.
MAKES = {
    "mkchr char",
    "mkdir directory",
    "create regular",
    "mksock socket",
    "mkfifo fifo",
    "mkblk block",
    "symlink link",
}


@pytest.fixture(autouse=True, scope="module")
def kernel() -> None:
    enforce.needed()


def ground(place: Path, name: str) -> Path:
    """A new directory with all that is tried."""
    top = place / name
    for directory in ("listed/inner", "gone", "one", "two"):
        (top / directory).mkdir(parents=True)
    for file in ("file", "old", "one/moved", "long"):
        (top / file).write_text("content and more")
    shutil.copy(acts(), top / "prog")
    os.mknod(top / "device", 0o20644, os.makedev(1, 9))
    return top


def words(top: Path) -> list[str]:
    found = []
    for one in ACTS:
        word, *names = one.split()
        found += [word, *(str(top / name) for name in names)]
    return found


def happened(top: Path) -> set[str]:
    """The acts whose effect is there. Those that read have none but their answer."""
    found = {one for one in MAKES if (top / one.split()[1]).is_symlink() or (top / one.split()[1]).exists()}
    for one, is_so in (
        ("write file", (top / "file").read_text().startswith("written")),
        ("rmdir gone", not (top / "gone").exists()),
        ("unlink old", not (top / "old").exists()),
        ("link one/moved two/moved", (top / "two/moved").exists()),
        ("truncate long", (top / "long").stat().st_size == 1),
    ):
        found |= {one} if is_so else set()
    return found


EFFECTS = MAKES | {"write file", "rmdir gone", "unlink old", "link one/moved two/moved", "truncate long"}


def test_without_rules_all_of_it_works(place: Path) -> None:
    top = ground(place, "free")
    done = run(bytes_of(scopes=(LandlockScope.SIGNAL,)), *words(top))
    assert (done.code, done.errors, done.lines) == (0, "", ["ok"] * len(ACTS))
    assert happened(top) == EFFECTS


def expected(granted: set[str]) -> list[str]:
    """Who lacks refer only is told that it is another file system, so that programs copy: landlock(7)."""
    return [
        "ok" if takes <= granted else "EXDEV" if takes - granted == {"refer"} else "EACCES" for takes in ACTS.values()
    ]


@pytest.mark.parametrize("right", RIGHTS)
def test_each_right_granted_alone_and_denied_alone(place: Path, right: str) -> None:
    for name, granted in (("alone", {right}), ("others", set(RIGHTS) - {right})):
        top = ground(place, name)
        done = run(bytes_of(files={top: sorted(granted)}), *words(top), mode="strict")
        assert (done.code, done.errors) == (0, "")
        assert dict(zip(ACTS, done.lines, strict=True)) == dict(zip(ACTS, expected(granted), strict=True)), name
        assert happened(top) == {one for one in EFFECTS if ACTS[one] <= granted}, name
        assert done.status is not None and done.status["layers"]["files"] == "fully"


def test_all_rights_on_a_file_are_those_of_files(place: Path) -> None:
    top = ground(place, "top")
    done = run(bytes_of(files={top / "file": RIGHTS, top / "device": RIGHTS}), *words(top), mode="strict")
    free = {"read file", "write file", "ioctl device"}
    assert dict(zip(ACTS, done.lines, strict=True)) == {one: "ok" if one in free else "EACCES" for one in ACTS}
    assert happened(top) == {"write file"}


def ports(*numbers: int) -> tuple[NetworkRule, ...]:
    return (NetworkRule(Protocol.TCP, (), tuple(PortRange(one, one) for one in numbers)),)


def free_ports(count: int) -> list[int]:
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    found = [one.getsockname()[1] for one in held]
    for one in held:
        one.close()
    return found


def test_ports_of_tcp(listeners: list[socket.socket]) -> None:
    known, other = (one.getsockname()[1] for one in listeners)
    mine, not_mine = free_ports(2)
    tried = ("connect", known, "connect", other, "bind", mine, "bind", not_mine, "bind", 0)
    network = Network(outbound=ports(known), inbound=ports(mine))
    done = run(bytes_of(network=network), *tried, mode="strict")
    assert (done.code, done.lines) == (0, ["ok", "EACCES", "ok", "EACCES", "EACCES"])
    assert [accepted(one) for one in listeners] == [True, False]
    done = run(bytes_of(network=network), *tried, mode="seccomp")
    assert (done.code, done.lines) == (0, ["ok"] * 5)
    assert [accepted(one) for one in listeners] == [True, True]
    # A port that has one right has not the other; and 0 is one that the kernel chooses.
    done = run(bytes_of(network=Network(outbound=ports(mine), inbound=ports(known, 0))), *tried, mode="strict")
    assert done.lines == ["EACCES", "EACCES", "EACCES", "EACCES", "ok"]
    assert [accepted(one) for one in listeners] == [False, False]


def test_ranges_of_ports(listeners: list[socket.socket]) -> None:
    known = listeners[0].getsockname()[1]
    for rule, answer in (
        (PortRange(known, 65535), "ok"),
        (PortRange(1, known), "ok"),
        (PortRange(1, known - 1), "EACCES"),
    ):
        network = Network(outbound=(NetworkRule(Protocol.TCP, (), (rule,)),))
        done = run(bytes_of(network=network), "connect", known)
        assert (done.lines, accepted(listeners[0])) == ([answer], answer == "ok"), rule


SIGNAL, ABSTRACT = LandlockScope.SIGNAL, LandlockScope.ABSTRACT_UNIX_SOCKET


def test_addresses_of_peers_are_not_called_held(listeners: list[socket.socket]) -> None:
    """Landlock knows ports: whoever may reach one peer on a port reaches all there."""
    port = listeners[0].getsockname()[1]
    peer = NetworkRule(Protocol.TCP, addresses=("192.0.2.1",), ports=(PortRange(port, port),))
    udp = (NetworkRule(Protocol.UDP),)
    policy = bytes_of(network=Network(outbound=(peer, *udp), inbound=udp))
    done = run(policy, "connect", port)
    assert done.lines == ["ok"]
    reason = "ports: peers' addresses are not restricted: Landlock knows ports only"
    assert done.status is not None
    assert (done.status["layers"]["ports"], done.missing) == ("partially", [reason])
    assert run(policy, "connect", port, mode="strict").code == 125
    # Every port of some peers: nothing is held at all.
    free = (NetworkRule(Protocol.TCP, addresses=("192.0.2.1",)), *udp)
    done = run(bytes_of_rules(network=Network(outbound=free, inbound=free)), "connect", port)
    assert done.status is not None
    assert (done.lines, done.status["layers"]["ports"], done.missing) == (["ok"], "not", [reason])
    # The control: the same ports of any peer.
    anyone = bytes_of(network=Network(outbound=(replace(peer, addresses=("any",)), *udp), inbound=udp))
    assert run(anyone, "connect", port, mode="strict").lines == ["ok"]


@pytest.mark.parametrize("scopes", [(), (SIGNAL,), (ABSTRACT,), (SIGNAL, ABSTRACT)])
def test_scopes(scopes: tuple[LandlockScope, ...]) -> None:
    name = f"scmm-enforce-{os.getpid()}"
    tried = ("abstract", name, "kill", os.getpid(), 0)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("\0" + name)
        listener.listen()
        listener.setblocking(False)
        done = run(bytes_of(network=Network(), scopes=scopes or None), *tried, mode="strict")
        assert done.lines == ["EPERM" if ABSTRACT in scopes else "ok", "EPERM" if SIGNAL in scopes else "ok"]
        assert accepted(listener) == (ABSTRACT not in scopes)


def whole(top: Path) -> bytes:
    """All that Landlock has, the newest rights too; refer is granted."""
    network = Network(outbound=ports(1), inbound=ports(1))
    files = enforce.path_rules({top: ["read_file", "make_reg", "refer", "resolve_unix"]})
    return bytes_of_rules(filesystem=files, network=network, scopes=(SIGNAL, ABSTRACT))


@pytest.mark.parametrize("abi", range(1, 8))
def test_each_abi_masks_rights_and_says_which(place: Path, listeners: list[socket.socket], abi: int) -> None:
    top = ground(place, "top")
    known = listeners[0].getsockname()[1]
    lacks = {
        "files": [name for name in landlock.FS_RIGHTS if not landlock.FS_RIGHTS[name] & landlock.fs_of_abi(abi)],
        "ports": [name for name in landlock.NET_RIGHTS if not landlock.NET_RIGHTS[name] & landlock.net_of_abi(abi)],
        "scopes": [name for name in landlock.SCOPES if not landlock.SCOPES[name] & landlock.scopes_of_abi(abi)],
    }
    since = {
        "files": lambda name: landlock.abi_of_fs(landlock.FS_RIGHTS[name]),
        "ports": lambda name: landlock.abi_of_net(landlock.NET_RIGHTS[name]),
        "scopes": lambda name: landlock.abi_of_scopes(landlock.SCOPES[name]),
    }
    reasons = {
        f"{layer}: {name} is not restricted: it is so from Landlock's ABI {since[layer](name)} on"
        for layer, names in lacks.items()
        for name in names
        if name != "refer"
    }
    if abi == 1:
        reasons.add("files: refer is refused everywhere: it can be granted from Landlock's ABI 2 on")
    tried = [
        *("link", top / "one/moved", top / "two/moved", "truncate", top / "long", "ioctl", top / "device"),
        *("connect", known, "kill", os.getpid(), 0, "mkdir", top / "never"),
    ]
    done = run(whole(top), *tried, by=capped(abi))
    assert (done.code, set(done.missing), len(done.missing)) == (0, reasons, len(reasons))
    assert done.status is not None
    assert done.status["landlock_abi"] == abi
    degrees = {
        layer: "fully" if not names else "not" if len(names) == {"ports": 4, "scopes": 2}.get(layer) else "partially"
        for layer, names in lacks.items()
    }
    assert done.status["layers"] == {**degrees, "calls": "not asked", "identity": "not asked"}
    assert done.status["enforced"] == "partially"
    assert done.lines == [
        "ok" if abi >= 2 else "EXDEV",
        "EACCES" if abi >= 3 else "ok",
        "EACCES" if abi >= 5 else "ok",
        "EACCES" if abi >= 4 else "ok",
        "EPERM" if abi >= 6 else "ok",
        "EACCES",
    ]
    assert (top / "two/moved").exists() == (abi >= 2)
    assert (top / "long").stat().st_size == (16 if abi >= 3 else 1)
    assert accepted(listeners[0]) == (abi < 4)
    assert not (top / "never").exists()
    # --check says the same, and each reason stands in the text on stderr.
    assert checked(whole(top), by=capped(abi)).status == done.status
    assert all(f"scmm-enforce:   {reason}\n" in done.errors for reason in reasons)
    # All of it or nothing.
    done = run(whole(top), "mkdir", top / "strict", mode="strict", by=capped(abi))
    assert (done.code, done.lines, done.status) == (125, [], None)
    assert "the mode is strict: nothing is run" in done.errors


def test_refer_that_nobody_has_is_held_in_full_by_abi_1(place: Path) -> None:
    top = ground(place, "top")
    policy = bytes_of(files={top: ["read_file", "make_reg"]}, abi=2)
    done = run(policy, "link", top / "one/moved", top / "two/moved", mode="strict", by=capped(1))
    assert (done.code, done.lines, done.missing) == (0, ["EXDEV"], [])
    assert not (top / "two/moved").exists()


def test_this_kernel_is_told_as_it_is(place: Path) -> None:
    found = checked(whole(place))
    assert json.dumps(found.status) == json.dumps(checked(whole(place), by=capped(99)).status)
    assert found.status is not None and found.status["landlock_abi"] == enforce.landlockpy.abi_version()
