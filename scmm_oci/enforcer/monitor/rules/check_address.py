"""Check the key `address` of a rule. Called by rules.check only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache, lru_cache
from ipaddress import IPv6Network, ip_network
from typing import Any

from scmm_oci.enforcer.monitor.rules.check_pattern import check_pattern
from scmm_oci.enforcer.monitor.rules.model import Network
from scmm_oci.errors import Problem, short, unknown_value
from scmm_oci.schema import Found, Steps
from scmm_oci.tables import words

_IP = ("inet", "inet6")
_MAPPED = IPv6Network("::ffff:0:0/96")
# The other names that linux/socket.h has for a family.
_ALSO = ("local", "file", "route")


@cache
def families() -> Mapping[str, int]:
    """Every word for a family, and its number."""
    known = words.names("address_families")
    return {name[3:].lower(): value for name, value in sorted(known.items()) if name.startswith("AF_")}


@lru_cache(maxsize=1024)
def family(word: str) -> str:
    """The one name of a family that has several, or is told by its number; what has no name stays."""
    number = families().get(word, int(word) if word.isdecimal() else None)
    return next((one for one, value in families().items() if value == number and one not in _ALSO), word)


def network(text: str) -> Network:
    """A network; one of IPv4 in the form of IPv6 is one of IPv4.

    Raises:
        ValueError: it is none.
    """
    found = ip_network(text, strict=False)
    if isinstance(found, IPv6Network) and found.subnet_of(_MAPPED):
        mapped = found.network_address.ipv4_mapped
        return ip_network((str(mapped), found.prefixlen - _MAPPED.prefixlen))
    return found


def check_address(address: dict[str, Any], path: Steps) -> Iterator[Found]:
    """Everything wrong with it; keys may be missing, items of lists None."""
    if not address:
        yield _bad(path, "asks nothing", "give family, networks, ports, paths or names, or leave it out")
    word = address.get("family")
    if word is not None and word not in families():
        yield Found((*path, "family"), unknown_value("", "a family of addresses", word, sorted(families())))
        word = None
    for index, text in enumerate(address.get("networks", ())):
        if text is None:
            continue
        try:
            found = network(text)
        except ValueError:
            yield _bad((*path, "networks", index), f"{short(text)} is not a network such as 10.0.0.0/8")
            continue
        if word in _IP and word != _IP[found.version == 6]:
            yield _bad((*path, "networks", index), f"{short(text)} is no network of {word}")
    for index, ports in enumerate(address.get("ports", ())):
        if isinstance(ports, str):
            first, last = (int(part) for part in ports.split("-"))
            if not first <= last <= 65535:
                yield _bad((*path, "ports", index), f"{short(ports)} is not a range of ports from 0 to 65535")
    for index, text in enumerate(address.get("paths", ())):
        if text is not None:
            yield from check_pattern(text, (*path, "paths", index))
    for index, text in enumerate(address.get("names", ())):
        if text is not None and text.startswith("@"):
            hint = "leave the @ out; ?x stands for names that begin with one"
            yield _bad((*path, "names", index), f"{short(text)} has the @ that stands for a zero byte", hint)
    for key in ("networks", "ports"):
        if key in address and word is not None and word not in _IP:
            yield _bad((*path, key), f"{word} has no {key}", "those are of inet and inet6")
    for key in ("paths", "names"):
        if key not in address:
            continue
        if word is not None and family(word) != "unix":
            yield _bad((*path, key), f"{word} has no {key}", "those are of unix")
        elif "networks" in address or "ports" in address:
            yield _bad((*path, key), "no address has this and networks or ports", "write two rules")


def _bad(path: Steps, message: str, hint: str = "") -> Found:
    return Found(path, Problem("", message, hint))
