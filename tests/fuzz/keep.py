"""Take what the fuzzer has found into the corpus, as far as it reaches something that nothing shorter does.

    keep.py NAME

Of all inputs in tests/fuzz/corpus/NAME and .cache/fuzz/NAME, by length, those stay that go from one line of the package
to another as none before did. Names are digests, as libFuzzer gives them. Of those for the launcher libFuzzer chooses,
and what is in tests/fuzz/corpus/polfile is not there once more.
"""

import hashlib
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from run import LAUNCHER, LONGEST, built

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PACKAGE = str(ROOT / "scmm_oci")


def reached(target, data):
    """The pairs of lines of the package that follow one another when the target is run."""
    found = set()

    def begins(frame, event, argument):
        name = frame.f_code.co_filename
        if not name.startswith(PACKAGE):
            return None
        last = frame.f_lineno

        def follows(frame, event, argument):
            nonlocal last
            if event == "line":
                found.add((name, last, frame.f_lineno))
                last = frame.f_lineno
            return follows

        return follows

    sys.settrace(begins)
    try:
        target(data)
    finally:
        sys.settrace(None)
    return found


def kept(target, inputs):
    """Those of the inputs that stay, the shortest first."""
    seen = set()
    for data in sorted(set(inputs), key=lambda data: (len(data), data)):
        new = reached(target, data) - seen
        if new:
            seen |= new
            yield data


def kept_of_launcher(places):
    """Those of the inputs in the places that reach something that the corpus of polfile does not."""
    shared = HERE / "corpus/polfile"
    with tempfile.TemporaryDirectory() as directory:
        merged = Path(directory) / "merged"
        shutil.copytree(shared, merged)
        subprocess.run([built(), "-merge=1", f"-max_len={LONGEST}", merged, *places], check=True)
        known = {path.read_bytes() for path in shared.iterdir()}
        return sorted({path.read_bytes() for path in merged.iterdir()} - known, key=lambda data: (len(data), data))


def main(name):
    corpus = HERE / "corpus" / name
    places = [place for place in (corpus, ROOT / ".cache/fuzz" / name) if place.is_dir()]
    files = [path for place in places for path in place.iterdir()]
    if name == LAUNCHER:
        found = kept_of_launcher(places)
    else:
        sys.path[:0] = [str(ROOT), str(ROOT / "tests/unit")]
        from fuzz_targets import TARGETS

        found = list(kept(TARGETS[name], [path.read_bytes() for path in files]))
    for path in corpus.iterdir():
        path.unlink()
    for data in found:
        (corpus / hashlib.sha1(data).hexdigest()).write_bytes(data)
    print(f"{name}: {len(found)} of {len(files)} inputs, {sum(map(len, found))} bytes")


if __name__ == "__main__":
    main(sys.argv[1])
