"""Ratings by several examples: right against plain loops to the last bit, in every form."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_kernels import bits, distance, encodings, hnsw, scan
from edge_kernels.combined import BEST, CONTEXT, DISCOVER, EPSILON, LINEAR, query_form
from edge_kernels.encodings import (
    COMBINED,
    COSINE,
    DOT,
    ENCODINGS,
    EUCLID,
    MANHATTAN,
    METRICS,
    code_of,
)
from edge_kernels.jit import STACK_FLOATS
from tests.kernels import made_rows

F = np.float32
NO_WEIGHTS = np.zeros(1, F)
codes = st.builds(code_of, st.sampled_from(METRICS), st.sampled_from(ENCODINGS))
seeds = st.integers(0, 2**32 - 1)
RULES = {"best": BEST, "linear": LINEAR, "discover": DISCOVER, "context": CONTEXT}


class Asked:
    """Examples and a rule: the query form, and what it points to."""

    def __init__(self, kind, examples, first=0, weights=NO_WEIGHTS):
        self.kind, self.first, self.weights = kind, first, weights
        self.examples = [np.ascontiguousarray(example) for example in examples]
        self.form = query_form(kind, self.examples, first, weights)


def asked(kind, ask, count, random):
    """A rule over `count` examples or one more, which `ask()` makes."""
    count += kind in (DISCOVER, CONTEXT) and count % 2 != (kind == DISCOVER)
    weights = random.normal(size=count).astype(F) if kind == LINEAR else NO_WEIGHTS
    first = int(random.integers(0, count + 1)) if kind == BEST else 0
    return Asked(kind, [ask() for _ in range(count)], first, weights)


# -- the rules, one row after the other, in float32


def soft(x):
    return x / (F(1) + abs(x))


def half(x):
    return F(0.5) * (soft(x) + F(1))


def best(alike, asked):
    positive = max(alike[: asked.first], default=F(-math.inf))
    negative = max(alike[asked.first :], default=F(-math.inf))
    return half(positive) if positive > negative else F(0) - half(negative)


def linear(alike, asked):
    total = F(0)
    for weight, one in zip(asked.weights, alike, strict=True):
        total = total + weight * one
    return total


def discover(alike, asked):
    total = F(0)
    for positive, negative in zip(alike[1::2], alike[2::2], strict=True):
        total = total + np.sign(positive - negative)
    return total + half(alike[0])


def context(alike, asked):
    total = F(0)
    for positive, negative in zip(alike[::2], alike[1::2], strict=True):
        total = total + soft(min(positive - negative - F(EPSILON), F(0)))
    return total


PLAIN = {BEST: best, LINEAR: linear, DISCOVER: discover, CONTEXT: context}


def plain(asked, apart):
    """float32[n]: the distances, from float32[examples, n] those to each example."""
    with np.errstate(all="ignore"):
        ratings = [PLAIN[asked.kind](F(0) - row, asked) for row in apart.T]
    return F(0) - np.array(ratings, F).reshape(-1)


def apart(code, asked, rows):
    every = np.arange(len(rows), dtype=np.uint32)
    return np.array([scan.distances(code, e, rows, 0, every) for e in asked.examples], F)


def rated(code, asked, rows, offsets=None):
    every = np.arange(len(rows)) if offsets is None else offsets
    return scan.distances(code | COMBINED, asked.form, rows, 0, np.asarray(every, np.uint32))


def ascending_ids(n):
    ids = np.zeros((n, 3), np.uint64)
    ids[:, 2] = np.arange(n)
    return ids


@given(
    code=codes,
    kind=st.sampled_from(sorted(RULES.values())),
    n=st.integers(0, 3 * STACK_FLOATS),
    dim=st.integers(1, 60),
    count=st.integers(1, 9),
    seed=seeds,
)
def test_every_rule_is_the_plain_loop_to_the_last_bit(code, kind, n, dim, count, seed):
    random = np.random.default_rng(seed)
    matrix = made_rows.made(code, max(n, 1), dim, random)
    one = asked(kind, lambda: matrix.ask(random)[0], count, random)
    rows = matrix.rows[:n]
    found = rated(code, one, rows)
    assert found.tobytes() == plain(one, apart(code, one, rows)).tobytes()


@given(
    code=st.builds(code_of, st.sampled_from(METRICS), st.sampled_from(made_rows.PLAIN)),
    kind=st.sampled_from(sorted(RULES.values())),
    counts=st.lists(st.integers(1, 6), min_size=1, max_size=STACK_FLOATS + 9),
    dim=st.integers(1, 30),
    seed=seeds,
)
def test_rows_and_examples_may_be_several_vectors(code, kind, counts, dim, seed):
    random = np.random.default_rng(seed)
    single = made_rows.made(code, sum(counts), dim, random)
    matrices = [made_rows.several(single, counts, questions) for questions in (1, 3, 2)]
    places = iter(random.integers(0, 3, 99).tolist())
    one = asked(kind, lambda: matrices[next(places)].ask(random)[0], 4, random)
    rows, code = matrices[0].rows, matrices[0].code
    wanted = plain(one, apart(code, one, rows))
    assert rated(code, one, rows).tobytes() == wanted.tobytes()


@given(
    metric=st.sampled_from(METRICS),
    kind=st.sampled_from(sorted(RULES.values())),
    n=st.integers(1, 150),
    k=st.integers(1, 200),
    part=st.sampled_from([0.02, 0.5, 0.98]),
    seed=seeds,
)
def test_scan_and_list_give_the_same_bits_and_the_best(metric, kind, n, k, part, seed):
    random = np.random.default_rng(seed)
    matrix = made_rows.made(metric, n, 20, random)
    one = asked(kind, lambda: matrix.ask(random)[0], 3, random)
    ids, members = ascending_ids(n), np.flatnonzero(random.random(n) < part).astype(np.uint32)
    found = rated(metric, one, matrix.rows)
    everything, filtered, listed = scan.TopK(k), scan.TopK(k), scan.TopK(k)
    allowed = bits.from_offsets(n, members)
    code = metric | COMBINED
    scan.scan(code, one.form, matrix.rows, n, 0, None, ids, everything)
    scan.scan(code, one.form, matrix.rows, n, 0, allowed, ids, filtered)
    scan.scan_list(code, one.form, matrix.rows, 0, members, ids, listed)
    every = np.arange(n, dtype=np.uint32)
    for top, among in ((everything, every), (filtered, members), (listed, members)):
        offsets, distances = top.finish()
        order = among[np.lexsort((among, found[among]))][:k]
        assert offsets.tolist() == order.tolist()
        assert distances.tobytes() == found[order].tobytes()
    places = random.integers(0, n, 2 * STACK_FLOATS)
    assert rated(metric, one, matrix.rows, places).tobytes() == found[places].tobytes()


# -- through graphs

N, DIM = 1500, 16


def clustered(n, seed):
    random = np.random.default_rng(seed)
    centres = np.random.default_rng(99).standard_normal((12, DIM)) * 2
    rows = centres[random.integers(0, 12, n)] + random.standard_normal((n, DIM))
    return rows.astype(F)


@pytest.fixture(scope="module", params=["cosine", "dot", "euclid", "manhattan"])
def graph(request):
    metric = {"cosine": COSINE, "dot": DOT, "euclid": EUCLID, "manhattan": MANHATTAN}[request.param]
    rows = clustered(N, 1)
    if metric == COSINE:
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    builder = hnsw.Builder(metric, rows, N, 16, 100, None, 0)
    while builder.step(1 << 30) < N:
        pass
    return builder.graph(), rows


@pytest.mark.parametrize("name", RULES)
def test_a_walk_gives_the_bits_of_a_scan_and_nearly_all_that_it_finds(graph, name):
    walked, rows = graph
    random = np.random.default_rng(3)
    code, ids = walked.metric | COMBINED, ascending_ids(N)
    examples = iter(clustered(500, 2))
    right = 0
    for _ in range(15):
        one = asked(RULES[name], lambda: next(examples), 4, random)
        found = rated(walked.metric, one, rows)
        allowed = random.random(N) < 0.5
        for mask in (None, allowed):
            chosen = np.flatnonzero(np.ones(N, bool) if mask is None else mask).astype(np.uint32)
            bitset = None if mask is None else bits.from_offsets(N, chosen)
            offsets, distances, complete = hnsw.search(
                walked, code, rows, one.form, 200, 10, bitset, ids
            )
            assert complete
            assert len(offsets) == 10
            assert distances.tobytes() == found[offsets].tobytes()
            assert np.isin(offsets, chosen).all()
            right += int((distances <= np.sort(found[chosen])[9]).sum())
    is_metric = walked.metric in (EUCLID, MANHATTAN, COSINE)
    assert right >= (0.9 if is_metric else 0.8) * 15 * 2 * 10


# -- by hand


def by_hand(metric, rows, kind, examples, **more):
    block = np.zeros((len(rows), 16), F)
    block[:, : len(rows[0])] = rows
    forms = []
    for example in examples:
        forms.append(np.zeros(16, F))
        forms[-1][: len(example)] = example
    one = Asked(kind, forms, **more)
    return (-rated(metric, one, block)).tolist()


def test_best_scores_by_hand():
    """With dot products of 3, -1 and 0."""
    rows = [[3.0], [-1.0], [0.0]]
    likes, dislikes = [[1.0]], [[-1.0]]
    assert by_hand(DOT, rows, BEST, likes, first=1) == [0.875, 0.25, 0.5]
    assert by_hand(DOT, rows, BEST, likes, first=0) == [-0.875, -0.25, -0.5]
    # 0 is as like the one as the other: which counts against it
    assert by_hand(DOT, rows, BEST, likes + dislikes, first=1) == [0.875, -0.75, -0.5]


def test_sums_by_hand():
    weights = np.array([1.0, -2.0], F)
    rows = [[0.0], [3.0]]
    assert by_hand(EUCLID, rows, LINEAR, [[1.0], [4.0]], weights=weights) == [31.0, -2.0]
    assert by_hand(MANHATTAN, rows, LINEAR, [[1.0], [4.0]], weights=weights) == [7.0, 0.0]


def test_discovery_by_hand():
    rows = [[0.0], [3.0], [2.0]]
    target, pair = [0.0], [[0.0], [4.0]]
    sixth = half(F(-2.0))
    assert by_hand(MANHATTAN, rows, DISCOVER, [target]) == [0.5, 0.125, sixth]
    assert by_hand(MANHATTAN, rows, DISCOVER, [target, *pair]) == [1.5, -0.875, sixth]
    assert by_hand(MANHATTAN, rows, DISCOVER, [target, *pair, *pair[::-1]]) == [
        0.5, 0.125, sixth,
    ]  # fmt: skip


def test_contexts_by_hand():
    rows = [[0.0], [3.0], [2.0]]
    pair = [[0.0], [4.0]]
    worse = F(-2.0) - F(EPSILON)
    tie = soft(F(-EPSILON))
    assert by_hand(MANHATTAN, rows, CONTEXT, pair) == [0.0, soft(worse), tie]
    twice = by_hand(MANHATTAN, rows, CONTEXT, pair * 2)
    assert twice == [0.0, soft(worse) + soft(worse), tie + tie]


@pytest.mark.parametrize("kind", RULES.values())
def test_no_distance_is_minus_zero(kind):
    zeros = [[0.0]] * (3 if kind == DISCOVER else 2)
    block, forms = np.zeros((70, 16), F), [np.zeros(16, F) for _ in zeros]
    one = Asked(kind, forms, 1, np.array([1.0, -1.0], F))
    found = rated(DOT, one, block)
    assert not np.signbit(found[found == 0]).any()


def test_what_is_infinitely_far_comes_last_or_first_and_breaks_nothing():
    block = np.zeros((3, 16), F)
    block[1, 0], block[2, 0] = 1e30, -1e30
    like = np.zeros(16, F)
    like[0] = 1e30
    found = -rated(DOT, Asked(LINEAR, [like], weights=np.ones(1, F)), block)
    assert found.tolist() == [0.0, math.inf, -math.inf]


def test_scores_are_the_ratings():
    found = np.array([-1.5, 0.0, 2.0], F)
    for code in (COSINE, DOT, EUCLID, MANHATTAN):
        scores = distance.to_score(code | COMBINED, found)
        assert scores.tolist() == [1.5, 0.0, -2.0]


def test_a_code_knows_its_examples():
    for code in (code_of(EUCLID), code_of(DOT, multi=True)):
        assert encodings.is_combined(code | COMBINED)
        assert not encodings.is_combined(code)
        assert encodings.one_example(code | COMBINED) == code
        assert encodings.is_known(code | COMBINED)
        assert not encodings.is_known(code | COMBINED << 1)
