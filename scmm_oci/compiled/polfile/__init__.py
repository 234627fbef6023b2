"""The compiled policy file (.scmm-pol, version 2): what the launcher applies. docs/formats.md describes its bytes."""

from scmm_oci.compiled.polfile.layout import MAX_BYTES, is_compiled
from scmm_oci.compiled.polfile.reader import read
from scmm_oci.compiled.polfile.writer import canonical, write

__all__ = ["MAX_BYTES", "canonical", "is_compiled", "read", "write"]
