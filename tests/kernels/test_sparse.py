"""Sparse vectors against plain Python: every way of scoring gives the same bits, in one order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_kernels import bits, sparse, sparse_index, sparse_search
from edge_kernels.sparse import Query, Rows
from edge_kernels.sparse_index import Index, IndexBuilder, build_index, check_index
from edge_kernels.sparse_search import search_index
from edge_kernels.topk import TopK

Vector = dict[int, np.float32]
Found = list[tuple[int, bytes]]  # offsets, and the bits of their distances

DIMS = [0, 1, 2, 3, 65_535, 65_536, 65_537, 131_073, 2**31, 2**32 - 65_536, 2**32 - 1]
"""Some of them alike in their low bits, by which a query's indices are marked."""


# --- the model -------------------------------------------------------------------------------


def score_of(query: Vector, row: Vector) -> np.float32 | None:
    """The sum over shared dimensions, ascending, each step in float32; None if none is shared."""
    score = None
    with np.errstate(all="ignore"):
        for dim in sorted(query.keys() & row.keys()):
            part = np.float32(query[dim] * row[dim])
            score = part if score is None else np.float32(score + part)
    return None if score is None or np.isnan(score) else score


def best(query: Vector, rows: list[Vector], members: set[int], ids: np.ndarray, k: int) -> Found:
    scores = {row: score_of(query, rows[row]) for row in sorted(members)}
    ranked = sorted(
        (-score, *ids[row].tolist(), row) for row, score in scores.items() if score is not None
    )
    return [(row, bits_of(-distance)) for distance, *_, row in ranked[:k]]


def bits_of(score: float) -> bytes:
    """The bits of the distance; a score of 0 has only one."""
    return np.float32(-(score + 0.0)).tobytes()


def found_by(top: TopK) -> Found:
    offsets, distances = top.finish()
    return [(int(row), one.tobytes()) for row, one in zip(offsets, distances, strict=True)]


def laid_out(vectors: list[Vector], dtype: type[np.floating] = np.float32) -> Rows:
    starts = np.zeros(len(vectors) + 1, np.int64)
    starts[1:] = np.cumsum([len(each) for each in vectors])
    ordered = [(dim, each[dim]) for each in vectors for dim in sorted(each)]
    return Rows(
        starts,
        np.array([dim for dim, _ in ordered], np.uint32),
        np.array([value for _, value in ordered], dtype),
    )


def as_query(vector: Vector) -> Query:
    return Query(*laid_out([vector])[1:])


# --- cases -----------------------------------------------------------------------------------

STYLES: dict[str, Callable[[np.random.Generator, int], np.ndarray]] = {
    "ties": lambda random, n: random.integers(-2, 3, n) / 2,
    "positive": lambda random, n: random.lognormal(0, 0.5, n),
    "real": lambda random, n: random.standard_normal(n),
    "far apart": lambda random, n: random.standard_normal(n) * 10.0 ** random.integers(-44, 39, n),
}


class Case(NamedTuple):
    rows: list[Vector]
    query: Vector
    members: set[int]
    ids: np.ndarray
    k: int
    dtype: type[np.floating] = np.float32
    """What the values of the rows are held as, which changes none of them."""

    def laid_out(self, part: slice = slice(None)) -> Rows:
        return laid_out(self.rows[part], self.dtype)


def vectors(random: np.random.Generator, n: int, dims: int, style: str) -> list[Vector]:
    """Some dimensions are in most rows, others in few; some rows have none."""
    pool = np.concatenate([np.array(DIMS), random.integers(0, 2**32, max(0, dims - len(DIMS)))])
    pool = np.unique(pool[:dims])
    share = random.random(len(pool)) ** 2
    made: list[Vector] = []
    for _ in range(n):
        has = pool[random.random(len(pool)) < share * random.integers(0, 2)]
        with np.errstate(all="ignore"):
            values = STYLES[style](random, len(has)).astype(np.float32)
        values[~np.isfinite(values)] = 3e38
        made.append(dict(zip(has.tolist(), values, strict=True)))
    return made


def ids_in_disorder(random: np.random.Generator, n: int) -> np.ndarray:
    ids = np.zeros((n, 3), np.uint64)
    ids[:, 0] = random.integers(0, 2, n)
    ids[:, 2] = random.permutation(n)
    return ids


@st.composite
def cases(draw: st.DrawFn) -> Case:
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    n, dims = draw(st.integers(0, 400)), draw(st.integers(1, 40))
    styles = st.sampled_from(sorted(STYLES))
    rows = vectors(random, n, dims, draw(styles))
    dtype = draw(st.sampled_from(sparse.VALUE_TYPES))
    if dtype is np.float16:
        rows = [{dim: nearest_half(value) for dim, value in row.items()} for row in rows]
    one, other = vectors(random, 2, dims, draw(styles))
    part = draw(st.sampled_from([0.0, 0.05, 0.5, 0.95]))
    members = set(np.flatnonzero(random.random(n) < part).tolist())
    ids, k = ids_in_disorder(random, n), draw(st.integers(0, 30))
    return Case(rows, one | other, members, ids, k, dtype)


def nearest_half(value: np.float32) -> np.float32:
    return np.float32(np.float16(np.clip(value, -65504, 65504)))


@contextmanager
def pace(first: int, window: int, spared: int) -> Iterator[None]:
    """Windows and columns as large sets have them, for small sets."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sparse_search, "FIRST_WINDOW", first)
        patch.setattr(sparse_search, "WINDOW", window)
        patch.setattr(sparse_search, "SPARED", spared)
        patch.setattr(sparse_index, "COLUMN_ROWS", 4)
        yield


def searched(case: Case, index: Index, allowed: np.ndarray | None, rows: Rows | None) -> Found:
    top = TopK(case.k)
    search_index(as_query(case.query), index, allowed, case.ids, top, rows)
    return found_by(top)


# --- every way -------------------------------------------------------------------------------


@settings(deadline=None)  # the first call compiles
@given(cases(), st.integers(1, 200))
def test_rows_and_lists_are_the_model(case: Case, chunk: int) -> None:
    n, query, ids = len(case.rows), as_query(case.query), case.ids
    allowed = bits.from_offsets(n, np.array(sorted(case.members), np.uint32))
    every, filtered, listed = TopK(case.k), TopK(case.k), TopK(case.k)
    for base in range(0, n, chunk):
        piece = case.laid_out(slice(base, base + chunk))
        count = len(piece.starts) - 1
        inside = sorted(row for row in case.members if base <= row < base + count)
        sparse.score_rows(query, piece, base, count, None, ids, every)
        sparse.score_rows(query, piece, base, count, allowed, ids, filtered)
        sparse.score_list(query, piece, base, np.array(inside, np.uint32), ids, listed)
    wanted = best(case.query, case.rows, case.members, ids, case.k)
    assert found_by(filtered) == wanted
    assert found_by(listed) == wanted
    assert found_by(every) == best(case.query, case.rows, {*range(n)}, ids, case.k)
    assert not sparse.marks.words.any()


@settings(deadline=None)  # the first call compiles
@given(cases(), st.integers(0, 2**32 - 1))
def test_products_are_the_scores_of_the_model(case: Case, seed: int) -> None:
    n = len(case.rows)
    order = np.random.default_rng(seed).permutation(n).astype(np.uint32)
    found = sparse.products(as_query(case.query), case.laid_out(), order)
    for row, got in zip(order.tolist(), found, strict=True):
        if case.query.keys().isdisjoint(case.rows[row]):
            assert got.tobytes() == np.float32(0).tobytes()
        elif (score := score_of(case.query, case.rows[row])) is None:
            assert np.isnan(got)
        else:
            assert got.tobytes() == np.float32(score + np.float32(0)).tobytes()
    assert not sparse.marks.words.any()
    with pytest.raises(IndexError):
        sparse.products(as_query(case.query), case.laid_out(), np.array([n], np.uint32))


@settings(deadline=None)  # the first call compiles
@given(cases(), st.sampled_from([(64, 128, 1), (64, 64, 40), (4096, 16384, 1 << 16)]))
def test_the_index_gives_what_the_model_does(case: Case, pages: tuple[int, int, int]) -> None:
    n, rows = len(case.rows), case.laid_out()
    allowed = bits.from_offsets(n, np.array(sorted(case.members), np.uint32))
    everything = best(case.query, case.rows, {*range(n)}, case.ids, case.k)
    filtered = best(case.query, case.rows, case.members, case.ids, case.k)
    with pace(*pages):
        index = build_index(rows)
        for given_rows in (None, rows):
            assert searched(case, index, None, given_rows) == everything
            assert searched(case, index, allowed, given_rows) == filtered
    assert not sparse.marks.words.any()
    assert (sparse_search._scratch._scores.view(np.uint32) == 1 << 31).all()


@settings(deadline=None)  # the first call compiles
@given(cases())
def test_an_index_and_a_tail_fill_one_top(case: Case) -> None:
    n, top = len(case.rows), TopK(case.k)
    cut = n // 2
    with pace(64, 64, 1):
        tail, built = case.laid_out(slice(cut, None)), case.laid_out(slice(cut))
        query = as_query(case.query)
        sparse.score_rows(query, tail, cut, n - cut, None, case.ids, top)
        search_index(query, build_index(built), None, case.ids, top, built)
    assert found_by(top) == best(case.query, case.rows, {*range(n)}, case.ids, case.k)


def frequent_and_rare(random: np.random.Generator, n: int) -> list[Vector]:
    """Dimension d in a part of 1 / (d + 1) of the rows, at values that fall with frequency."""
    has = random.random((n, 30)) < 1 / np.arange(1, 31)
    values = random.random((n, 30)) * np.arange(1, 31)
    return [
        {int(dim): np.float32(line[dim]) for dim in np.flatnonzero(mine)}
        for mine, line in zip(has, values, strict=True)
    ]


@pytest.mark.parametrize("equal", [1, 4, 300])
@pytest.mark.parametrize("weights", ["positive", "some negative", "one"])
@pytest.mark.parametrize("share", [0.02, 0.5, 1.0])
@pytest.mark.parametrize("dtype", sparse.VALUE_TYPES)
def test_what_is_spared_changes_nothing(
    equal: int, weights: str, share: float, dtype: type[np.floating]
) -> None:
    """So many rows are equal to each other, so that ties are decided at every limit."""
    random = np.random.default_rng(equal)
    vectors = frequent_and_rare(random, 1500 // equal) * equal
    n = len(vectors)
    rows, ids = laid_out(vectors, dtype), ids_in_disorder(random, n)
    members = np.flatnonzero(random.random(n) < share).astype(np.uint32)
    allowed = bits.from_offsets(n, members)
    with pace(128, 256, 1):
        index = build_index(rows)
        for k in (1, 10, 100):
            drawn = random.random(30).astype(np.float32)
            drawn = np.ones(30, np.float32) if weights == "one" else drawn
            drawn[::7] *= -1 if weights == "some negative" else 1
            drawn[0] *= 50 if weights == "some negative" else 1
            query = Query(np.arange(30, dtype=np.uint32), drawn)
            one_by_one, sparing = TopK(k), TopK(k)
            sparse.score_rows(query, rows, 0, n, allowed, ids, one_by_one)
            search_index(query, index, allowed, ids, sparing, rows)
            assert found_by(sparing) == found_by(one_by_one)


@pytest.mark.parametrize("spread", [0.0, 1e-7, 1e-3])
@pytest.mark.parametrize("scale", [1.0, 1e-42, 1e38])
def test_nothing_is_spared_where_rounding_decides(spread: float, scale: float) -> None:
    """All rows are the same or almost so: what all dimensions can give is what each row has.

    Denormal numbers are rounded more roughly than others, and sums that overflow are all equal.
    """
    random = np.random.default_rng(11)
    base = random.random(25) + 0.1
    vectors: list[Vector] = [
        {dim: np.float32(value * (1 + spread * random.random())) for dim, value in enumerate(base)}
        for _ in range(600)
    ]
    rows, ids = laid_out(vectors), ids_in_disorder(random, 600)
    with pace(64, 64, 1):
        index = build_index(rows)
        for _ in range(10):
            drawn = (random.random(25) * scale).astype(np.float32)
            query: Vector = dict(enumerate(drawn))
            wanted = best(query, vectors, {*range(600)}, ids, 5)
            assert searched(Case(vectors, query, set(), ids, 5), index, None, rows) == wanted


def test_few_rows_are_scored_where_much_can_be_spared() -> None:
    """The rows themselves are looked at, and only a few of them: the others are hidden here."""
    random = np.random.default_rng(4)
    vectors = frequent_and_rare(random, 3000)
    rows, ids = laid_out(vectors), ids_in_disorder(random, 3000)
    query = {dim: np.float32(1) for dim in range(0, 30, 2)}
    case = Case(vectors, query, set(), ids, 5)
    wanted = best(query, vectors, {*range(3000)}, ids, 5)
    with pace(256, 256, 1):
        index = build_index(rows)
        hidden = Rows(rows.starts, rows.indices, np.zeros_like(rows.values))
        assert searched(case, index, None, rows) == wanted
        assert searched(case, index, None, None) == wanted
        assert searched(case, index, None, hidden) != wanted
        shown = hidden.values
        for row in np.argsort([-(score_of(query, one) or 0) for one in vectors])[:300]:
            part = slice(rows.starts[row], rows.starts[row + 1])
            shown[part] = rows.values[part]
        assert searched(case, index, None, hidden) == wanted


def test_a_query_of_many_dimensions() -> None:
    random = np.random.default_rng(5)
    for dims in (900, 1500):
        wide = [{int(dim): np.float32(random.random()) for dim in range(dims)}]
        vectors = [
            {int(dim): np.float32(random.random()) for dim in random.choice(dims, 20)}
            for _ in range(300)
        ]
        rows, ids = laid_out(vectors), ids_in_disorder(random, 300)
        with pace(64, 64, 1):
            case = Case(vectors, wide[0], set(), ids, 7)
            found = searched(case, build_index(rows), None, rows)
        assert found == best(wide[0], vectors, {*range(300)}, ids, 7)


def test_threads_do_not_share_their_scratch() -> None:
    random = np.random.default_rng(6)
    vectors = frequent_and_rare(random, 2000)
    rows, ids = laid_out(vectors), ids_in_disorder(random, 2000)
    queries = [{int(dim): np.float32(1) for dim in random.choice(30, 5)} for _ in range(20)]
    cases = [Case(vectors, query, set(), ids, 8) for query in queries]
    with pace(64, 256, 1):
        index = build_index(rows)
        alone = [searched(case, index, None, rows) for case in cases]
        with ThreadPoolExecutor(4) as pool:
            together = list(pool.map(lambda case: searched(case, index, None, rows), cases * 10))
    assert together == alone * 10


def test_ties_among_few_postings() -> None:
    one = np.float32(1)
    vectors: list[Vector] = [{1: one} if row % 40 == 0 else {} for row in range(4000)]
    rows, ids = laid_out(vectors), ids_in_disorder(np.random.default_rng(12), 4000)
    case = Case(vectors, {1: one}, set(), ids, 7)
    wanted = best(case.query, vectors, {*range(4000)}, ids, 7)
    assert searched(case, build_index(rows), None, rows) == wanted


def test_scores_of_nothing_zero_and_less() -> None:
    """Who shares a dimension is a result, however low its score; others are none."""
    one, zero = np.float32(1), np.float32(0)
    vectors: list[Vector] = [{}, {1: -one}, {1: zero}, {1: -zero}, {2: one}, {1: one, 3: -one}]
    ids = ids_in_disorder(np.random.default_rng(7), 6)
    rows = laid_out(vectors)
    index = build_index(rows)
    for weight in (one, -one, zero, -zero, np.float32(1e-45)):
        query = {1: weight, 3: weight}
        case = Case(vectors, query, set(), ids, 9)
        wanted = best(query, vectors, {*range(6)}, ids, 9)
        top = TopK(9)
        sparse.score_rows(as_query(query), rows, 0, 6, None, ids, top)
        assert {row for row, _ in wanted} == {1, 2, 3, 5}
        assert found_by(top) == searched(case, index, None, rows) == wanted


def test_sums_that_overflow_are_results_and_those_that_are_no_number_are_none() -> None:
    large = np.float32(3e38)
    vectors: list[Vector] = [{1: large, 2: large}, {1: large, 2: large, 3: -large}]
    ids = ids_in_disorder(np.random.default_rng(8), 2)
    query = dict.fromkeys((1, 2, 3), large)
    rows = laid_out(vectors)
    wanted = best(query, vectors, {0, 1}, ids, 3)
    assert wanted == [(0, np.float32(-np.inf).tobytes())]
    top = TopK(3)
    sparse.score_rows(as_query(query), rows, 0, 2, None, ids, top)
    assert found_by(top) == wanted
    with pace(64, 64, 1):
        assert (
            searched(Case(vectors, query, set(), ids, 3), build_index(rows), None, rows) == wanted
        )


def test_nothing_at_all() -> None:
    no_ids = np.zeros((0, 3), np.uint64)
    some = [{1: np.float32(1)}, {}]
    ids = ids_in_disorder(np.random.default_rng(9), 2)
    for vectors, query in (([], {}), ([], {1: np.float32(1)}), (some, {}), ([{}, {}], {})):
        case = Case(vectors, query, set(), ids if vectors else no_ids, 4)
        rows = laid_out(vectors)
        index = build_index(rows)
        assert searched(case, index, None, rows) == []
        top = TopK(4)
        sparse.score_rows(as_query(query), rows, 0, len(vectors), None, case.ids, top)
        sparse.score_list(as_query(query), rows, 0, np.empty(0, np.uint32), case.ids, top)
        assert found_by(top) == []
        wanted = np.array([1], np.uint32)
        assert sparse_index.count_rows(index, wanted[:0], None).tolist() == []
        count = sum(1 in each for each in vectors)
        assert sparse_index.count_rows(index, wanted, None).tolist() == [count]


# --- counts ----------------------------------------------------------------------------------


@settings(deadline=None)  # the first call compiles
@given(cases(), st.integers(0, 200))
def test_counts_are_those_of_the_model(case: Case, base: int) -> None:
    n, rows = len(case.rows), case.laid_out()
    index = build_index(rows)
    indices = np.array(sorted({*case.query, 7, 2**32 - 7}), np.uint32)
    allowed = bits.from_offsets(n, np.array(sorted(case.members), np.uint32))
    moved = bits.from_offsets(
        base + n, np.array([base + row for row in sorted(case.members)], np.uint32)
    )

    def counted(members: set[int]) -> list[int]:
        return [sum(dim in case.rows[row] for row in members) for dim in indices.tolist()]

    everything, filtered = counted({*range(n)}), counted(case.members)
    for given_rows in (None, rows):
        found = sparse_index.count_rows(index, indices, None, given_rows)
        assert found.dtype == np.int64
        assert found.tolist() == everything
        assert sparse_index.count_rows(index, indices, allowed, given_rows).tolist() == filtered
    assert sparse.count_rows_forward(indices, rows, base, n, None).tolist() == everything
    assert sparse.count_rows_forward(indices, rows, base, n, moved).tolist() == filtered
    others = sparse.count_others(indices, rows, allowed).tolist()
    assert others == counted({*range(n)} - case.members)


def test_few_rows_that_are_not_allowed_are_counted_in_the_rows() -> None:
    """Other rows than those of the index make it visible."""
    vectors: list[Vector] = [{1: np.float32(1)} for _ in range(200)]
    index, wanted = build_index(laid_out(vectors)), np.array([1], np.uint32)
    without = laid_out([{} for _ in range(200)])
    allowed = bits.ones(200)
    allowed[0] &= ~np.uint64(1)
    assert sparse_index.count_rows(index, wanted, allowed).tolist() == [199]
    assert sparse_index.count_rows(index, wanted, allowed, without).tolist() == [200]


# --- what is refused -------------------------------------------------------------------------


def test_what_does_not_fit_is_refused_and_changes_nothing() -> None:
    one = np.float32(1)
    rows, query = laid_out([{1: one}] * 10), Query(np.array([1], np.uint32), np.ones(1, np.float32))
    uneven = Query(query.indices, np.ones(2, np.float32))
    index, ids, top = build_index(rows), np.zeros((30, 3), np.uint64), TopK(5)
    no_words, wanted = bits.zeros(0), np.array([1], np.uint32)
    for offset in (4, 15, 2**32 - 1):
        with pytest.raises(IndexError):
            sparse.score_list(query, rows, 5, np.array([7, offset], np.uint32), ids, top)
    with pytest.raises(IndexError):
        sparse.score_list(query, rows, 25, np.array([30], np.uint32), ids, top)
    refused: list[tuple[str, Callable[[], object]]] = [
        ("rows asked", lambda: sparse.score_rows(query, rows, 0, 11, None, ids, top)),
        ("ids", lambda: sparse.score_rows(query, rows, 21, 10, None, ids, top)),
        ("words", lambda: sparse.score_rows(query, rows, 0, 10, no_words, ids, top)),
        ("values", lambda: sparse.score_rows(uneven, rows, 0, 10, None, ids, top)),
        ("values", lambda: sparse.score_list(uneven, rows, 0, wanted, ids, top)),
        ("values", lambda: search_index(uneven, index, None, ids, top)),
        ("words", lambda: search_index(query, index, no_words, ids, top)),
        ("ids", lambda: search_index(query, index, None, ids[:9], top)),
        ("rows", lambda: search_index(query, index, None, ids, top, laid_out([]))),
        ("words", lambda: sparse_index.count_rows(index, wanted, no_words)),
        ("words", lambda: sparse.count_others(wanted, rows, no_words)),
        ("words", lambda: sparse.count_rows_forward(wanted, rows, 0, 10, no_words)),
        ("rows asked", lambda: sparse.count_rows_forward(wanted, rows, 0, 11, None)),
    ]
    for message, refuse in refused:
        with pytest.raises(ValueError, match=message):
            refuse()
    assert top.size == 0


# --- the index as arrays ---------------------------------------------------------------------


@settings(deadline=None)  # the first call compiles
@given(cases(), st.integers(1, 500))
def test_an_index_is_the_rows_turned_about(case: Case, step: int) -> None:
    rows = case.laid_out()
    builder = IndexBuilder(rows)
    while builder.done < builder.total:
        before = builder.done
        assert before < builder.step(step) == builder.done
    index = builder.index()
    inverted: dict[int, dict[int, np.float32]] = {}
    for row, vector in enumerate(case.rows):
        for dim, value in vector.items():
            inverted.setdefault(dim, {})[row] = value
    turned = [inverted[dim] for dim in sorted(inverted)]
    starts, indices, values = laid_out(turned, case.dtype)
    assert [one.dtype for one in index.arrays()] == [np.uint32, np.int64, np.uint32, case.dtype]
    assert index.dims.tolist() == sorted(inverted)
    assert index.starts.tolist() == starts.tolist()
    assert index.rows.tolist() == indices.tolist()
    assert index.values.tobytes() == values.tobytes()
    assert index.greatest.tolist() == [max(one.values()) for _, one in sorted(inverted.items())]
    assert index.least.tolist() == [min(one.values()) for _, one in sorted(inverted.items())]
    read = check_index(*index.arrays(), len(case.rows))
    for name in ("greatest", "least", "columns", "steps", "column_of"):
        assert getattr(read, name).tobytes() == getattr(index, name).tobytes()


@pytest.mark.parametrize(
    ("greatest", "dtype"),
    [
        *((size, np.float32) for size in (1e-29, 1e-3, 1.0, 2.2, 3e38)),
        *((size, np.float16) for size in (1e-6, 1.0, 65504)),
    ],
)
def test_a_column_is_never_below_its_values(greatest: float, dtype: type[np.floating]) -> None:
    random = np.random.default_rng(10)
    values = (random.random(3000) ** 3 * greatest).astype(dtype).astype(np.float32)
    values[:3] = np.array([greatest, 0, np.finfo(dtype).smallest_subnormal], dtype)
    vectors: list[Vector] = [{5: value} for value in values] + [{} for _ in range(1000)]
    with pace(64, 64, 1):
        index = build_index(laid_out(vectors, dtype))
    assert index.columns.shape == (1, 4000)
    bounds = index.columns[0].astype(np.float64) * float(index.steps[0])
    assert (bounds[:3000] >= values).all()
    assert (bounds[:3000] - values <= 1.001 * float(index.steps[0])).all()
    assert (bounds[3000:] == 0).all()


def test_columns_are_for_frequent_dimensions_without_negative_values() -> None:
    one = np.float32(1)
    tiny = np.float32(1e-40)
    vectors: list[Vector] = [{1: one, 2: -one, 3: tiny, 4: one} for _ in range(100)]
    vectors[0] = {4: -one, 5: one}
    with pace(64, 64, 1):
        index = build_index(laid_out(vectors))
    assert index.dims[index.column_of >= 0].tolist() == [1]
    assert build_index(laid_out(vectors)).columns.shape == (0, 100)


def test_an_index_that_is_not_finished_is_refused() -> None:
    builder = IndexBuilder(laid_out([{1: np.float32(1)}] * 3))
    for _ in range(builder.total):
        with pytest.raises(ValueError, match="only"):
            builder.index()
        builder.step(1)
    assert builder.index().rows.tolist() == [0, 1, 2]


def good_arrays() -> dict[str, np.ndarray]:
    vectors: list[Vector] = [{1: np.float32(1), 4: np.float32(2)}, {4: np.float32(3)}, {}]
    names = ("dims", "starts", "rows", "values")
    return {
        name: one.copy()
        for name, one in zip(names, build_index(laid_out(vectors)).arrays(), strict=True)
    }


@pytest.mark.parametrize(
    ("name", "damaged", "message"),
    [
        ("dims", np.array([1, 4], np.int64), "dims is int64"),
        ("dims", np.array([[1, 4]], np.uint32), "dims has 2"),
        ("dims", np.array([4, 4], np.uint32), "dims does not ascend"),
        ("dims", np.array([4, 1], np.uint32), "dims does not ascend"),
        ("dims", np.array([4], np.uint32), "1 dims and 3 starts"),
        ("starts", np.array([0, 1, 3], np.uint64), "starts is uint64"),
        ("starts", np.array([0, 3], np.int64), "2 dims and 2 starts"),
        ("starts", np.array([], np.int64), "2 dims and 0 starts"),
        ("starts", np.array([1, 1, 3], np.int64), "begin with 0"),
        ("starts", np.array([-1, 1, 3], np.int64), "begin with 0"),
        ("starts", np.array([0, 4, 3], np.int64), "falls"),
        ("starts", np.array([0, -4, 3], np.int64), "falls"),
        ("starts", np.array([0, 1, 2], np.int64), "ends at 2"),
        ("starts", np.array([0, 1, 2**40], np.int64), "ends at"),
        ("rows", np.array([0, 0, 1], np.int32), "rows is int32"),
        ("rows", np.array([0, 0], np.uint32), "2 numbers, but 3 values"),
        ("rows", np.array([0, 1, 1], np.uint32), "dimension 1 has a row"),
        ("rows", np.array([0, 1, 0], np.uint32), "dimension 1 has a row"),
        ("rows", np.array([0, 1, 3], np.uint32), "dimension 1 has a row"),
        ("rows", np.array([2**32 - 1, 0, 1], np.uint32), "dimension 0 has a row"),
        ("values", np.array([1, 2, 3], np.float64), "values is float64"),
        ("values", np.array([1, 2, 3], np.int16), "values is int16, not float32 or float16"),
        ("values", np.array([1, 2], np.float16), "3 numbers, but 2 values"),
        ("values", np.array([1, 2, np.nan], np.float16), "dimension 1 has a value"),
        ("values", np.array([np.inf, 2, 3], np.float16), "dimension 0 has a value"),
        ("values", np.array([1, 2, np.nan], np.float32), "dimension 1 has a value"),
        ("values", np.array([-np.inf, 2, 3], np.float32), "dimension 0 has a value"),
    ],
)
def test_damage_is_refused(name: str, damaged: np.ndarray, message: str) -> None:
    arrays = good_arrays()
    assert check_index(**arrays, n=3).n == 3
    with pytest.raises(ValueError, match=message):
        check_index(**arrays | {name: damaged}, n=3)


def test_an_index_of_more_rows_than_there_are_is_refused() -> None:
    arrays = good_arrays()
    assert check_index(**arrays, n=2).columns.shape == (0, 2)
    for n, message in ((1, "below 1"), (-1, "-1 rows"), (2**32, "rows")):
        with pytest.raises(ValueError, match=message):
            check_index(**arrays, n=n)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (Rows(np.array([0], np.int32), np.empty(0, np.uint32), np.empty(0, np.float32)), "int32"),
        (Rows(np.array([], np.int64), np.empty(0, np.uint32), np.empty(0, np.float32)), "begin"),
        (
            Rows(np.array([0, 2]), np.array([1, 1], np.uint32), np.ones(2, np.float32)),
            "row 0 has an",
        ),
        (
            Rows(np.array([0, 0, 2]), np.array([2, 1], np.uint32), np.ones(2, np.float32)),
            "row 1 has",
        ),
        (Rows(np.array([0, 1]), np.array([1, 2], np.uint32), np.ones(2, np.float32)), "ends at 1"),
        (Rows(np.array([0, 2]), np.array([1, 2], np.uint32), np.ones(1, np.float32)), "1 values"),
        (
            Rows(np.array([0, 1]), np.array([1], np.uint32), np.array([np.inf], np.float32)),
            "row 0 has a value",
        ),
    ],
)
def test_damaged_rows_are_refused(rows: Rows, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sparse.check_rows(rows)


def test_sound_rows_are_taken_as_they_are() -> None:
    rows = laid_out([{0: np.float32(1), 2**32 - 1: np.float32(-2)}, {}, {5: np.float32(0)}])
    assert all(a is b for a, b in zip(sparse.check_rows(rows), rows, strict=True))
    apart = Rows(*(np.repeat(one, 2)[::2] for one in rows))
    for taken, one in zip(sparse.check_rows(apart), rows, strict=True):
        assert taken.flags.c_contiguous
        assert taken.tolist() == one.tolist()
