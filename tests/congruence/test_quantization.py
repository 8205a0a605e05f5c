"""Quantized searches find as much as qdrant_edge's at the same settings, and exact ones the same.

What is right is what a scan of the originals finds, which is the same in both. The deliberate
differences are tests of their own, at the end; each shows both behaviours.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
import qdrant_edge

from edge.errors import ValidationError
from edge.model.config import Durability, EdgeConfig, EdgeOptimizersConfig
from edge.model.filter import FieldCondition, Filter, MatchValue
from edge.model.point import Point
from edge.model.quantization import (
    BinaryQuantizationConfig,
    BinaryQuantizationEncoding,
    BinaryQuantizationQueryEncoding,
    CompressionRatio,
    ProductQuantizationConfig,
    QuantizationConfig,
    QuantizationSearchParams,
    ScalarQuantizationConfig,
    ScalarType,
    TurboQuantBitSize,
    TurboQuantQuantizationConfig,
)
from edge.model.query import AcornSearchParams, Query, SearchParams
from edge.model.request import QueryRequest
from edge.model.schema import PayloadSchemaType
from edge.model.update import UpdateOperation
from edge.model.vector_params import (
    Distance,
    EdgeVectorParams,
    HnswIndexConfig,
    MultiVectorComparator,
    MultiVectorConfig,
    VectorStorageDatatype,
)
from tests.congruence.engines import Pair, same_score, theirs

U = UpdateOperation
D = Distance
T = VectorStorageDatatype
Pairs = Callable[[EdgeConfig], Pair]
Q = QuantizationSearchParams

MARGIN = 0.06
"""Of all that is asked for, what chance (of a few hundred hits, and of what is learnt) may cost."""

POINTS, SIZE, LIMIT, ASKED = 1200, 96, 10, 30
EXACT = SearchParams(exact=True)
MAX_SIM = MultiVectorConfig(MultiVectorComparator.MaxSim)
EAGER = EdgeOptimizersConfig(
    deleted_threshold=0.1,
    vacuum_min_vector_number=8,
    default_segment_number=1,
    indexing_threshold=1,
)
SCAN = HnswIndexConfig(m=0, ef_construct=16, full_scan_threshold=1)
GRAPH = HnswIndexConfig(m=16, ef_construct=64, full_scan_threshold=1)

SCALAR = ScalarQuantizationConfig(ScalarType.Int8)
X8, X16 = (
    ProductQuantizationConfig(ratio) for ratio in (CompressionRatio.X8, CompressionRatio.X16)
)
ONE_BIT = BinaryQuantizationConfig()
BITS = {
    1: TurboQuantBitSize.Bits1,
    1.5: TurboQuantBitSize.Bits1_5,
    2: TurboQuantBitSize.Bits2,
    4: TurboQuantBitSize.Bits4,
    8: TurboQuantBitSize.Bits8,
}


def turbo(bits: float) -> QuantizationConfig:
    return TurboQuantQuantizationConfig(bits=BITS[bits])


def binary(encoding: str, query: str | None = None) -> QuantizationConfig:
    return BinaryQuantizationConfig(
        encoding=BinaryQuantizationEncoding[encoding],
        query_encoding=query and BinaryQuantizationQueryEncoding[query],
    )


FORMS: dict[str, EdgeVectorParams] = {
    **{
        f"{name} {distance.name}": EdgeVectorParams(SIZE, distance, quantization_config=kind)
        for name, kind in {"scalar": SCALAR, "one bit": ONE_BIT, "turbo 4": turbo(4)}.items()
        for distance in D
    },
    **{
        name: EdgeVectorParams(SIZE, distance, quantization_config=kind)
        for name, (distance, kind) in {
            "scalar of all": (D.Dot, ScalarQuantizationConfig(ScalarType.Int8, quantile=1.0)),
            "scalar of most": (D.Dot, ScalarQuantizationConfig(ScalarType.Int8, quantile=0.9)),
            "x8 Cosine": (D.Cosine, X8),
            "x8 Manhattan": (D.Manhattan, X8),
            "x16 Euclid": (D.Euclid, X16),
            "x16 Dot": (D.Dot, X16),
            "two bits": (D.Cosine, binary("TwoBits")),
            "one and a half": (D.Euclid, binary("OneAndHalfBits")),
            "by bits": (D.Cosine, binary("OneBit", "Binary")),
            "by 4 bits": (D.Euclid, binary("OneBit", "Scalar4Bits")),
            "by 8 bits": (D.Dot, binary("TwoBits", "Scalar8Bits")),
            "turbo 1": (D.Dot, turbo(1)),
            "turbo 1.5": (D.Euclid, turbo(1.5)),
            "turbo 2": (D.Cosine, turbo(2)),
            "turbo 8": (D.Manhattan, turbo(8)),
        }.items()
    },
}


class Data(NamedTuple):
    """Clusters, off the middle; questions from among them."""

    rows: np.ndarray
    asked: np.ndarray


def clusters(size: int, points: int = POINTS, seed: int = 1) -> Data:
    draw = np.random.default_rng(seed)
    middles = draw.normal(size=(30, size)) + 0.3
    picked = draw.integers(0, 30, points + ASKED)
    found = (middles[picked] + 0.6 * draw.normal(size=(len(picked), size))).astype(np.float32)
    return Data(found[:points], found[points:])


DATA = clusters(SIZE)
THIRD = Filter(must=[FieldCondition("n", match=MatchValue(1))])


def fill(pair: Pair, rows: Any, names: list[str], first: int = 0) -> None:
    pair.update(U.create_field_index("n", PayloadSchemaType.Integer))
    for start in range(0, len(rows), 400):
        points = [
            Point(first + i, dict.fromkeys(names, rows[i]), {"n": i % 3})
            for i in range(start, min(start + 400, len(rows)))
        ]
        pair.update(U.upsert_points(points))


@pytest.fixture(scope="module")
def built(pairs: Pairs) -> Pair:
    pair = pairs(EdgeConfig(FORMS, hnsw_config=SCAN, optimizers=EAGER, durability=Durability.Os))
    fill(pair, DATA.rows, list(FORMS))
    pair.optimize()
    return pair


def near(vector: Any, name: str, params: SearchParams | None = None, **more: Any) -> QueryRequest:
    return QueryRequest(LIMIT, query=Query.Nearest(vector, name), params=params, **more)


def ids(hits: list[Any]) -> set[Any]:
    return {hit.id for hit in hits}


def compare_shares(pair: Pair, name: str, asked: Any = DATA.asked, hnsw_ef: Any = None) -> None:
    """How much of what is right ours and theirs find: as found, with more candidates ranked anew,
    and among some."""
    for more, kinds in (
        ({}, (Q(rescore=False), Q(rescore=True, oversampling=2.0))),
        ({"filter": THIRD}, (None,)),
    ):
        right = [ids(pair.ours.query(near(vector, name, EXACT, **more))) for vector in asked]
        for quantization in kinds:
            params = SearchParams(hnsw_ef=hnsw_ef, quantization=quantization)
            ours = other = 0
            for vector, exact in zip(asked, right, strict=True):
                request = near(vector, name, params, **more)
                ours += len(exact & ids(pair.ours.query(request)))
                other += len(exact & ids(pair.theirs.query(theirs(request))))
            assert ours >= other - MARGIN * len(asked) * LIMIT, (quantization, ours, other)


@pytest.mark.parametrize("name", FORMS)
def test_as_much_is_found(built: Pair, name: str) -> None:
    compare_shares(built, name)


@pytest.mark.parametrize("name", FORMS)
def test_exact_searches_and_those_that_ignore_small_forms_are_the_same(
    built: Pair, name: str
) -> None:
    for place, vector in enumerate(DATA.asked[:6]):
        for params in (
            EXACT,
            SearchParams(exact=True, quantization=Q(rescore=False, oversampling=3.0)),
            SearchParams(quantization=Q(ignore=True)),
        ):
            filter = THIRD if place % 2 else None
            built.compare_query(near(vector, name, params, filter=filter, offset=place))


@pytest.mark.parametrize("name", FORMS)
def test_scores_of_what_is_ranked_anew_are_exact(built: Pair, name: str) -> None:
    params = SearchParams(quantization=Q(rescore=True, oversampling=4.0))
    for vector in DATA.asked[:6]:
        exact = QueryRequest(POINTS, query=Query.Nearest(vector, name), params=EXACT)
        right = {hit.id: hit.score for hit in built.ours.query(exact)}
        request = near(vector, name, params)
        hits = built.ours.query(request)
        assert all(right[hit.id] == hit.score for hit in hits)
        for hit in built.theirs.query(theirs(request)):
            assert same_score(right[hit.id], hit.score)
        middle = hits[5].score
        above = built.ours.query(near(vector, name, params, score_threshold=middle))
        assert above == [hit for hit in hits[:5] if hit.score != middle]
        longer = QueryRequest(LIMIT + 3, query=Query.Nearest(vector, name), params=params)
        page = near(vector, name, params, offset=3)
        assert built.ours.query(page) == built.ours.query(longer)[3:]


def test_what_is_read_back_is_the_original(built: Pair) -> None:
    built.compare_retrieve([0, 1, 77, POINTS - 1], True, True)
    request = near(DATA.asked[0], "turbo 4 Cosine", EXACT, with_vector=["one bit Dot", "by bits"])
    built.compare_query(request)


# -- graphs, changes, other vectors

GRAPHS = {
    "scalar": EdgeVectorParams(SIZE, D.Cosine, quantization_config=SCALAR),
    "one bit": EdgeVectorParams(SIZE, D.Dot, quantization_config=ONE_BIT),
    "turbo 4": EdgeVectorParams(SIZE, D.Euclid),
}


def test_graphs_over_small_forms_while_points_change(pairs: Pairs) -> None:
    """The quantization of the shard is that of each vector that has none of its own."""
    pair = pairs(
        EdgeConfig(
            GRAPHS,
            hnsw_config=GRAPH,
            quantization_config=turbo(4),
            optimizers=EAGER,
            durability=Durability.Os,
        )
    )
    names = list(GRAPHS)
    fill(pair, DATA.rows, names)
    pair.optimize()

    def compare() -> None:
        for name in names:
            compare_shares(pair, name, DATA.asked[:15], 128)
            for vector in DATA.asked[:4]:
                pair.compare_query(near(vector, name, EXACT))

    compare()
    more = clusters(SIZE, 300, seed=2).rows
    fill(pair, more, names, POINTS - 100)  # some are new, some are overwritten
    pair.update(U.delete_points(range(0, POINTS, 5)))
    pair.update(U.delete_vectors(range(1, POINTS, 5), ["one bit"]))
    for change in (pair.restart, pair.optimize, pair.restart):
        compare()
        change()
    compare()


TYPED: dict[str, tuple[EdgeVectorParams, bool]] = {
    f"{datatype.name} {name}": (
        EdgeVectorParams(32, distance, datatype=datatype, quantization_config=kind),
        datatype in (T.Float16, T.Uint8),
    )
    for datatype in (T.Float16, T.Uint8, T.Turbo8, T.Turbo16)
    for name, (distance, kind) in {
        "scalar": (D.Euclid, SCALAR),
        "x8": (D.Cosine, X8),
        "one bit": (D.Cosine, ONE_BIT),
        "turbo 4": (D.Dot, turbo(4)),
    }.items()
}


@pytest.fixture(scope="module")
def typed(pairs: Pairs) -> Pair:
    params = {name: params for name, (params, _) in TYPED.items()}
    pair = pairs(EdgeConfig(params, hnsw_config=SCAN, optimizers=EAGER, durability=Durability.Os))
    fill(pair, bytes_of(clusters(32)).rows, list(TYPED))
    pair.optimize()
    return pair


def bytes_of(data: Data) -> Data:
    """For Uint8, too, to hold."""
    return Data(*(np.clip(128 + 30 * part, 0, 255) for part in data))


@pytest.mark.parametrize("name", TYPED)
def test_small_datatypes_have_small_forms(typed: Pair, name: str) -> None:
    """Those whose numbers are the same in both are compared; all are searched."""
    asked = bytes_of(clusters(32)).asked
    if TYPED[name][1]:
        for vector in asked[:6]:
            typed.compare_query(near(vector, name, EXACT))
    compare_shares(typed, name, asked)


SEVERAL = {
    f"{name} {distance.name}": EdgeVectorParams(
        32, distance, multivector_config=MAX_SIM, quantization_config=kind
    )
    for name, kind in {"scalar": SCALAR, "x8": X8, "one bit": ONE_BIT, "turbo 4": turbo(4)}.items()
    for distance in (D.Cosine, D.Euclid)
}


@pytest.fixture(scope="module")
def several(pairs: Pairs) -> Pair:
    pair = pairs(EdgeConfig(SEVERAL, hnsw_config=SCAN, optimizers=EAGER, durability=Durability.Os))
    data = clusters(32)
    fill(pair, [data.rows[i : i + 1 + i % 3] for i in range(800)], list(SEVERAL))
    pair.optimize()
    return pair


@pytest.mark.parametrize("name", SEVERAL)
def test_multivectors_have_small_forms(several: Pair, name: str) -> None:
    data = clusters(32)
    asked = [data.asked[i : i + 2] for i in range(0, ASKED, 2)]
    for rows in asked[:6]:
        several.compare_query(near(rows, name, EXACT))
    compare_shares(several, name, asked)


# Deliberate differences.


@pytest.mark.parametrize("name", ["scalar Cosine", "x8 Cosine", "turbo 4 Cosine"])
def test_what_is_found_is_ranked_anew_unless_forbidden_where_qdrant_does_not_for_all_kinds(
    built: Pair, name: str
) -> None:
    """It ranks anew where codes have one or two bits, and gives the scores of codes elsewhere."""
    given = other = 0
    for vector in DATA.asked[:6]:
        exact = QueryRequest(POINTS, query=Query.Nearest(vector, name), params=EXACT)
        right = {hit.id: hit.score for hit in built.ours.query(exact)}
        for params in (None, SearchParams(quantization=Q(oversampling=2.0))):
            request = near(vector, name, params)
            assert all(hit.score == right[hit.id] for hit in built.ours.query(request))
            given += LIMIT
            other += sum(
                same_score(hit.score, right[hit.id]) for hit in built.theirs.query(theirs(request))
            )
    assert other < given / 4


def test_small_forms_are_of_what_is_optimized_where_qdrant_has_bits_at_once(pairs: Pairs) -> None:
    """Scalar and product codes are made by `optimize` in both."""
    names = ["scalar Dot", "one bit Dot", "turbo 4 Dot"]
    config = EdgeConfig(
        {name: FORMS[name] for name in names},
        hnsw_config=SCAN,
        optimizers=EAGER,
        durability=Durability.Os,
    )
    pair = pairs(config)
    fill(pair, DATA.rows[:200], names)
    raw = SearchParams(quantization=Q(rescore=False))
    vector = DATA.asked[0]
    for name, same in zip(names, (True, False, False), strict=True):
        exact = pair.ours.query(near(vector, name, EXACT))
        assert pair.ours.query(near(vector, name, raw)) == exact
        scores = [hit.score for hit in pair.theirs.query(theirs(near(vector, name, raw)))]
        expected = [hit.score for hit in exact]
        assert all(map(same_score, scores, expected)) == same
    pair.optimize()
    for name in names:
        exact = pair.ours.query(near(vector, name, EXACT))
        assert pair.ours.query(near(vector, name, raw)) != exact


@pytest.mark.parametrize("name", FORMS)
def test_raw_scores_are_in_the_scale_of_the_metric(built: Pair, name: str) -> None:
    """As near to the exact ones as the codes allow: by less than those vary."""
    errors, scores = [], []
    raw = SearchParams(quantization=Q(rescore=False))
    for vector in DATA.asked[:6]:
        query = Query.Nearest(vector, name)
        exact = built.ours.query(QueryRequest(POINTS, query=query, params=EXACT))
        right = {hit.id: hit.score for hit in exact}
        found = built.ours.query(QueryRequest(POINTS, query=query, params=raw))
        assert len(found) == len(right) == POINTS
        errors += [hit.score - right[hit.id] for hit in found]
        scores += list(right.values())
    kind = FORMS[name].quantization_config
    rough = isinstance(kind, BinaryQuantizationConfig) or name in ("turbo 1", "x16 Dot")
    assert np.std(errors) < np.std(scores) * (0.75 if rough else 0.35)
    assert abs(np.mean(errors)) < np.std(scores) / 4


def test_raw_scores_of_bits_are_no_distances_in_qdrant(built: Pair) -> None:
    """Cosine: how many more bits are equal than not; Euclid: the root of that, falling."""
    raw = SearchParams(quantization=Q(rescore=False))
    for name in ("one bit Cosine", "one bit Dot"):
        found = built.theirs.query(theirs(near(DATA.asked[0], name, raw)))
        assert all(hit.score == int(hit.score) and hit.score % 2 == 0 for hit in found)
    found = built.theirs.query(theirs(near(DATA.asked[0], "one bit Euclid", raw)))
    scores = [hit.score for hit in found]
    assert scores == sorted(scores, reverse=True)
    assert [
        hit.score for hit in built.ours.query(near(DATA.asked[0], "one bit Euclid", raw))
    ] != scores


NAN = float("nan")
REFUSED: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
    **{
        f"quantile {value}": (
            lambda value=value: ScalarQuantizationConfig(ScalarType.Int8, quantile=value),
            lambda value=value: qdrant_edge.ScalarQuantizationConfig(
                qdrant_edge.ScalarType.Int8, quantile=value
            ),
        )
        for value in (0.1, 0.0, -1.0, 1.5, NAN)
    },
    **{
        f"oversampling {value}": (
            lambda value=value: Q(oversampling=value),
            lambda value=value: qdrant_edge.QuantizationSearchParams(oversampling=value),
        )
        for value in (0.5, -1.0, NAN, math.inf)
    },
    **{
        f"max_selectivity {value}": (
            lambda value=value: AcornSearchParams(True, value),
            lambda value=value: qdrant_edge.AcornSearchParams(True, value),
        )
        for value in (2.0, -0.5, NAN)
    },
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_out_of_range_is_refused_where_qdrant_takes_it(name: str) -> None:
    """A quantile of NaN would make its `optimize` run for ever."""
    ours, other = REFUSED[name]
    with pytest.raises(ValidationError, match=name.split()[0]):
        ours()
    assert other() is not None
