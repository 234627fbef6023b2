"""Programs with the options and operands that runs are put together from: small ones, of coreutils and busybox.

A run is a pattern of operands, up to three options, and what the program stands on (running.Run). Which of these it has
is drawn; a combination that was learnt from is not judged.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from .inputs import KINDS, Maker
from .running import INPUTS, LOCALES, OUTPUTS, Run

#: What tells combinations apart.
Choice = tuple[object, ...]


@dataclass(frozen=True)
class Program:
    """One that has a machine of its own.

    Attributes:
        key: its name, unique; group: of what set.
        draw: what a run consists of, by chance; make: that run, with the files it takes.
    """

    key: str
    group: str
    draw: Callable[[Random], Choice]
    make: Callable[[Choice, Maker], Run]


# Name: options, with commas between | patterns of operands, with bars between (words of inputs.KINDS are made).
_COREUTILS = """
cat: -n, -b, -A, -s, -E | FILE | FILE FILE | EMPTY | ABSENT | FILE ABSENT | TREE | LINK | BINARY | - |
ls: -l, -a, -1, -R, -t, -S, -h, -i, -F, -d, --color=always | TREE | TREE FILE | ABSENT | FILE | . |
cp: -p, -r, -v, -f, -u | FILE NEW | FILE FILE | ABSENT NEW | TREE NEW | FILE TREE | LINK NEW | BINARY NEW
mv: -v, -n, -f, -u | FILE NEW | FILE FILE | ABSENT NEW | TREE NEW | FILE TREE | LINK NEW
rm: -f, -r, -v | FILE | FILE FILE | ABSENT | TREE | LINK
mkdir: -p, -v, -m 700 | NEW | NEW NEW | FILE | TREE
rmdir: -v, --ignore-fail-on-non-empty | TREE | ABSENT | FILE
ln: -s, -f, -v | FILE NEW | FILE FILE | ABSENT NEW | FILE TREE
touch: -c, -a, -m, -d 2024-01-01 | FILE | NEW | NEW FILE | TREE
chmod: -v, -R, -f | 600 FILE | u+x FILE | go-rwx TREE | 644 ABSENT
wc: -l, -w, -c, -m, -L | FILE | FILE FILE | ABSENT | EMPTY | - |
head: -n N, -c N, -q, -v | FILE | FILE FILE | ABSENT | EMPTY | - |
tail: -n N, -c N, -q, -v | FILE | FILE FILE | ABSENT | EMPTY |
sort: -n, -r, -u, -f, -k N, -b, --parallel=1 | FILE | NUMBERS | FILE FILE | ABSENT | EMPTY |
uniq: -c, -d, -u, -i | SORTED | FILE | ABSENT | EMPTY |
cut: -s, --complement | -f N FILE | -c N FILE | -d , -f N FILE | -b N ABSENT | -c N
tr: -s, -c | a-z A-Z | abc xyz | 0-9 x
paste: -s, -d , | FILE FILE | FILE | NUMBERS FILE | ABSENT | - -
join: -i, -a 1 | SORTED SORTED | SORTED ABSENT
comm: -1, -2, -3 | SORTED SORTED | SORTED EMPTY | SORTED ABSENT
nl: -b a, -n rz, -w N | FILE | EMPTY | ABSENT |
od: -c, -x, -b, -A d, -v | FILE | BINARY | ABSENT | EMPTY |
fold: -s, -b, -w 40 | FILE | BINARY | ABSENT |
fmt: -s, -u, -w 60 | FILE | EMPTY | ABSENT |
expand: -i, -t N | FILE | EMPTY | ABSENT |
pr: -n, -d, -t, -2 | FILE | FILE FILE | ABSENT |
seq: -w, -s : | N | N 50 | 1 N 9999 | x
factor: -h | N | N N 97531 | 1234567891011 | x |
expr: | N + N | N * N | WORD : .* | N / 0 | ( N
printf: | %s\\n WORD | %d\\n N | %5.2f\\n N | %d\\n x | %s WORD N N
echo: -n, -e | WORD | WORD WORD N | a\\tb |
basename: -a, -z | FILE | /usr/lib/WORD | TREE ABSENT |
dirname: -z | FILE | /usr/lib/x | a/b/c d |
realpath: -s, -e, -m, -q | FILE | LINK | ABSENT | TREE . | /usr/bin/awk
readlink: -f, -e, -n, -v | LINK | FILE | ABSENT | /usr/bin/awk
stat: -L, -t, -f, -c %n | FILE | TREE | LINK | ABSENT | FILE FILE
du: -s, -a, -h, -c, -b | TREE | FILE | TREE FILE | ABSENT |
tee: -a, -i | NEW | FILE | NEW NEW | TREE |
dd: status=none, bs=512, count=N, conv=sync | if=/dev/zero of=out count=N | of=out | if=/dev/null | if=none
truncate: -c, -o | -s 100 FILE | -s 0 NEW | -s +N FILE | -r FILE NEW
split: -d, -a 3 | -l 50 FILE | -b 20000 FILE | -n N FILE | -l 50 ABSENT | -l 20
shuf: -n N, -r -n N, -z | FILE | -i 1-50 | -e WORD WORD N | ABSENT |
sha256sum: -b, --tag, -z | FILE | FILE FILE | EMPTY | ABSENT | TREE |
cksum: | FILE | BINARY FILE | ABSENT |
base64: -w 40, -i | FILE | BINARY | ABSENT | EMPTY |
tac: -b, -s x | FILE | FILE FILE | EMPTY | ABSENT |
numfmt: --to=iec, --grouping, --padding=9 | N | 1048576 N | x |
env: -i, -u HOME | WORD=N | A=b B=c | A=b /bin/true | /bin/ABSENT |
mktemp: -d, -u, -q | XXXXXX | -p . | WORD.XXXX | x
test: | -f FILE | -d TREE | -e ABSENT | N -gt N | -z WORD | WORD = WORD | -L LINK |
"""
_BUSYBOX = """
cat: -n | FILE | FILE FILE | EMPTY | ABSENT | BINARY | - |
ls: -l, -a, -1, -R, -t, -i, -F | TREE | TREE FILE | ABSENT | FILE |
cp: -p, -r, -f | FILE NEW | FILE FILE | ABSENT NEW | TREE NEW | FILE TREE
rm: -f, -r | FILE | FILE FILE | ABSENT | TREE
grep: -i, -v, -n, -c, -q, -l | a FILE | x.*y FILE FILE | -r N TREE | WORD ABSENT | WORD
sed: -n, -r | s/a/b/ FILE | 1,5p FILE | /x/d FILE | $d FILE FILE | s/a/b/g ABSENT | s/e/E/g | -i s/a/A/ FILE
awk: -F , | {print$1} FILE | {n+=$1}END{print(n)} NUMBERS | NR%2 FILE FILE | /x/ ABSENT | {print(NR)}
sort: -n, -r, -u | FILE | NUMBERS | FILE FILE | ABSENT |
uniq: -c, -d, -u | SORTED | FILE | ABSENT |
wc: -l, -w, -c | FILE | FILE FILE | ABSENT |
head: -n N, -c N | FILE | FILE FILE | ABSENT |
tail: -n N, -c N | FILE | FILE FILE | ABSENT |
tr: -d, -s | a-z | 0-9
cut: -s | -f N FILE | -c N FILE | -d , -f N FILE | -c N
find: -follow | TREE | TREE -type f | TREE -name *x* | ABSENT | TREE -type f -exec /bin/true {} ; | . -maxdepth 1
tar: -v | -cf out TREE | -cf out FILE FILE | -czf out TREE | -tf ABSENT | -cf out ABSENT
gzip: -k, -f, -c | FILE | BINARY | ABSENT | EMPTY |
md5sum: | FILE | FILE FILE | ABSENT | EMPTY |
sha256sum: | FILE | FILE FILE | ABSENT |
od: -c, -x, -b | FILE | BINARY | ABSENT |
hexdump: -C | FILE | BINARY | ABSENT |
diff: -u, -q, -b | FILE FILE | FILE ABSENT | TREE TREE
cmp: -s, -l | FILE FILE | FILE ABSENT | BINARY BINARY
dd: bs=512, count=N | if=/dev/zero of=out count=N | of=out | if=/dev/null | if=none
du: -s, -a, -h | TREE | FILE | ABSENT |
stat: -L, -t | FILE | TREE | LINK | ABSENT
xargs: -n N, -t | echo | /bin/true
sh: | -c echo${IFS}x | -c true&&false | -c cat<FILE | -c for${IFS}i${IFS}in${IFS}1;do${IFS}pwd;done | -c ls|wc
expr: | N + N | WORD : .* | N / 0
readlink: -f | LINK | FILE | ABSENT
"""
_LONGEST = 3


def _split(text: str, by: str) -> list[tuple[str, ...]]:
    return [tuple(part.split()) for part in text.split(by)]


def _small(line: str, group: str, before: tuple[str, ...]) -> Program:
    name, _, rest = line.partition(":")
    first, _, others = rest.partition(" | ") if not rest.startswith(" |") else ("", "", rest[3:])
    options = [each for each in _split(first, ",") if each]
    # Within a pattern a bar has no spaces around it.
    patterns = [tuple(part.split()) for part in f"{others} ".split("| ")]

    def draw(random: Random) -> Choice:
        chosen = random.sample(range(len(options)), random.randint(0, min(_LONGEST, len(options))))
        pattern = random.randrange(len(patterns))
        return (tuple(chosen), pattern, random.choice(INPUTS), random.choice(OUTPUTS), random.choice(LOCALES))

    def make(choice: Choice, maker: Maker) -> Run:
        chosen, pattern, source, output, locale = choice
        assert isinstance(chosen, tuple) and isinstance(pattern, int)
        words = [word for index in chosen for word in options[index]] + list(patterns[pattern])
        if name == "dd":  # its options look like operands, and it takes the last of two that are the same
            words.reverse()
        made = (*before, name, *(_word(each, maker) for each in words))
        # Each word that xargs reads can be a program that it starts.
        given = maker.text(maker.random.randint(2, 400) if name == "xargs" else None)
        return Run(made, str(source), str(output), str(locale), given)

    return Program(f"{before[0]} {name}" if before else name, group, draw, make)


def _word(word: str, maker: Maker) -> str:
    """A word with what it stands for in it."""
    if word in KINDS:
        return maker.operand(word)
    for kind in ("WORD", "ABSENT", "FILE", "N"):
        end = len(word) - len(kind)
        if end > 0 and word.endswith(kind) and not word[end - 1].isalnum():
            return word[:end] + maker.operand(kind)
    return word


COREUTILS = tuple(_small(line, "coreutils", ()) for line in _COREUTILS.strip().splitlines())
BUSYBOX = tuple(_small(line, "busybox", ("busybox",)) for line in _BUSYBOX.strip().splitlines())
