"""Architectures: their names in libseccomp and OCI, their AUDIT_ARCH values, and what a kernel runs beside its own."""

from __future__ import annotations

import re
from enum import StrEnum

from scmm_oci.errors import BadInput, unknown_value


class Arch(StrEnum):
    """A system call ABI. The value is what ``uname -m`` says, or the ABI's usual name where a kernel has several."""

    X86_64 = "x86_64"
    X86 = "x86"
    X32 = "x32"
    AARCH64 = "aarch64"
    ARM = "arm"
    RISCV64 = "riscv64"
    S390X = "s390x"
    S390 = "s390"
    PPC64LE = "ppc64le"

    @property
    def scmp(self) -> str:
        """The name in OCI profiles and in libseccomp, such as ``SCMP_ARCH_X86_64`` (seccomp_arch_add(3))."""
        return f"SCMP_ARCH_{self.value.upper()}"

    @property
    def audit(self) -> int:
        """The value of ``seccomp_data.arch`` (linux/audit.h). x32 has x86_64's: it differs by a bit of the number."""
        return _AUDIT[self]

    @property
    def beside(self) -> tuple[Arch, ...]:
        """The ABIs that a kernel of this architecture may also run: x86 and x32 on x86_64, arm on aarch64."""
        return _BESIDE.get(self, ())


_AUDIT = {
    Arch.X86_64: 0xC000003E,
    Arch.X86: 0x40000003,
    Arch.X32: 0xC000003E,
    Arch.AARCH64: 0xC00000B7,
    Arch.ARM: 0x40000028,
    Arch.RISCV64: 0xC00000F3,
    Arch.S390X: 0x80000016,
    Arch.S390: 0x00000016,
    Arch.PPC64LE: 0xC0000015,
}

_BESIDE = {
    Arch.X86_64: (Arch.X86, Arch.X32),
    Arch.AARCH64: (Arch.ARM,),
    Arch.S390X: (Arch.S390,),
}

# ABIs whose registers have 32 bits.
NARROW = (Arch.X86, Arch.ARM, Arch.S390)

# What else uname(2) and package names call them.
_ALIASES = {"amd64": Arch.X86_64, "arm64": Arch.AARCH64, "i386": Arch.X86}
_PATTERNS = ((re.compile(r"i[3-6]86"), Arch.X86), (re.compile(r"armv[4-8]\w*"), Arch.ARM))


def from_machine(machine: str, *, place: str = "") -> Arch:
    """The architecture of a machine name as ``uname -m`` prints it (x86_64, i686, armv7l, aarch64 …).

    Args:
        place: where the name stands, for the error.

    Raises:
        BadInput: it is none of ours.
    """
    if machine in _ALIASES:
        return _ALIASES[machine]
    for pattern, arch in _PATTERNS:
        if pattern.fullmatch(machine):
            return arch
    try:
        return Arch(machine)
    except ValueError:
        raise BadInput([unknown_value(place, "a known architecture", machine, [arch.value for arch in Arch])]) from None
