"""How complete a machine is: sets of what each recording showed → what one more recording is expected to add.

A recording is a sampling unit, a transition a species, and what counts is in how many units each was seen. Pure; it
knows nothing of calls, and what it counts can be anything.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Hashable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

# How sure the bound is, as a share.
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Completeness:
    """What the recordings say about those that are still to come. Without a second one nothing can be said: None.

    With t recordings, S edges, U the sum over the edges of how many recordings have each, and Q1 and Q2 the numbers
    of edges that exactly one and exactly two recordings have:

    Attributes:
        recordings: t. observed: S. incidences: U. once: Q1. twice: Q2.
        new: of each recording, in the given order, how many of its edges none before it has. Their sum is S.
        own: of each recording, how many of its edges no other one has. Their sum is Q1.
        coverage: the share of all that happens, weighted by how often it does, that consists of known edges:
            1 - Q1/U * (t-1)Q1 / ((t-1)Q1 + 2 Q2), and where Q2 is 0 (t-1)(Q1-1) / ((t-1)(Q1-1) + 2) as the last
            factor (Chao and Jost, Ecology 93, 2012, for incidences). With Q1 = 1 and no Q2 that says all; there
            Good's 1 - Q1/U holds instead.
        expected: how many new edges one more recording is expected to have: Q1/t (Good, Biometrika 40, 1953, for
            incidences).
        chance: how likely one more recording has any: the share of recordings that have an edge of their own, which
            is how often each would have been new to all others together (leave one out).
        pairs: how many pairs of recordings have an edge that is in these two only.
        most: what the chance is below with CONFIDENCE: the upper end of the one-sided interval of Clopper and Pearson
            (Biometrika 26, 1934) for that share. Where no recording has an edge of its own it is 1 - 0.05^(1/t),
            about 3/t. What is not seen yet varies too, and with it what the share is to estimate; so it is at least
            chance + z * sqrt(alone + 2 pairs) / t, alone being how many recordings have an edge of their own (the
            variance of Esty, Annals of Statistics 11, 1983, for recordings instead of edges; z = 1.645).
        total: how many edges there are at least, those not seen yet included: S + (t-1)/t * Q1^2 / (2 Q2), and where
            Q2 is 0 S + (t-1)/t * Q1(Q1-1)/2 (Chao2: Chao, Biometrics 43, 1987, bias-corrected where Q2 is 0).
    """

    recordings: int
    observed: int
    incidences: int
    once: int
    twice: int
    pairs: int
    new: tuple[int, ...]
    own: tuple[int, ...]
    coverage: float | None
    expected: float | None
    chance: float | None
    most: float | None
    total: float | None


def completeness(recordings: Sequence[Collection[Hashable]]) -> Completeness:
    """What can be said from these recordings, each the edges that it has. Nothing is double in one.

    The numbers but ``new`` and ``own`` do not depend on the order.
    """
    found = [frozenset(one) for one in recordings]
    where: dict[Hashable, list[int]] = {}
    new = []
    for number, one in enumerate(found):
        new.append(sum(edge not in where for edge in one))
        for edge in one:
            where.setdefault(edge, []).append(number)
    own = tuple(sum(len(where[edge]) == 1 for edge in one) for one in found)
    often = Counter(map(len, where.values()))
    pairs = len({tuple(those) for those in where.values() if len(those) == 2})
    incidences = sum(map(len, found))
    plain = (len(found), len(where), incidences, often[1], often[2], pairs, tuple(new), own)
    return Completeness(*plain, *(_told(*plain) if len(found) > 1 else (None,) * 5))


def _told(
    t: int, observed: int, incidences: int, once: int, twice: int, pairs: int, _: object, own: Sequence[int]
) -> tuple[float, ...]:
    """The estimates, in the order of the attributes."""
    part = (t - 1) * (once if twice else max(0, once - 1))
    factor = part / (part + 2 * (twice or 1)) if part else 1.0
    coverage = 1 - once / incidences * factor if incidences else 1.0
    alone = sum(map(bool, own))
    varies = NormalDist().inv_cdf(CONFIDENCE) * math.sqrt(alone + 2 * pairs) / t
    most = min(1.0, max(upper(alone, t), alone / t + varies))
    unseen = once * once / (2 * twice) if twice else once * (once - 1) / 2
    return coverage, once / t, alone / t, most, observed + (t - 1) / t * unseen


def upper(hits: int, trials: int, *, confidence: float = CONFIDENCE) -> float:
    """The largest probability under which so few hits, or fewer, still have the chance 1 - confidence.

    That is the upper end of the one-sided interval of Clopper and Pearson: the root p of
    sum over k <= hits of C(trials, k) p^k (1-p)^(trials-k) = 1 - confidence.

    Args:
        hits: from 0 to trials. trials: at least 1.

    Raises:
        ValueError: they are not.
    """
    if not 0 <= hits <= trials or trials < 1:
        raise ValueError(f"{hits} hits in {trials} trials")
    if hits == trials:
        return 1.0
    if hits == 0:
        return float(-math.expm1(math.log1p(-confidence) / trials))
    low, high = hits / trials, 1.0
    while True:
        middle = (low + high) / 2
        if middle in (low, high):  # no number lies between them any more
            return high
        if at_most(hits, trials, middle) > 1 - confidence:
            low = middle
        else:
            high = middle


def at_most(hits: int, trials: int, chance: float) -> float:
    """The probability of at most so many hits in independent trials with this chance each."""
    if chance <= 0:
        return 1.0
    if chance >= 1:
        return float(hits >= trials)
    win, lose = math.log(chance), math.log1p(-chance)
    every = math.lgamma(trials + 1)
    return min(
        1.0,
        math.fsum(
            math.exp(every - math.lgamma(k + 1) - math.lgamma(trials - k + 1) + k * win + (trials - k) * lose)
            for k in range(hits + 1)
        ),
    )


def in_words(found: Completeness) -> str:
    """The estimate in one sentence without a full stop, for people."""
    if found.chance is None or found.most is None:
        return "from a single recording nothing can be said about the next one: record more"
    if found.chance == 0:
        text = f"none of the {found.recordings} recordings shows an order that the others do not"
        if found.most > 0.5:
            return f"{text}, but they are too few to say how often a further one will"
        return f"{text}; at most {_one_of(found.most)} further ones is expected to show a new one (95 % sure)"
    bound = f"at most {_one_of(found.most)}" if found.most <= 0.5 else f"at most {math.ceil(10 * found.most)} of 10"
    return f"{_expected(found.chance)} expected to show an order not seen yet ({bound}; 95 % sure)"


def _one_of(chance: float) -> str:
    """Never less than the chance: 0.22 is 1 of 4."""
    return f"1 of {math.floor(1 / chance)}"


def _expected(chance: float) -> str:
    if chance == 1:
        return "each of the next recordings is"
    if chance <= 0.5:
        return f"1 of the next {round(1 / chance)} recordings is"
    tenths = min(9, round(10 * chance))
    return f"{tenths} of the next 10 recordings are"
