"""How complete a machine is: the formulas by hand, laws, and whether the bound holds as often as it says."""

import math
import random
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scmm_oci.policy.infer.completeness import CONFIDENCE, at_most, completeness, in_words, upper

recordings = st.lists(st.frozensets(st.integers(0, 30), max_size=12), max_size=12)


def test_the_numbers_of_a_case_made_by_hand():
    # Four recordings: a in all, b in two, c and d in one each.
    found = completeness(["ab", "abc", "a", "ad"])
    assert (found.recordings, found.observed, found.incidences, found.once, found.twice) == (4, 4, 8, 2, 1)
    assert (found.new, found.own) == ((2, 1, 0, 1), (0, 1, 0, 1))
    # 1 - 2/8 * (3*2) / (3*2 + 2*1); 2/4; 2 of 4; 4 + 3/4 * 4/2.
    assert found.coverage == pytest.approx(1 - 2 / 8 * 6 / 8)
    assert (found.expected, found.chance) == (0.5, 0.5)
    assert found.total == pytest.approx(4 + 3 / 4 * 4 / 2)
    assert found.pairs == 1 and found.most == 1  # 2/4 + 1.645 * sqrt(2 + 2*1) / 4
    assert upper(2, 4) == pytest.approx(0.902389, abs=1e-6)  # Clopper and Pearson
    few = completeness(["ab"] * 18 + ["abc"] * 2)
    assert (few.pairs, few.chance) == (1, 0) and few.most == pytest.approx(1 - 0.05 ** (1 / 20))
    many = completeness(["ab"] * 10 + [f"ab{i // 2}" for i in range(10)])
    assert (many.pairs, many.chance) == (5, 0) and many.most == pytest.approx(1.6448536 * 10**0.5 / 20)


def test_where_no_edge_is_in_exactly_two():
    found = completeness(["abx", "aby", "ab"])
    assert (found.once, found.twice) == (2, 0)
    assert found.coverage == pytest.approx(1 - 2 / 8 * (2 * 1) / (2 * 1 + 2))
    assert found.total == pytest.approx(4 + 2 / 3 * 2 * 1 / 2)
    # One edge alone is no reason to say that all is known.
    assert completeness(["abx", "ab", "ab"]).coverage == pytest.approx(1 - 1 / 7)


def test_one_recording_says_nothing_and_says_so():
    found = completeness(["abc"])
    assert (found.new, found.own, found.observed) == ((3,), (3,), 3)
    assert {found.coverage, found.expected, found.chance, found.most, found.total} == {None}
    assert "nothing can be said" in in_words(found)
    assert "nothing can be said" in in_words(completeness([]))
    assert "nothing can be said" not in in_words(completeness(["abc", "abc"]))


def test_the_rule_of_three_appears_by_itself():
    for t in (30, 100, 6300):
        found = completeness(["ab"] * t)
        assert (found.chance, found.expected, found.coverage, found.total) == (0, 0, 1, 2)
        assert found.most == pytest.approx(1 - 0.05 ** (1 / t))
        assert found.most == pytest.approx(3 / t, rel=0.06) and found.most < 3 / t
    assert completeness([""] * 3).coverage == 1


@pytest.mark.parametrize(
    ("sets", "words"),
    [
        (
            ["ab"] * 11 + ["abc"],
            "1 of the next 12 recordings is expected to show an order not seen yet (at most 1 of 2",
        ),
        (["ab"] * 12, "at most 1 of 4 further ones is"),  # 22 %: 1 of 4 is no less
        (["ab"] * 2, "too few"),
        (["a", "b", "c"], "each of the next recordings is expected"),
        (
            ["ax", "ay", "az", "a"],
            "8 of the next 10 recordings are expected to show an order not seen yet (at most 10 of 10",
        ),
    ],
)
def test_in_words(sets, words):
    assert words in in_words(completeness(sets))


@given(recordings)
def test_laws(sets):
    found = completeness(sets)
    assert sum(found.new) == found.observed == len(frozenset().union(*sets))
    assert sum(found.own) == found.once
    assert found.incidences == sum(map(len, sets))
    assert all(new >= own for new, own in zip(found.new, found.own, strict=True))
    if len(sets) < 2:
        assert found.coverage is None
        return
    assert 0 <= found.coverage <= 1 and found.total >= found.observed
    assert (found.chance <= found.most <= 1 and found.chance <= found.expected) or found.once == 0
    assert (found.chance == 0) == (found.expected == 0) == (found.once == 0)
    # What each recording had alone is what would have been new, had it been the last.
    assert found.own == tuple(
        completeness([*sets[:index], *sets[index + 1 :], one]).new[-1] for index, one in enumerate(sets)
    )


@given(recordings.flatmap(lambda sets: st.tuples(st.just(sets), st.permutations(sets))))
def test_the_order_matters_for_the_curve_only(pair):
    first, second = map(completeness, pair)
    assert [getattr(first, one) for one in ("coverage", "expected", "chance", "most", "total")] == [
        getattr(second, one) for one in ("coverage", "expected", "chance", "most", "total")
    ]
    assert sorted(first.own) == sorted(second.own) and sum(first.new) == sum(second.new)


@given(st.integers(1, 60).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n), st.integers(0, 100))))
def test_the_binomial_is_the_exact_one(case):
    hits, trials, hundredths = case
    p = Fraction(hundredths, 100)
    exact = sum(Fraction(math.comb(trials, k)) * p**k * (1 - p) ** (trials - k) for k in range(hits + 1))
    assert at_most(hits, trials, float(p)) == pytest.approx(float(exact), rel=1e-9, abs=1e-12)


@given(st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_bound_is_where_so_few_hits_have_five_percent(case):
    hits, trials = case
    most = upper(hits, trials)
    assert hits / trials < most <= 1 or most == 1
    if hits < trials:
        assert at_most(hits, trials, most) == pytest.approx(1 - CONFIDENCE, rel=1e-6)
        assert upper(hits, trials + 1) < most < upper(hits + 1, trials)


def test_a_bound_of_what_cannot_be():
    for hits, trials in ((-1, 3), (4, 3), (0, 0)):
        with pytest.raises(ValueError, match="hits in"):
            upper(hits, trials)


@pytest.mark.parametrize(("rare", "t"), [(0.002, 20), (0.01, 20), (0.01, 60), (0.05, 60), (0.02, 200)])
def test_the_bound_holds_as_often_as_it_says(rare, t):
    """Programs with many rare edges, recorded t times: how often is the true chance of a new edge above the bound?"""
    chance = random.Random(f"{rare} {t}")
    rates = [0.9, 0.5, 0.2, *([rare] * 40), *([rare / 4] * 40)]
    held = close = 0
    rounds = 200
    for _ in range(rounds):
        sets = [frozenset(i for i, rate in enumerate(rates) if chance.random() < rate) for _ in range(t)]
        unseen = set(range(len(rates))) - frozenset().union(*sets)
        true = 1 - math.prod(1 - rates[i] for i in unseen)
        found = completeness(sets)
        held += true <= found.most
        close += abs(found.expected - sum(rates[i] for i in unseen)) < 0.5
    assert held / rounds >= CONFIDENCE
    assert close / rounds > 0.9


def test_a_bound_that_promises_less_does_not_hold():
    """The control: the plain share, without the bound, is below the truth in many cases."""
    chance = random.Random(9)
    rates, t, below = [0.01] * 40, 20, 0
    for _ in range(300):
        sets = [frozenset(i for i, rate in enumerate(rates) if chance.random() < rate) for _ in range(t)]
        unseen = set(range(len(rates))) - frozenset().union(*sets)
        below += 1 - math.prod(1 - rates[i] for i in unseen) > completeness(sets).chance
    assert below > 60


@settings(max_examples=20)
@given(st.lists(st.frozensets(st.integers(0, 5)), min_size=2, max_size=5))
def test_words_never_promise_what_the_numbers_do_not(sets):
    words = in_words(completeness(sets))
    assert words and "{" not in words and (completeness(sets).chance > 0) == ("not seen yet" in words)
