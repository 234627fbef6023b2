"""Generators that are broken on purpose: what the other tests compare must tell each of them from the right one.

A mutant is the generator's text with one place changed. It is loaded beside the right one, under a name of its own.
"""

import importlib
import random
import struct
import sys
from pathlib import Path

import pytest
from filter_calls import FULL, LOW, differences, every_call
from test_filter import compare, policy_of, rule

import scmm_oci.compiled.filter
from scmm_oci.compiled import bpf
from scmm_oci.errors import BadInput
from scmm_oci.policy.model import Action
from scmm_oci.tables import syscalls
from scmm_oci.tables.arch import Arch

PACKAGE = "scmm_oci.compiled.filter"
SOURCE = Path(scmm_oci.compiled.filter.__file__).parent
X86_64, X86, X32, AARCH64, S390X = Arch.X86_64, Arch.X86, Arch.X32, Arch.AARCH64, Arch.S390X


def numbered(*spans, arch=X86_64):
    """Names whose numbers are in the spans."""
    return [name for name, number in syscalls.numbers(arch).items() if any(a <= number <= b for a, b in spans)]


def policies():
    """Policies in which every part of the generator has something to do."""
    spans = (0, 12), (14, 14), (16, 40), (42, 55), (57, 57), (60, 220), (222, 300), (302, 333)
    kinds = ("allow", "log", "trap", "kill", "kill_thread", "trace")
    # Runs of allowed calls with single ones between them.
    yield policy_of(*(rule(name, "allow") for name in numbered(*spans)), rule("rt_sigreturn", "log"))
    # Every answer, on all ABIs of the machine.
    yield policy_of(
        *(rule(name, kinds[index % 6]) for index, name in enumerate(numbered((0, 200)))),
        rule("reboot", "deny", errno="ENOSYS"),
        rule("mount", "notify"),
        architectures=(X86_64, X86, X32),
        bad_arch_action=Action.TRAP,
    )
    yield policy_of(*(rule(name, "deny") for name in numbered((3, 9), (17, 17))), default="allow")
    # Comparisons of 64 bits, alone and together.
    values = (0, 5, LOW, 1 << 32, 5 << 32 | 5, FULL - 1)
    ops = ("eq", "ne", "lt", "le", "ge", "gt")
    names = iter(numbered((0, 335)))
    for arch in (X86_64, S390X):
        alone = [rule(next(names), "allow", compare(op, value)) for op in ops for value in values]
        masks = [(1, 1), (0, 1 << 40), (3 << 33, 3 << 33), (1 << 32, 1 << 32 | 6), (6, 6), (4, 6)]
        masked = [rule(next(names), "trap", compare("masked_eq", one, mask=mask, arg=5)) for one, mask in masks]
        known = set(syscalls.numbers(arch))
        yield policy_of(*(one for one in (*alone, *masked) if one.name in known), architectures=(arch,))
    # Rules that hold at once, on both sides of the rule without comparisons.
    together = [
        rule("ioctl", action, compare(op, value, arg=1), *more)
        for action, op, value, more in (
            ("allow", "eq", 7, ()),
            ("log", "ge", 1 << 33, (compare("ne", 3, arg=2),)),
            ("kill", "gt", 1 << 40, ()),
            ("kill_thread", "le", 2, (compare("eq", 1, arg=0),)),
        )
    ]
    together.append(rule("ioctl", "trap", compare("masked_eq", 4, arg=1, mask=12), compare("lt", 9, arg=2)))
    yield policy_of(*together, rule("ioctl", "deny", errno="EACCES"), default="log")
    # One word compared with many numbers, far and near.
    many = [rule("ioctl", "allow", compare("eq", 3 * index, arg=1)) for index in range(40)]
    yield policy_of(*many, *(rule(name, "allow") for name in numbered((0, 15))), architectures=(X86_64, X86))
    # Longer than a jump reaches.
    far = [
        rule(name, "allow", compare("eq", index * 0x10003, arg=4), compare("gt", index << 32 | index, arg=5))
        for index, name in enumerate(numbered((0, 120)))
    ]
    yield policy_of(*far)
    # Masks of one word, one after the other, and in two calls with the same number.
    masks = [
        rule("fcntl", action, compare("masked_eq", 2 << shift, mask=7 << shift, arg=2))
        for shift, action in ((0, "allow"), (4, "log"), (2, "trap"), (7, "kill"), (33, "kill_thread"))
    ]
    same = [
        rule("dup", "allow", compare("masked_eq", 4, mask=6, arg=2)),
        rule("pipe", "allow", compare("masked_eq", 4, mask=12, arg=2)),
    ]
    yield policy_of(*masks, *same)
    # What one comparison tells about another of the same word, and what it does not.
    told = [
        *(rule("dup", action, compare("gt", at)) for action, at in (("kill", 10), ("trap", 9), ("log", 8))),
        rule("pipe", "kill", compare("masked_eq", 2, mask=7)),
        rule("pipe", "trap", compare("masked_eq", 2, mask=3)),
        rule("flock", "kill", compare("masked_eq", 1, mask=1), compare("eq", 1, arg=1)),
        rule("flock", "trap", compare("gt", 5)),
        rule("flock", "allow", compare("eq", 3)),
        rule("fsync", "trap", compare("eq", 1, arg=3), compare("eq", 1, arg=4)),
        rule("fsync", "trap", compare("ge", 1, arg=4)),
    ]
    yield policy_of(*told)
    yield policy_of(rule("getpid", "allow", compare("gt", 1 << 32 | 5)), architectures=(AARCH64, Arch.ARM))
    # Values that differ in bits: all of a cube and one more, most of one, with and without another argument, masked.
    sets = {
        "dup": [(0, FULL), (8, FULL), (0x20000, FULL), (0x20008, FULL), (LOW, FULL)],
        "pipe": [(4, FULL), (5, FULL), (6, FULL), (7, FULL), (20, FULL), (22, FULL)],
        "flock": [(0x100, 0xFF00), (0x300, 0xFF00), (0x500, 0xFF00), (0x700, 0xFF00), (0x900, 0xFF00), (2, 0xFF)],
        "fsync": [(1 << 33, FULL), (1 << 33 | 1, FULL), (1 << 33 | 2, FULL), (1 << 33 | 3, FULL), (1 << 33 | 4, FULL)],
        "chdir": [(0x1, 0xF), (0x3, 0xF), (0x5, 0xF), (0x7, 0xF), (0x10, 0xF0), (0x30, 0xF0), (0x50, 0xF0)],
    }
    cubes = [
        rule(name, "allow", compare("masked_eq", value, mask=mask), *more)
        for name, values in sets.items()
        for value, mask in values
        for more in ([(compare("eq", 1, arg=1),)] if name == "pipe" else [()])
    ]
    yield policy_of(*cubes, architectures=(X86_64, X86))
    # Two calls that are asked for before all others, and that x32 has too.
    often = [rule(name, "allow", compare("eq", 5)) for name in ("clone", "personality")]
    rest = [rule(name, "allow") for name in numbered((0, 55), (57, 100), (120, 134), (140, 150))]
    yield policy_of(*often, *rest, architectures=(X86_64, X86, X32))


CASES = [(policy, list(every_call(policy, random.Random(seed), most=25))) for seed, policy in enumerate(policies())]


def caught(module):
    """How a generator shows that it is broken; None if nothing tells it from a right one."""
    for policy, calls in CASES:
        try:
            made = module.build(module.of_policy(policy))
            program = bpf.decode(bpf.encode(made))
        except (AssertionError, BadInput, IndexError, KeyError, RecursionError, struct.error, ValueError) as error:
            return f"fails: {error!r}"
        if bpf.problems(program):
            return "makes no filter"
        difference = next(differences(program, policy, calls), None)
        if difference is not None:
            return repr(difference)
    return None


def test_generator_itself_is_not_caught():
    assert caught(scmm_oci.compiled.filter) is None


# What it breaks, the module, the text, and what stands there instead.
MUTANTS = [
    (
        "no x32 guard",
        "line",
        "LAST_NUMBER - 1, x32.default if x32 is not None else refused",
        "LAST_NUMBER - 1, first.default",
    ),
    ("-1 taken for x32", "line", "(LAST_NUMBER, LAST_NUMBER, first.default)", "(LAST_NUMBER, LAST_NUMBER, refused)"),
    ("a number behind each is lost", "line", "at = number + 1", "at = number + 2"),
    ("all arguments have 32 bits", "line", "_32_BITS = (Arch.X86, Arch.ARM, Arch.S390)", "_32_BITS = tuple(Arch)"),
    ("all machines are little-endian", "line", "_BIG_ENDIAN = (Arch.S390, Arch.S390X)", "_BIG_ENDIAN = ()"),
    ("halves by one more", "numbers", "Op.GE, right[0].first", "Op.GT, right[0].first"),
    ("halves swapped", "numbers", "tree(right, nodes), tree(left, nodes)", "tree(left, nodes), tree(right, nodes)"),
    ("single numbers swapped", "numbers", "one.node, tree(rest, nodes)", "tree(rest, nodes), one.node"),
    (
        "pieces joined that differ",
        "numbers",
        "line[-1].node is one.node:",
        "(line[-1].node is one.node or one.first == 13):",
    ),
    ("low word only", "words", "if mask >> 32:", "if False:"),
    ("high word only", "words", "if mask & WORD:", "if not mask >> 32:"),
    ("gt for ge", "words", "_greater(low, high, value - 1)", "_greater(low, high, value)"),
    ("ge for gt", "words", "return _greater(low, high, value)\n", "return _greater(low, high, value - 1)\n"),
    ("le by one more", "words", "return _at_most(low, high, value)\n", "return _at_most(low, high, value + 1)\n"),
    ("le for lt", "words", "_at_most(low, high, value - 1)", "_at_most(low, high, value)"),
    (
        "high and low words swapped",
        "words",
        '(first, first + 4) if byte_order == "little"',
        '(first, first + 4) if byte_order == "big"',
    ),
    (
        "ne asks both words",
        "words",
        "return tuple((*before[:index], Literal(atom, False)) for index, atom in enumerate(atoms))",
        "return (tuple(Literal(atom, False) for atom in atoms),)",
    ),
    (
        "gt without the high word",
        "words",
        "((Literal(Atom(high, True, WORD, top), True),),) if top < WORD else ()\n",
        "()\n",
    ),
    ("le of a whole high word", "words", "top), False),),) if top < WORD", "top), True),),) if top < WORD"),
    ("ge of 0 never holds", "words", "if value else ((),)", "if value else ()"),
    ("le without smaller high words", "words", "if top else (equal,)", "if top > 1 else (equal,)"),
    ("lower bound is enough", "facts", "if self._first > atom.k:", "if self._first >= atom.k:"),
    ("upper bound too high", "facts", "self._last <= atom.k else", "self._last <= atom.k + 1 else"),
    ("bound from gt too high", "facts", "self._first = atom.k + 1\n", "self._first = atom.k + 2\n"),
    ("bound from not gt too low", "facts", "self._last = atom.k\n", "self._last = atom.k - 1\n"),
    (
        "known bits are all set",
        "facts",
        "self._bits, self._values = atom.mask, atom.k\n",
        "self._bits, self._values = atom.mask, atom.mask\n",
    ),
    ("bit that is not this is this", "facts", "atom.k ^ atom.mask", "atom.k"),
    ("excluded where not", "facts", "not self._never[0] & ~mask and k &", "k &"),
    ("known bits bound the others", "facts", "self._values | (WORD & ~self._bits)", "self._values"),
    (
        "word that is not this has other bits",
        "facts",
        "elif not atom.mask & (atom.mask - 1):",
        "else:\n            self._bits, self._values = atom.mask, atom.k ^ atom.mask\n        if False:",
    ),
    ("bits swapped", "arguments", "Op.SET, atom.mask, no, yes", "Op.SET, atom.mask, yes, no"),
    ("no mask", "arguments", "atom.k, yes, no, mask=atom.mask", "atom.k, yes, no"),
    ("wrong mask", "arguments", "atom.k, yes, no, mask=atom.mask", "atom.k, yes, no, mask=atom.mask | 8"),
    (
        "any bit for all bits",
        "arguments",
        "if atom.k == atom.mask and not atom.mask & (atom.mask - 1):",
        "if atom.k == atom.mask:",
    ),
    ("cases that can hold are left out", "arguments", "if found is not literal.holds:", "if found:"),
    ("gt swapped", "arguments", "Op.GT, atom.k, yes, no", "Op.GT, atom.k, no, yes"),
    ("ge for gt of a word", "arguments", "Op.GT, atom.k, yes, no", "Op.GE, atom.k, yes, no"),
    ("last case is lost", "arguments", "del left[-2]", "del left[-1]"),
    (
        "one of several comparisons is enough",
        "arguments",
        "rest.update(dict.fromkeys(((literal,),) for literal in ways[0]))",
        "rest.update(dict.fromkeys(((literal,),) for literal in ways[0][:1]))",
    ),
    ("least restrictive first", "sources", "key=lambda one: one[0], reverse=True)", "key=lambda one: one[0])"),
    ("opening before refusing", "sources", "(*refusing, *passing)", "(*passing, *refusing)"),
    (
        "x32 without its bit",
        "sources",
        "number = syscalls.number_of(arch, name)",
        "number = syscalls.numbers(arch).get(name)",
    ),
    (
        "numbers of another ABI",
        "sources",
        "number = syscalls.number_of(arch, name)",
        "number = syscalls.number_of(settings.arch, name)",
    ),
    (
        "foreign machines get the default",
        "sources",
        "return Plan(machines(abis, bad_arch), bad_arch)",
        "return Plan(machines(abis, bad_arch), default[0].value)",
    ),
    ("machines swapped", "build", "machine.audit, node, root", "machine.audit, root, node"),
    ("no check of the machine", "build", "root: Node = nodes.ret(plan.bad_arch)", "root: Node = trees[0]"),
    ("jumps too far", "assemble", "_FARTHEST = 255", "_FARTHEST = 300"),
    (
        "trampolines by one more",
        "assemble",
        "Instruction(bpf.JA, here - place - 1)",
        "Instruction(bpf.JA, here - place)",
    ),
    ("trampolines lead nowhere", "assemble", "Instruction(bpf.JA, here - place - 1)", "Instruction(bpf.JA, 0)"),
    (
        "masked word taken for the word",
        "assemble",
        "return _Entry.AND if node.mask is None else _Entry.LOAD",
        "return _Entry.AND",
    ),
    (
        "word taken for the masked word",
        "assemble",
        "return _Entry.AND if node.mask is None else _Entry.LOAD",
        "return _Entry.COMPARE",
    ),
    ("one word taken for another", "assemble", "if child.offset != node.offset:", "if False:"),
    ("x32 keeps its bit", "sharing", "WORD & ~X32_SYSCALL_BIT, rest", "WORD, rest"),
    (
        "x32 is always like x86_64",
        "sharing",
        "return is_some and rest == {id(low[-1].node)}",
        "return True",
    ),
    ("later calls are shared though they differ", "sharing", "tuple((one.first, id(one.node)) for one in tail)", "()"),
    ("x32 answers as x86_64", "sharing", "if is_same else one.node", "if True else one.node"),
    (
        "x32 lacks what is asked for first",
        "sharing",
        " and not (other.is_one and other.first not in there)",
        "",
    ),
    (
        "what is asked for first leads elsewhere",
        "sharing",
        "one.first, one.node, node)",
        "one.first + 1, one.node, node)",
    ),
    ("any two values are one", "cubes", "if other in level:", "if True:"),
    ("joined values are lost", "cubes", "            left -= mine\n", "            left.clear()\n"),
    (
        "the mask is no part of what is alike",
        "cubes",
        "(others, test.arg, test.mask), {})",
        "(others, test.arg, 0), {})",
    ),
    ("errnos are lost", "values", " | (answer.number & bpf.RET_DATA)", ""),
    ("kill ends the thread only", "values", "Action.KILL: bpf.RET_KILL_PROCESS", "Action.KILL: bpf.RET_KILL_THREAD"),
    (
        "masks are not told apart",
        "nodes",
        "key = (offset, mask, op, k, id(yes), id(no))",
        "key = (offset, op, k, id(yes), id(no))",
    ),
    (
        "branches are not told apart",
        "nodes",
        "key = (offset, mask, op, k, id(yes), id(no))",
        "key = (offset, mask, op, k, id(yes))",
    ),
]


@pytest.fixture
def mutated(tmp_path, monkeypatch):
    """Load the generator with a text of a module replaced."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def load(module, old, new):
        name = f"mutant_{tmp_path.name}"
        directory = tmp_path / name
        directory.mkdir()
        for path in SOURCE.glob("*.py"):
            text = path.read_text()
            if path.stem == module and old:
                assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in {path.name}"
                text = text.replace(old, new)
            (directory / path.name).write_text(text.replace(PACKAGE, name))
        importlib.invalidate_caches()
        return importlib.import_module(name)

    yield load
    for name in [name for name in sys.modules if name.startswith("mutant_")]:
        del sys.modules[name]


def test_copy_without_a_change_is_not_caught(mutated):
    assert caught(mutated("nodes", "", "")) is None


@pytest.mark.parametrize(("module", "old", "new"), [one[1:] for one in MUTANTS], ids=[one[0] for one in MUTANTS])
def test_mutant_is_caught(mutated, module, old, new):
    assert caught(mutated(module, old, new)) is not None
