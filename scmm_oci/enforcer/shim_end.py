"""scmm-runc's own poststop hook: removes what was kept of a container. Standard library only.

Called by the runtime through the starter, with the words that enforcer.shim_start gave the hook. What it does not come
to is removed when the next container is made (places.Places.sweep).
"""

from __future__ import annotations

from scmm_oci.enforcer.places import Places

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from scmm_oci.enforcer.shim_settings import Settings


def main(settings: Settings, words: Sequence[str]) -> int:
    """Remove the directory of that key, if it is still of that generation; 0. words: key and generation.

    Raises ValueError for other words, OSError where the directories are not ours alone.
    """
    if len(words) != 2:
        raise ValueError("key and generation expected: it is the runtime that calls this, as a poststop hook")
    key, generation = words
    Places(settings.run_dir).remove(key, generation)
    return 0
