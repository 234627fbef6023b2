"""What groups of system calls are made of: calls with conditions on their arguments, and what these mean.

The place of an argument is written as most ABIs have it, as in tables.arguments; `on_arch` moves it to where an ABI
has it. tables.groups has all of this too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import reduce
from operator import or_

from scmm_oci.tables import syscalls, words
from scmm_oci.tables.arguments import ARGUMENTS, Argument, arguments


@dataclass(frozen=True, order=True)
class Condition:
    """What an argument must be, in the form of a policy's constraints.

    ``integer``: the value is one of ``allowed``, and none of ``denied``. ``flags``: no bit is set outside of
    ``allowed``, and each number field of the word (O_ACCMODE, clone's signal) has an allowed value, or 0 where none is
    listed; no bit of ``denied`` is set, and no field has a denied value. An empty list says nothing.

    Attributes:
        arg: the argument's place, 0 to 5, as most ABIs have it.
        type: ``flags`` or ``integer``.
        allowed, denied: words of the argument's vocabulary, sorted.
    """

    arg: int
    type: str
    allowed: tuple[str, ...]
    denied: tuple[str, ...]


@dataclass(frozen=True, order=True)
class Member:
    """A group ("@…"), or a call with the conditions that must all hold, one for an argument at most."""

    name: str
    conditions: tuple[Condition, ...] = ()


def argument_of(call: str, condition: Condition, *, arch: str) -> Argument | None:
    """The argument that a condition is about, where an architecture has it; None where nothing can be seen of it.

    Raises:
        BadInput: the architecture is not known.
    """
    here = arguments(arch).get(call)
    if here is None or call not in syscalls.numbers(arch):
        return None
    at = [_plain_index(argument) for argument in ARGUMENTS.get(call, ())]
    return here[at.index(condition.arg)] if condition.arg in at else None


def on_arch(member: Member, arch: str) -> Member | None:
    """A call as an architecture has it: arguments in their places (s390 swaps clone's first two), words that it has.

    None where it lacks the call, where a filter cannot see an argument (i386's mmap has them in memory), and where
    it has none of the allowed words: without the condition the call would be allowed more than the group says.

    Raises:
        BadInput: the architecture is not known.
    """
    if member.name not in syscalls.numbers(arch):
        return None
    found = []
    for condition in member.conditions:
        argument = argument_of(member.name, condition, arch=arch)
        if argument is None:
            return None
        known = words.names(argument.vocabulary, arch=arch)
        allowed = tuple(word for word in condition.allowed if word in known)
        denied = tuple(word for word in condition.denied if word in known)
        if condition.allowed and not allowed:
            return None
        if allowed or denied:
            found.append(replace(condition, arg=argument.indexes[0], allowed=allowed, denied=denied))
    return replace(member, conditions=tuple(sorted(found)))


def admits(member: Member, values: Mapping[int, int], *, arch: str) -> bool:
    """Whether a call with these argument values (place on the architecture → value) is what the member means.

    Raises:
        BadInput: the architecture is not known.
        KeyError: the value of an argument that a condition is about is missing.
    """
    if on_arch(member, arch) is None:
        return False
    for condition in member.conditions:
        argument = argument_of(member.name, condition, arch=arch)
        if argument is None or not _holds(condition, argument, values[argument.indexes[0]] & argument.mask, arch):
            return False
    return True


def _holds(condition: Condition, argument: Argument, value: int, arch: str) -> bool:
    known = words.names(argument.vocabulary, arch=arch)
    allowed = [known[word] for word in condition.allowed if word in known]
    denied = [known[word] for word in condition.denied if word in known]
    if condition.type == "integer":
        return (not condition.allowed or value in allowed) and value not in denied
    # A word of zero is of the first field, as in tables.words; in a word without fields it says nothing.
    fields = words.fields(argument.vocabulary, arch=arch)
    outside = ~sum(fields)
    if condition.allowed:
        if value & outside & ~_union(allowed):
            return False
        if any(value & mask not in (_in_field(allowed, mask, fields) or {0}) for mask in fields):
            return False
    if value & outside & _union(denied):
        return False
    return not any(value & mask in _in_field(denied, mask, fields) for mask in fields)


def plain_argument(call: str, index: int) -> Argument | None:
    """The argument at this place, as most ABIs have it, if its values are kept and a filter sees them whole.

    Fields of structures are not, and no pairs.
    """
    return next((argument for argument in ARGUMENTS.get(call, ()) if _plain_index(argument) == index), None)


def _union(numbers: Iterable[int]) -> int:
    return reduce(or_, numbers, 0)


def _in_field(numbers: Iterable[int], mask: int, fields: tuple[int, ...]) -> set[int]:
    return {number for number in numbers if number & ~mask == 0 and (number or mask == fields[0])}


def _plain_index(argument: Argument) -> int | None:
    """The place of an argument that stands in one register, None of others."""
    return argument.indexes[0] if len(argument.indexes) == 1 and argument.field is None else None
