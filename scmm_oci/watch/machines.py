"""The machines of a policy as values: what scmm_oci.watch.machine makes, slots puts into the kernel, and files keep.

Standard library only (hook): a container's start takes them from a file, without the policy.
"""

from __future__ import annotations

import struct

from scmm_oci.watch import wire

_COUNT = len(wire.PHASES) * len(wire.ABIS)
# Then for each phase and ABI: index + 1 into the images that follow, 0 for none. Images: whether they have a depth.
_HEAD = struct.Struct(f"=8sI{_COUNT}B2x")
_MAGIC = b"scmmach1"


class Image:
    """A machine as the kernel has it, but for the index of its depth.

    `body`: struct scmm_machine with `deep` 0; `deep`: struct scmm_deep, or empty.
    """

    __slots__ = ("body", "deep")

    def __init__(self, body: bytes, deep: bytes = b"") -> None:
        self.body = body
        self.deep = deep

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Image) and (self.body, self.deep) == (other.body, other.deep)

    def __hash__(self) -> int:
        return hash((self.body, self.deep))

    def with_deep(self, index: int) -> bytes:
        """The body, with the index + 1 of its depth (0: none)."""
        return index.to_bytes(4, "little") + self.body[4:]


class Machines:
    """Images by phase and ABI, those of start-up first; None where the policy says nothing of an ABI."""

    __slots__ = ("images",)

    def __init__(self, images: tuple[Image | None, ...]) -> None:
        self.images = images

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Machines) and self.images == other.images

    def __hash__(self) -> int:
        return hash(self.images)

    def to_bytes(self) -> bytes:
        """For a file of this machine; `from_bytes` reads it."""
        different: list[Image] = []
        for image in self.images:
            if image is not None and image not in different:
                different.append(image)
        places = [0 if image is None else 1 + different.index(image) for image in self.images]
        parts = [_HEAD.pack(_MAGIC, len(different), *places)]
        for image in different:
            parts += [len(image.deep).to_bytes(4, "little"), image.body, image.deep]
        return b"".join(parts)

    @classmethod
    def from_bytes(cls, data: bytes) -> Machines:
        """What `to_bytes` made. Raises ValueError for anything else."""
        if len(data) < _HEAD.size or data[: len(_MAGIC)] != _MAGIC:
            raise ValueError("not machines of this version")
        _, count, *places = _HEAD.unpack_from(data)
        images: list[Image] = []
        at = _HEAD.size
        for _ in range(count):
            size = int.from_bytes(data[at : at + 4], "little")
            body = data[at + 4 : at + 4 + wire.MACHINE_SIZE]
            deep = data[at + 4 + wire.MACHINE_SIZE : at + 4 + wire.MACHINE_SIZE + size]
            if size not in (0, wire.DEEP_SIZE) or len(body) != wire.MACHINE_SIZE or len(deep) != size:
                raise ValueError("cut off, or of another version")
            images.append(Image(body, deep))
            at += 4 + wire.MACHINE_SIZE + size
        if at != len(data) or any(place > count for place in places):
            raise ValueError("more than there should be, or less")
        return cls(tuple(images[place - 1] if place else None for place in places))
