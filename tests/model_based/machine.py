"""The rules that both state machines share: every update operation, every read, held views.

A machine has a PlainModel and a way to the newest view; after every step the whole shard is read
and compared. What a view showed when it was held, it must show for ever.
"""

from __future__ import annotations

import math
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from msgspec.structs import replace

from edge.errors import EdgeError, NotFound, UnknownField, UnknownVector, ValidationError
from edge.model.choice import Memory
from edge.model.config import ConfigChange, Durability, EdgeConfig, EdgeOptimizersConfig
from edge.model.filter import Filter, HasVectorCondition
from edge.model.point import Point, PointVectors, Record, ScoredPoint
from edge.model.point_id import PointId
from edge.model.quantization import (
    BinaryQuantizationConfig,
    NoQuantization,
    QuantizationConfig,
    ScalarQuantizationConfig,
    ScalarType,
)
from edge.model.query import Direction, OrderBy, Query, SearchParams, TextQuery
from edge.model.request import (
    CountRequest,
    FacetRequest,
    OrderCursor,
    PayloadSelector,
    QueryBatchRequest,
    QueryRequest,
    ScrollRequest,
    SearchRequest,
)
from edge.model.schema import TextIndexParams
from edge.model.update import UpdateMode, UpdateOperation
from edge.model.vector_params import EdgeSparseVectorParams, HnswIndexConfig, VectorParams
from edge.query.answer import Retrieve, answer
from edge.segment import appendable
from edge.segment.view import ShardView
from tests.model_based import drawing, drawing_fields, kinds
from tests.model_based.drawing import (
    BULK_IDS,
    NAMES,
    any_ids,
    id_targets,
    ids,
    nested_keys,
    seeds,
)
from tests.model_based.drawing_fields import (
    CONDITIONS,
    PATHS,
    asked_of,
    few_filters,
    fields_of,
    indexes,
    maybe_filters,
    orders,
    patches,
    removed_keys,
    targets,
    text_queries,
)
from tests.model_based.kinds import CREATED, GIVEN_AWAY, KINDS, is_exact, is_similarity, is_sparse
from tests.model_based.plain_model import (
    PLAIN,
    Asked,
    NoSuchPoint,
    NoSuchVector,
    OtherVector,
    PlainModel,
    Target,
    id_order,
)

EVERYTHING = ScrollRequest(limit=1000, with_payload=True, with_vector=True)
TOLERANCE = 2e-6
HELD_AT_MOST = 6


class Options(NamedTuple):
    """What of a config may change from one opening to the next: thresholds so low that a few steps
    cross them, graphs, small forms and places."""

    checkpoint_bytes: int
    segments: int
    threshold: int
    share: float
    m: int = 8
    quantization: QuantizationConfig = NoQuantization()
    memory: Memory | None = None
    inline: bool = False
    payload_m: int | None = None

    def hnsw(self) -> HnswIndexConfig:
        threshold = 1 if self.payload_m is None else 0  # below it no value has a graph
        return HnswIndexConfig(
            self.m, 64, threshold, payload_m=self.payload_m, inline_storage=self.inline
        )

    def optimizers(self) -> EdgeOptimizersConfig:
        return EdgeOptimizersConfig(
            deleted_threshold=self.share,
            vacuum_min_vector_number=8,
            default_segment_number=self.segments,
            indexing_threshold=self.threshold,
        )

    def change(self) -> ConfigChange:
        """What of it may change while the shard runs."""
        return ConfigChange(self.hnsw(), self.quantization, self.optimizers())

    def config(self, params: Mapping[str, VectorParams]) -> EdgeConfig:
        """The config of a shard of these vectors."""
        dense: dict[str, Any] = {}
        sparse: dict[str, Any] = {}
        for name, each in params.items():
            one = replace(each, memory=self.memory)
            (sparse if isinstance(each, EdgeSparseVectorParams) else dense)[name] = one
        return EdgeConfig(
            dense,
            sparse,
            hnsw_config=self.hnsw(),
            quantization_config=self.quantization,
            optimizers=self.optimizers(),
            durability=Durability.Os,
            checkpoint_bytes=self.checkpoint_bytes,
        )


options = st.builds(
    Options,
    checkpoint_bytes=st.sampled_from([400, 2_000, 10_000]),
    segments=st.integers(1, 3),
    threshold=st.sampled_from([0, 1, 1, 4]),
    share=st.sampled_from([0.1, 0.3]),
    m=st.sampled_from([8, 8, 0, 5]),
    quantization=st.sampled_from(
        [
            NoQuantization(),
            NoQuantization(),
            ScalarQuantizationConfig(ScalarType.Int8),
            BinaryQuantizationConfig(),
        ]
    ),
    memory=st.sampled_from([None, None, Memory.Cold]),
    inline=st.booleans(),
    payload_m=st.sampled_from([None, None, 2, 3]),
)
BEGINNING = {**PLAIN, **KINDS}
"""The vectors that a shard is made with."""
NAMED = [*PLAIN, *GIVEN_AWAY]
"""The names that there ever are, and one that there never is."""

REFUSALS: dict[type[Exception], type[EdgeError]] = {
    NoSuchPoint: NotFound,
    NoSuchVector: UnknownVector,
    OtherVector: ValidationError,
}
"""What the shard raises where the model does."""


QUESTIONS: list[Any] = [
    FacetRequest,
    *(condition for condition in CONDITIONS if getattr(condition, "key", "") == PATHS[0]),
    *Direction,
]
"""What is asked of any field: a facet, every condition, the orders."""
STRIDE = 13

mostly = st.sampled_from([True, True, True, False])


def operation_on(kind: str, target: Target, *arguments: Any) -> UpdateOperation:
    """The operation called `kind`, by ids or by filter as the target is."""
    if isinstance(target, Asked):
        return getattr(UpdateOperation, f"{kind}_by_filter")(target.filter, *arguments)  # type: ignore[no-any-return]
    return getattr(UpdateOperation, kind)(target, *arguments)  # type: ignore[no-any-return]


class Held(NamedTuple):
    """What answers from a view, and what it answered when it was taken."""

    ask: Callable[[Any], Any]
    requests: tuple[Any, ...]
    answers: tuple[Any, ...]


class ShardMachine(RuleBasedStateMachine):
    """A subclass gives `apply` (raises what the shard raises), `view` and `reopen`."""

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.folder = Path(self.stack.enter_context(tempfile.TemporaryDirectory()))
        # What a power cut leaves is tested elsewhere; a sync costs more than all the rest here.
        self.stack.enter_context(patch.object(os, "fsync", _no_sync))
        self.stack.enter_context(patch.object(os, "fdatasync", _no_sync))
        # So few that a tail's indexes are often behind it, which takes thousands of rows in use.
        self.stack.enter_context(patch.object(appendable, "BACKLOG_A_STEP", 8))
        self.model = PlainModel(BEGINNING)
        self.held: list[Held] = []
        self.turn = 0

    def teardown(self) -> None:
        self.held.clear()
        self.stack.close()

    @property
    def view(self) -> ShardView:
        raise NotImplementedError

    def apply(self, operation: UpdateOperation) -> int:
        raise NotImplementedError

    def ask(self, request: Any) -> Any:
        return answer(self.view, request)

    def both(self, operation: UpdateOperation, change: Any, *arguments: Any) -> None:
        """Do the same to the shard and the model: both carry it out, or both refuse it."""
        before = self.view.sequence
        try:
            change(*arguments)
        except tuple(REFUSALS) as refusal:
            try:
                self.apply(operation)
            except REFUSALS[type(refusal)]:
                assert self.view.sequence == before
                return
            raise AssertionError(f"the shard did what cannot be: {refusal!r}") from None
        sequence = self.apply(operation)
        assert sequence == self.view.sequence
        assert sequence - before in (0, 1)

    # -- operations

    def fill(self, count: int, seed: int) -> None:
        """Begin with points: what happens to an empty shard is soon known."""
        if count:
            self._upsert_columns(BULK_IDS[0], count, seed, NAMED, with_payloads=True)
            some = [(i, {"words": kinds.vector(KINDS["words"], i)}) for i in BULK_IDS[: count // 2]]
            operation = UpdateOperation.update_vectors([PointVectors(*each) for each in some])
            self.both(operation, self.model.update_vectors, some)

    def more_vectors(self, seed: int) -> dict[str, Any]:
        """Of the kinds that are not plain: some, none or all that there are now."""
        params = self.model.params
        names = [name for name in params if name not in PLAIN]
        few = {0: [], 1: names}.get(seed % 4, names[seed % 3 :: 2])
        return {name: kinds.vector(params[name], seed) for name in few}

    @rule(
        points=st.lists(
            st.tuples(ids, drawing.vectors(), st.none() | drawing_fields.payloads, seeds),
            max_size=6,
        ),
        mode=st.sampled_from([UpdateMode.Upsert, UpdateMode.Upsert, *UpdateMode]),
        condition=maybe_filters,
    )
    def upsert(
        self,
        points: list[tuple[PointId, Any, Any, int]],
        mode: UpdateMode,
        condition: Asked | None,
    ) -> None:
        points = [
            (i, {**vectors, **self.more_vectors(seed)}, payload)
            for i, vectors, payload, seed in points
        ]
        operation = UpdateOperation.upsert_points(
            [Point(*point) for point in points], condition and condition.filter, mode
        )
        self.both(operation, self.model.upsert, points, mode, condition)

    @rule(
        first=st.sampled_from(BULK_IDS[:-20]),
        count=st.integers(1, 60),
        seed=seeds,
        names=st.sampled_from([NAMES, NAMED, [""], ["dot", "euclid"], ["many", "half", "new"]]),
        with_payloads=st.booleans(),
    )
    def upsert_arrays(
        self, first: int, count: int, seed: int, names: list[str], with_payloads: bool
    ) -> None:
        self._upsert_columns(first, count, seed, names, with_payloads=with_payloads)

    def _upsert_columns(
        self, first: int, count: int, seed: int, names: list[str], *, with_payloads: bool
    ) -> None:
        numbers = np.arange(first, first + count) % len(BULK_IDS) + BULK_IDS[0]
        blocks = self._blocks(names, seed, count)
        payloads = [
            {**fields_of(seed + i % 50), "n": i % 6} if with_payloads and i % 7 else None
            for i in numbers.tolist()
        ]
        points = [
            (point_id, {name: block[row].tolist() for name, block in blocks.items()}, payloads[row])
            for row, point_id in enumerate(numbers.tolist())
        ]
        operation = UpdateOperation.upsert_arrays(
            numbers, blocks, payloads if with_payloads else None
        )
        self.both(operation, self.model.upsert, points)

    def _blocks(self, names: list[str], seed: int, count: int) -> dict[str, Any]:
        """Columns of those of these names that there are and that come so."""
        params = self.model.params
        blocks = {
            name: drawing.block(name, seed, count)
            if name in PLAIN
            else kinds.block(params[name], seed, count)
            for name in names
            if name in params
        }
        return {name: block for name, block in blocks.items() if block is not None}

    @rule(
        changes=st.lists(st.tuples(any_ids, drawing.vectors(), seeds), max_size=4),
        condition=maybe_filters,
        there=mostly,
    )
    def update_vectors(
        self, changes: list[tuple[PointId, Any, int]], condition: Asked | None, there: bool
    ) -> None:
        if there:
            changes = [change for change in changes if change[0] in self.model.points]
        changes = [(i, {**vectors, **self.more_vectors(seed)}) for i, vectors, seed in changes]
        operation = UpdateOperation.update_vectors(
            [PointVectors(*change) for change in changes], condition and condition.filter
        )
        self.both(operation, self.model.update_vectors, changes, condition)

    @rule(whom=st.one_of(id_targets, id_targets, few_filters))
    def delete_points(self, whom: Target) -> None:
        self.both(operation_on("delete_points", whom), self.model.delete_points, whom)

    @rule(third=st.integers(0, 2))
    @precondition(lambda self: len(self.model.points) > 60)
    def delete_many(self, third: int) -> None:
        doomed = [i for i in self.model.points if i in BULK_IDS and int(i) % 3 == third]
        self.both(UpdateOperation.delete_points(doomed), self.model.delete_points, doomed)

    @rule(whom=targets, names=st.lists(st.sampled_from(NAMED), max_size=3), there=mostly)
    def delete_vectors(self, whom: Target, names: list[str], there: bool) -> None:
        whom = self._there(whom, there)
        if there:
            names = [name for name in names if name in self.model.params]
        self.both(
            operation_on("delete_vectors", whom, names), self.model.delete_vectors, whom, names
        )

    @rule(
        kind=st.sampled_from(["set_payload", "set_payload", "overwrite_payload"]),
        whom=targets,
        patch=patches,
        key=nested_keys,
        there=mostly,
    )
    def write_payload(
        self, kind: str, whom: Target, patch: Any, key: str | None, there: bool
    ) -> None:
        whom = self._there(whom, there)
        operation = operation_on(kind, whom, patch, key)
        self.both(operation, getattr(self.model, kind), whom, patch, key)

    @rule(whom=targets, keys=removed_keys, whole=st.booleans(), there=mostly)
    def remove_payload(self, whom: Target, keys: list[str], whole: bool, there: bool) -> None:
        whom = self._there(whom, there)
        if whole:
            self.both(operation_on("clear_payload", whom), self.model.clear_payload, whom)
        else:
            operation = operation_on("delete_payload", whom, keys)
            self.both(operation, self.model.delete_payload, whom, keys)

    @rule(which=st.sampled_from(CREATED))
    def create_vector_name(self, which: tuple[str, VectorParams]) -> None:
        name, params = which
        before, known = self.view.sequence, name in self.model.params
        self.both(kinds.creation(name, params), self.model.create_vector, name, params)
        assert self.view.sequence == before + (not known)

    @rule(name=st.sampled_from(GIVEN_AWAY))
    def delete_vector_name(self, name: str) -> None:
        before, known = self.view.sequence, name in self.model.params
        operation = UpdateOperation.delete_vector_name(name)
        self.both(operation, self.model.delete_vector_name, name)
        assert self.view.sequence == before + known

    def params_to_name(self, wanted: Options) -> dict[str, VectorParams]:
        """The vectors that a config names that a shard is opened with: those that came later than
        the shard may be left out."""
        params, later = self.model.params, self.model.later
        return {n: p for n, p in params.items() if n not in later or wanted.share == 0.1}

    @rule(wanted=options)
    def set_config(self, wanted: Options) -> None:
        """Other thresholds, graphs and small forms from now on; no answer changes by it."""
        before = self.view
        sequence = self.apply(UpdateOperation.set_config(wanted.change()))
        assert sequence == before.sequence + (self.view.config != before.config)
        assert self.view.settings.hnsw["dot"].m == wanted.m
        assert self.view.config.names() == before.config.names()

    @rule(index=indexes)
    def create_field_index(self, index: tuple[str, Any]) -> None:
        path, wanted = index
        before, known = self.view.sequence, self.model.schema.get(path)
        operation = UpdateOperation.create_field_index(path, wanted)
        self.both(operation, self.model.create_field_index, path, wanted)
        assert self.view.sequence == before + (self.model.schema[path] != known)
        self.index_was_created()

    def index_was_created(self) -> None:
        """What holds then."""

    @rule(path=st.sampled_from(PATHS), seed=seeds, there=mostly)
    def delete_field_index(self, path: str, seed: int, there: bool) -> None:
        known = sorted(self.model.schema)
        if there and known:
            path = known[seed % len(known)]
        before = self.view.sequence
        operation = UpdateOperation.delete_field_index(path)
        self.both(operation, self.model.delete_field_index, path)
        assert self.view.sequence == before + (path in known)

    def _there(self, whom: Target, there: bool) -> Target:
        """Mostly only ids that are there: one that is not refuses the whole operation."""
        if isinstance(whom, Asked) or not there:
            return whom
        return [point_id for point_id in whom if point_id in self.model.points]

    # -- views that are held

    @rule(
        asked=maybe_filters,
        seed=seeds,
        name=st.sampled_from(NAMED),
        order=orders,
        path=st.sampled_from(PATHS),
    )
    def hold(self, asked: Asked | None, seed: int, name: str, order: OrderBy, path: str) -> None:
        if len(self.held) == HELD_AT_MOST:
            self.held.pop(seed % HELD_AT_MOST)
        wanted = asked and asked.filter
        name = name if name in self.model.params else "dot"
        query = Query.Nearest(self.query_of(name, seed), name)
        requests = (
            EVERYTHING,
            ScrollRequest(limit=7, filter=wanted),
            CountRequest(filter=wanted),
            QueryRequest(9, query=query, filter=wanted, with_payload=True, with_vector=True),
            Retrieve.of(drawing.IDS, True, True),
            ScrollRequest(limit=20, filter=wanted, order_by=order, with_payload=False),
            FacetRequest(path, 20, True, wanted),
            *(QueryRequest(9, query=TextQuery(path, "red apples")) for path in self._scored()),
        )
        ask = self.taken()
        self.held.append(Held(ask, requests, tuple(map(ask, requests))))

    def query_of(self, name: str, seed: int) -> Any:
        """A vector to search for among those of this name."""
        if name in PLAIN:
            return drawing.vector(name, seed)
        return kinds.vector(self.model.params[name], seed)

    def taken(self) -> Callable[[Any], Any]:
        """What answers requests as the shard is now, for ever."""
        return partial(answer, self.view)

    def _scored(self) -> list[str]:
        """The fields that a text query may be about."""
        return [path for path, params in self.model.schema.items() if _is_scored(params)]

    @rule()
    @precondition(lambda self: self.held)
    def look_again(self) -> None:
        for held in self.held:
            for request, before in zip(held.requests, held.answers, strict=True):
                now = held.ask(request)
                if isinstance(request, FacetRequest):
                    now, before = list(now), list(before)
                assert now == before

    # -- what holds after every step

    @invariant()
    def shows_what_the_model_holds(self) -> None:
        self.compare(self.view)

    def compare(self, view: ShardView) -> None:
        records, following = answer(view, EVERYTHING)
        assert following is None
        assert [record.id for record in records] == self.model.matching(None)
        assert view.points == len(records)
        numbers = Numbers()
        for record in records:
            vectors, payload = self.model.points[record.id]
            assert record.payload == payload
            numbers.add(record.vector, vectors)
        numbers.check()
        self._each_id_lives_once(view)
        self._has_the_vectors(view)
        assert {path: field.params for path, field in view.schema.items()} == self.model.schema
        assert all(view.segments[-1].index(path) is not None for path in view.schema), "no index"

    def _has_the_vectors(self, view: ShardView) -> None:
        """Of each name that there is now, the points that have a vector."""
        assert sorted(view.config.names()) == sorted(self.model.params) == sorted(view.names)
        assert {n for n in self.model.params if is_sparse(self.model.params[n])} == set(
            view.config.sparse_vectors
        )
        self.turn += 1
        name = sorted(self.model.params)[self.turn % len(self.model.params)]
        having = [i for i in self.model.matching(None) if name in self.model.points[i].vectors]
        wanted = Filter(must=[HasVectorCondition(name)])
        assert [r.id for r in answer(view, ScrollRequest(None, 1000, wanted))[0]] == having
        assert sum(part.count_of(name) for part in view.segments) == len(having)

    @invariant()
    def answers_by_fields(self) -> None:
        """One question about one indexed field after each step, another one each time."""
        self.turn += 1
        if self.model.schema:
            paths = sorted(self.model.schema)
            self._ask_of(self.view, paths[self.turn % len(paths)], self.turn // len(paths))

    def compare_fields(self, view: ShardView) -> None:
        """A few questions about each indexed field, others each time."""
        for path in self.model.schema:
            self.turn += 1
            for number in range(self.turn % STRIDE, len(QUESTIONS), STRIDE):
                self._ask_of(view, path, number)

    def _ask_of(self, view: ShardView, path: str, number: int) -> None:
        question = QUESTIONS[number % len(QUESTIONS)]
        if question is FacetRequest:
            hits = answer(view, FacetRequest(path, 100))
            assert [(hit.value, hit.count) for hit in hits] == self.model.facet(path, None)
        elif isinstance(question, Direction):
            order = OrderBy(path, question)
            page, _ = answer(view, ScrollRequest(None, 1000, None, False, order_by=order))
            expected = self.model.ordered(order, None)
            assert [record.id for record in page] == [point_id for point_id, _ in expected]
        else:
            asked = asked_of(replace(question, key=path))
            found, _ = answer(view, ScrollRequest(None, 1000, asked.filter, False))
            assert [record.id for record in found] == self.model.matching(asked)

    def _each_id_lives_once(self, view: ShardView) -> None:
        live = [part.ids[part.live()] for part in view.segments if part.watermark]
        rows = np.concatenate(live) if live else np.empty((0, 3))
        assert len(np.unique(rows, axis=0)) == len(rows) == view.points

    def copied(self, name: str) -> Path:
        """The folder as a killed process would leave it now."""
        copy = self.folder / name
        shutil.rmtree(copy, ignore_errors=True)
        return Path(shutil.copytree(self.folder / "shard", copy))


class ReadMachine(ShardMachine):
    """Reads of every kind, beside the scroll through everything after each step."""

    @rule(
        name=st.sampled_from(NAMED),
        seed=seeds,
        asked=maybe_filters,
        limit=st.integers(0, 40),
        offset=st.sampled_from([0, 0, 1, 5, 200]),
        threshold=st.none() | st.sampled_from([-3, 0, 2, 7]),
        exact=st.booleans(),
        as_search=st.booleans(),
    )
    def nearest(
        self,
        name: str,
        seed: int,
        asked: Asked | None,
        limit: int,
        offset: int,
        threshold: float | None,
        exact: bool,
        as_search: bool,
    ) -> None:
        params = self.model.params.get(name)
        if params is None:
            with pytest.raises(UnknownVector, match=name):
                self.ask(QueryRequest(limit, query=Query.Nearest([1.0], name)))
            return
        vector = self.query_of(name, seed)
        if threshold is not None and not is_exact(params):
            threshold = threshold / 10 + 0.0123  # where no cosine of such small numbers lies
        more: dict[str, Any] = {
            "filter": asked and asked.filter,
            "offset": offset,
            "score_threshold": threshold,
            "params": SearchParams(exact=exact),
        }
        query = Query.Nearest(vector, name)
        if as_search:
            hits = self.ask(SearchRequest(query, limit, **more))
        else:
            hits = self.ask(QueryRequest(limit, query=query, **more))
        expected = self.model.nearest(name, vector, asked)
        if threshold is not None:
            larger = is_similarity(params)
            expected = [
                hit for hit in expected if (hit[1] > threshold if larger else hit[1] < threshold)
            ]
        if exact:
            check_hits(params, hits, expected[offset : offset + limit] if limit else [])
        else:
            check_approximate(params, hits, expected, limit)

    @rule(asked=maybe_filters, limit=st.integers(1, 12), offset=st.sampled_from([0, 3, 50]))
    def query_without_vector(self, asked: Asked | None, limit: int, offset: int) -> None:
        request = QueryRequest(limit, filter=asked and asked.filter, offset=offset)
        [hits] = self.ask(QueryBatchRequest([request]))
        found = self.model.matching(asked)[offset : offset + limit]
        assert [(hit.id, hit.score) for hit in hits] == [(i, 1.0) for i in found]

    @rule(asked=maybe_filters, limit=st.integers(1, 30), start=st.none() | any_ids)
    def scroll(self, asked: Asked | None, limit: int, start: PointId | None) -> None:
        expected = self.model.matching(asked)
        if start is not None:
            expected = [i for i in expected if id_order(i) >= id_order(start)]
        seen: list[PointId] = []
        following = start
        for _ in range(len(expected) // limit + 1):
            page, following = self.ask(
                ScrollRequest(following, limit, asked and asked.filter, False, False)
            )
            seen += [record.id for record in page]
            assert all(record.payload is None and record.vector is None for record in page)
            if following is None:
                break
            assert len(page) == limit
        assert following is None
        assert seen == expected

    @rule(asked=maybe_filters, exact=st.booleans())
    def count(self, asked: Asked | None, exact: bool) -> None:
        found = self.ask(CountRequest(exact, asked and asked.filter))
        assert found == len(self.model.matching(asked))

    @rule(path=st.sampled_from(PATHS), asked=maybe_filters, limit=st.integers(0, 12))
    def facet(self, path: str, asked: Asked | None, limit: int) -> None:
        for exact in (False, True):
            hits = self.ask(FacetRequest(path, limit, exact, asked and asked.filter))
            expected = self.model.facet(path, asked)[:limit]
            assert [(hit.value, hit.count) for hit in hits] == expected

    @rule(order=orders, asked=maybe_filters, limit=st.integers(1, 30), as_query=st.booleans())
    def in_order(self, order: OrderBy, asked: Asked | None, limit: int, as_query: bool) -> None:
        expected = self.model.ordered(order, asked)
        wanted = asked and asked.filter
        if as_query:
            hits = self.ask(QueryRequest(limit, 3, order, filter=wanted))
            assert [hit.id for hit in hits] == [i for i, _ in expected[3 : 3 + limit]]
            return
        seen: list[tuple[PointId, float]] = []
        following: OrderCursor | None = None
        for _ in range(len(expected) // limit + 1):
            request = ScrollRequest(following, limit, wanted, False, order_by=order)
            page, following = self.ask(request)
            seen += [(record.id, record.order_value) for record in page]
            if following is None:
                break
            assert len(page) == limit
            assert (following.id, following.value) == seen[-1]
        assert following is None
        assert seen == expected

    @rule(
        path=st.sampled_from(["said", "offers[].note", *PATHS]),
        query=text_queries,
        asked=maybe_filters,
        limit=st.integers(1, 30),
    )
    def by_text(self, path: str, query: str, asked: Asked | None, limit: int) -> None:
        scored = self._scored()
        if path not in scored and scored:
            path = scored[limit % len(scored)]
        request = QueryRequest(limit, query=TextQuery(path, query), filter=asked and asked.filter)
        params = self.model.schema.get(path)
        if not _is_scored(params):
            with pytest.raises((UnknownField, ValidationError), match=r"text index"):
                self.ask(request)
            return
        expected = self.model.by_text(path, query, params, asked)
        hits = self.ask(request)
        best = sorted(expected.values(), reverse=True)[:limit]
        assert [hit.score for hit in hits] == pytest.approx(best, rel=1e-4)
        assert [hit.score for hit in hits] == pytest.approx(
            [expected[h.id] for h in hits], rel=1e-4
        )
        keys = [(-hit.score, id_order(hit.id)) for hit in hits]
        assert keys == sorted(set(keys))

    @rule(
        wanted=st.lists(any_ids, max_size=6),
        names=st.lists(st.sampled_from(NAMED), max_size=3, unique=True),
        exclude=st.booleans(),
        keys=st.lists(st.sampled_from(["n", "room", "deep"]), max_size=2),
    )
    def retrieve(
        self, wanted: list[PointId], names: list[str], exclude: bool, keys: list[str]
    ) -> None:
        names = [name for name in names if name in self.model.params]
        selector = (PayloadSelector.Exclude if exclude else PayloadSelector.Include)(keys)
        found: list[Record] = self.ask(Retrieve.of(wanted, selector, names))
        expected = [i for i in dict.fromkeys(wanted) if i in self.model.points]
        assert [record.id for record in found] == expected
        numbers = Numbers()
        for record in found:
            vectors, payload = self.model.points[record.id]
            shown = {k: v for k, v in payload.items() if (k in keys) is not exclude}
            assert record.payload == shown
            numbers.add(record.vector, {k: v for k, v in vectors.items() if k in names})
        numbers.check()


def _is_scored(params: Any) -> bool:
    return isinstance(params, TextIndexParams) and params.scoring is not None


def _no_sync(descriptor: int) -> None:
    """In the place of os.fsync."""


class Numbers:
    """Vectors that were shown beside those that should have been, compared all at once."""

    def __init__(self) -> None:
        self.shown: list[np.ndarray] = [np.empty(0)]
        self.expected: list[np.ndarray] = [np.empty(0)]

    def add(self, shown: Any, expected: dict[str, kinds.Kept]) -> None:
        """As Qdrant shows them: the default vector alone is a list, anything else is by name."""
        if expected.keys() == {""}:
            shown = {"": shown}
        assert shown.keys() == expected.keys()
        for name, one in expected.items():
            found = kinds.shown(shown[name])
            assert kinds.form(found) == kinds.form(one)
            self.shown.append(kinds.flat(found))
            self.expected.append(kinds.flat(one))

    def check(self) -> None:
        difference = np.abs(np.concatenate(self.shown) - np.concatenate(self.expected))
        assert difference.max(initial=0.0) <= TOLERANCE


def check_hits(
    params: VectorParams, hits: list[ScoredPoint], expected: list[tuple[PointId, float]]
) -> None:
    """The same points with the same scores, in the same order where scores are exact."""
    assert len(hits) == len(expected)
    for hit, (_, score) in zip(hits, expected, strict=True):
        assert math.isclose(hit.score, score, rel_tol=1e-5, abs_tol=1e-5)
    if is_exact(params):
        assert [hit.id for hit in hits] == [point_id for point_id, _ in expected]
    else:
        _check_order(params, hits)


def check_approximate(
    params: VectorParams, hits: list[ScoredPoint], eligible: list[tuple[PointId, float]], limit: int
) -> None:
    """Only points that are eligible, with their true scores, in order, none twice."""
    scores = dict(eligible)
    assert len({hit.id for hit in hits}) == len(hits) <= limit
    for hit in hits:
        assert math.isclose(hit.score, scores[hit.id], rel_tol=1e-5, abs_tol=1e-5)
    _check_order(params, hits)


def _check_order(params: VectorParams, hits: list[ScoredPoint]) -> None:
    sign = -1 if is_similarity(params) else 1
    keys = [(sign * hit.score, id_order(hit.id)) for hit in hits]
    assert keys == sorted(keys)


__all__ = ["Options", "ReadMachine", "ShardMachine", "options"]
