"""Field indexes of segments: built with them, added in place, dropped, mapped, left out where they
are damaged; and a tail's, which may be behind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from edge.disk import files
from edge.disk.storage import DiskStorage, Storage
from edge.errors import StorageFault
from edge.model.choice import Memory
from edge.model.config import EdgeConfig, settings_of
from edge.model.filter import (
    FieldCondition,
    Filter,
    IsEmptyCondition,
    MatchText,
    MatchValue,
    RangeFloat,
)
from edge.model.geo import GeoPoint, GeoRadius
from edge.model.query import OrderBy
from edge.model.request import CountRequest, FacetRequest, QueryRequest
from edge.model.schema import (
    FloatIndexParams,
    GeoIndexParams,
    IntegerIndexParams,
    KeywordIndexParams,
    PayloadSchemaType,
    Schema,
    TextIndexParams,
    indexed_field,
)
from edge.model.update import UpdateOperation
from edge.model.vector_params import Distance, EdgeVectorParams
from edge.query.answer import answer
from edge.segment import appendable, writer
from edge.segment.appendable import AppendableSegment
from edge.segment.builder import Built, add_fields, build_segment
from edge.segment.immutable import ImmutableSegment, load_segment
from edge.segment.view import SegmentView, ShardView
from edge.segment.writer import Request
from edge.store import optimization
from edge.vectors.column import VectorKey
from tests.disk.simulated import FAULTS, FaultyStorage, SimulatedStorage
from tests.segment.made import after, built, cut, silent, start
from tests.segment.test_builder import Stopped, files_in, stop_after

CONFIG = EdgeConfig(EdgeVectorParams(2, Distance.Dot))
SETTINGS, VECTORS = settings_of(CONFIG), {VectorKey(""): CONFIG.vectors[""]}
ROOMS = ["hall", "kitchen", "größe"]
SCHEMA: Schema = {
    "room": indexed_field(PayloadSchemaType.Keyword),
    "n": indexed_field(IntegerIndexParams(memory=Memory.Pinned)),
    "size": indexed_field(FloatIndexParams(memory=Memory.Cold)),
    "at": indexed_field(GeoIndexParams(on_disk=True)),
    "note": indexed_field(TextIndexParams(phrase_matching=True, scoring=True, memory=Memory.Cold)),
}
MAPPED = {"size", "at", "note"}
QUESTIONS: list[Any] = [
    *(
        CountRequest(filter=Filter(must=[condition]))
        for condition in (
            FieldCondition("room", match=MatchValue("hall")),
            FieldCondition("n", range=RangeFloat(gte=20, lt=60)),
            FieldCondition("size", range=RangeFloat(lt=3)),
            FieldCondition("at", geo_radius=GeoRadius(GeoPoint(0, 0), 2e6)),
            FieldCondition("note", match=MatchText("mug 3")),
            IsEmptyCondition("room"),
        )
    ),
    FacetRequest("room"),
    FacetRequest("n", exact=True),
    QueryRequest(100, query=OrderBy("size")),
]


@pytest.fixture
def storage(tmp_path: Path) -> DiskStorage:
    return DiskStorage(str(tmp_path))


def payload(number: int) -> dict[str, Any]:
    found: dict[str, Any] = {
        "room": ROOMS[number % 3],
        "n": number,
        "size": number % 7 + 0.5,
        "at": {"lon": number % 90, "lat": number % 45},
        "note": f"a mug, number {number % 10}",
    }
    if number % 5 == 0:
        del found["room"]
    if number % 11 == 0:
        found["n"] = [number, "odd"]
    return found


def upsert(numbers: Any) -> UpdateOperation:
    ids = list(numbers)
    return UpdateOperation.upsert_arrays(ids, np.ones((len(ids), 2)), [payload(n) for n in ids])


def create(schema: Schema) -> list[UpdateOperation]:
    return [UpdateOperation.create_field_index(path, f.params) for path, f in schema.items()]


def view_of(count: int, schema: Schema = SCHEMA) -> ShardView:
    return after(start(CONFIG), *create(schema), upsert(range(count)))


def answers(view: ShardView) -> list[Any]:
    return [answer(view, question) for question in QUESTIONS]


def expected(numbers: Any) -> list[Any]:
    """The answers of a shard of these points that never had an index."""
    view = after(start(CONFIG), upsert(numbers))
    found = answers(view)
    found[4] = sum("3" in payload(n)["note"] for n in numbers)  # words, where there is an index
    return found


def alike(view: ShardView, numbers: Any) -> bool:
    found, wanted = answers(view), expected(numbers)
    found[-1], wanted[-1] = ([(hit.id, hit.order_value) for hit in a[-1]] for a in (found, wanted))
    return found == wanted


def one_segment(storage: Storage, count: int = 90, schema: Schema = SCHEMA) -> ShardView:
    return built(view_of(count, schema), storage)


def immutable(view: ShardView, place: int = 0) -> ImmutableSegment:
    found = view.segments[place].segment
    assert isinstance(found, ImmutableSegment)
    return found


def field_files(segment: ImmutableSegment) -> list[str]:
    return sorted(role for role in segment.entry.files if role.startswith("field-"))


def loaded(storage: Storage, segment: ImmutableSegment, schema: Schema) -> ShardView:
    again, deleted = load_segment(storage, segment.entry, VECTORS, SETTINGS)
    empty = cut(after(start(CONFIG), *create(schema)))
    return empty.of([SegmentView(again, segment.entry.rows, deleted), empty.segments[-1]])


def with_segment(view: ShardView, made: Built, sources: Any) -> ShardView:
    return optimization.swapped(view, sources, made)


# -- built with a segment


def test_a_segment_is_built_with_the_indexes_of_the_schema(storage: DiskStorage) -> None:
    view = one_segment(storage)
    segment = immutable(view)
    assert segment.fields.keys() == SCHEMA.keys()
    assert field_files(segment) == [f"field-{segment.number}-{place}" for place in range(5)]
    assert segment.is_indexed_by(SCHEMA)
    assert not segment.is_indexed_by({})
    assert all(index.covered == index.watermark == 90 for index in segment.fields.values())
    assert alike(view, range(90))


def test_an_index_of_another_make_is_none(storage: DiskStorage) -> None:
    segment = immutable(one_segment(storage))
    other = {**SCHEMA, "room": indexed_field(KeywordIndexParams(prefix=True))}
    assert not segment.is_indexed_by(other)
    assert segment.index("room", other["room"], 90) is None
    assert segment.index("room", indexed_field(KeywordIndexParams()), 90) is not None


def test_a_loaded_index_is_the_one_that_was_built(storage: DiskStorage) -> None:
    segment = immutable(one_segment(storage))
    view = loaded(storage, segment, SCHEMA)
    again = immutable(view)
    assert again.entry == segment.entry
    assert again.is_indexed_by(SCHEMA)
    assert alike(view, range(90))


def test_only_the_living_are_indexed(storage: DiskStorage) -> None:
    view = after(view_of(90), UpdateOperation.delete_points(list(range(30))))
    view = built(after(view, upsert(range(80, 100))), storage)
    segment = immutable(view)
    assert segment.entry.rows == segment.fields["room"].covered == 70
    assert alike(view, range(30, 100))
    later = after(view, UpdateOperation.delete_points(list(range(60, 100))))
    assert alike(later, range(30, 60))
    assert alike(view, range(30, 100)), "and an older view stays as it was"


# -- in place


def added(storage: Storage, view: ShardView, schema: Schema, job: int = 900) -> ShardView:
    source = view.segments[0]
    made = add_fields(storage, source, immutable(view), schema, job, silent)
    return with_segment(after(view, *create(schema)), made, [source])


def test_indexes_are_added_where_the_segment_lies(storage: DiskStorage) -> None:
    bare = after(one_segment(storage, schema={}), UpdateOperation.delete_points([3]))
    before, old = files_in(storage), immutable(bare)
    view = added(storage, bare, SCHEMA)
    new = immutable(view)
    assert new.number == old.number
    assert (new.vectors, new.payloads, new.graphs) == (old.vectors, old.payloads, old.graphs)
    assert field_files(old) == []
    assert field_files(new) == [f"field-900-{place}" for place in range(5)]
    after_it = files_in(storage)
    assert {name: after_it[name] for name in before} == before
    assert len(after_it) == len(before) + 5
    assert alike(view, [n for n in range(90) if n != 3])
    assert alike(loaded(storage, new, SCHEMA), range(90)), "the dead have a place in it too"


def test_what_is_there_stays_and_what_is_no_longer_wanted_goes(storage: DiskStorage) -> None:
    view = one_segment(storage)
    old = immutable(view)
    wanted = {
        "room": SCHEMA["room"],
        "n": indexed_field(IntegerIndexParams(lookup=True)),
        "fresh": indexed_field(PayloadSchemaType.Bool),
    }
    new = immutable(added(storage, view, wanted))
    assert new.fields.keys() == wanted.keys()
    assert new.fields["room"] is old.fields["room"]
    assert new.fields["n"] is not old.fields["n"]
    assert {*field_files(new)} == {"field-900-0", "field-900-1", f"field-{old.number}-0"}
    assert {file[0] for file in new.entry.meta["fields"]} == wanted.keys()
    assert old.fields.keys() == SCHEMA.keys(), "whoever holds the old one is not disturbed"
    again, _ = load_segment(storage, new.entry, VECTORS, SETTINGS)
    assert again.is_indexed_by(wanted)


def test_the_last_index_may_go(storage: DiskStorage) -> None:
    view = one_segment(storage)
    new = immutable(added(storage, view, {}))
    assert (new.fields, field_files(new)) == ({}, [])
    assert "fields" not in new.entry.meta
    assert set(new.entry.files) == {*immutable(one_segment(storage, schema={})).entry.files}


# -- failures


def test_a_stopped_build_leaves_no_file_behind(
    storage: DiskStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "ROWS_A_SLICE", 16)
    view = one_segment(storage, schema={})
    source, before = view.segments[0], files_in(storage)
    beats: list[float] = []
    add_fields(storage, source, immutable(view), SCHEMA, 901, beats.append)
    whole = {name for name in files_in(storage) if name not in before}
    for name in whole:
        storage.unlink(name)
    assert len(beats) > 20
    for calls in range(len(beats)):
        with pytest.raises(Stopped):
            add_fields(storage, source, immutable(view), SCHEMA, 901, stop_after(calls))
        assert files_in(storage) == before
    add_fields(storage, source, immutable(view), SCHEMA, 901, silent)
    assert {name for name in files_in(storage) if name not in before} == whole


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_at_any_call_leaves_no_file_behind(fault: str) -> None:
    """Unless the call that failed did its work all the same: then there may be an empty one."""
    schema = {"room": SCHEMA["room"], "size": SCHEMA["size"]}
    inner = SimulatedStorage()
    view = one_segment(inner, 30, schema={})
    image, struck = inner.image(), 0
    for nth in range(1, 80):
        inner = SimulatedStorage(image)
        faulty = FaultyStorage(inner, fault, nth, forever=False)
        try:
            add_fields(faulty, view.segments[0], immutable(view), schema, 902, silent)  # type: ignore[arg-type]
        except StorageFault:
            struck += 1
            left = set(inner.image()) - set(image)
            assert len(left) <= (fault == "eio-after"), nth
        if not faulty.struck:
            break
    assert struck
    assert not faulty.struck


def test_what_an_earlier_build_could_not_finish_is_no_hindrance(storage: DiskStorage) -> None:
    view = one_segment(storage, schema={})
    name = files.segment_file(immutable(view).number, "field-900-0")
    left = storage.create(name)
    left.write(b"half a file")
    left.close()
    assert alike(added(storage, view, SCHEMA), range(90))


# -- damage


def flipped(storage: DiskStorage, segment: ImmutableSegment, role: str) -> None:
    path = Path(storage.path) / segment.entry.files[role].name
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 4
    path.write_bytes(bytes(data))


@pytest.mark.parametrize("place", range(5))
def test_a_damaged_index_is_left_out_and_planned_anew(storage: DiskStorage, place: int) -> None:
    segment = immutable(one_segment(storage))
    role, path = f"field-{segment.number}-{place}", list(SCHEMA)[place]
    flipped(storage, segment, role)
    view = loaded(storage, segment, SCHEMA)
    again = immutable(view)
    assert again.fields.keys() == SCHEMA.keys() - {path}
    assert field_files(again) == [r for r in field_files(segment) if r != role]
    assert path not in {file[0] for file in again.entry.meta["fields"]}
    assert alike(view, range(90)), "payloads are read instead"
    found = optimization.fields(view, SCHEMA)
    assert found is not None
    assert (found.reason, found.numbers) == ("fields", frozenset({segment.number}))
    assert immutable(added(storage, view, SCHEMA)).is_indexed_by(SCHEMA)


def test_an_index_that_is_gone_is_left_out(storage: DiskStorage) -> None:
    segment = immutable(one_segment(storage))
    for role in field_files(segment):
        storage.unlink(segment.entry.files[role].name)
    view = loaded(storage, segment, SCHEMA)
    assert immutable(view).fields == {}
    assert alike(view, range(90))


LIES: dict[str, Callable[[list[Any]], Any]] = {
    "nothing": lambda file: None,
    "a number": lambda file: 7,
    "no list": lambda file: "room",
    "cut": lambda file: file[:3],
    "longer": lambda file: [*file, 1],
    "a path that is none": lambda file: [7, *file[1:]],
    "params that are a text": lambda file: [file[0], "params", *file[2:]],
    "params of no kind": lambda file: [file[0], b"\xc1", *file[2:]],
    "no params": lambda file: [file[0], None, *file[2:]],
    "a role that is not there": lambda file: [*file[:2], "field-9-9", file[3]],
    "a role that is a list": lambda file: [*file[:2], [], file[3]],
    "the role of a column": lambda file: [*file[:2], "ids", file[3]],
    "no layout": lambda file: [*file[:3], None],
    "a layout of nothing": lambda file: [*file[:3], []],
    "a layout that is cut": lambda file: [*file[:3], file[3][:2]],
    "a layout of other arrays": lambda file: [*file[:3], [["x", *file[3][0][1:]], *file[3][1:]]],
}


@pytest.mark.parametrize("name", LIES)
def test_a_manifest_that_lies_about_an_index_gives_none(storage: DiskStorage, name: str) -> None:
    segment = immutable(one_segment(storage))
    first, *rest = msgspec.msgpack.decode(msgspec.msgpack.encode(segment.entry.meta["fields"]))
    meta = {**segment.entry.meta, "fields": [LIES[name](first), *rest]}
    again, _ = load_segment(
        storage, msgspec.structs.replace(segment.entry, meta=meta), VECTORS, SETTINGS
    )
    assert again.fields.keys() == SCHEMA.keys() - {"room"}


@pytest.mark.parametrize("fields", [None, 7, "room", {"room": 1}])
def test_a_manifest_without_a_list_of_indexes_has_none(storage: DiskStorage, fields: Any) -> None:
    segment = immutable(one_segment(storage))
    entry = msgspec.structs.replace(segment.entry, meta={**segment.entry.meta, "fields": fields})
    again, _ = load_segment(storage, entry, VECTORS, SETTINGS)
    assert again.fields == {}


# -- mapped or held in memory


def own_arrays(index: Any) -> list[np.ndarray]:
    """The arrays that an index reads."""
    found: list[np.ndarray] = []
    waiting: list[Any] = [index.entries]
    while waiting:
        each = waiting.pop()
        if isinstance(each, np.ndarray):
            found.append(each)
        elif hasattr(each, "__dataclass_fields__"):
            waiting += [getattr(each, name) for name in each.__dataclass_fields__]
        elif isinstance(each, tuple):
            waiting += each
    return [array for array in found if array.size]


@pytest.mark.parametrize("reload", [False, True])
def test_an_index_is_mapped_where_it_was_asked_to_be(
    storage: DiskStorage, monkeypatch: pytest.MonkeyPatch, reload: bool
) -> None:
    maps: dict[str, np.ndarray] = {}
    original = DiskStorage.map

    def noted(self: DiskStorage, name: str) -> memoryview:
        found = original(self, name)
        maps[name] = np.frombuffer(found, np.uint8)
        return found

    monkeypatch.setattr(DiskStorage, "map", noted)
    view = one_segment(storage)
    if reload:
        maps.clear()
        view = loaded(storage, immutable(view), SCHEMA)
    segment = immutable(view)
    for place, (path, index) in enumerate(segment.fields.items()):
        name = segment.entry.files[f"field-{segment.number}-{place}"].name
        arrays = own_arrays(index)
        assert arrays
        assert (name in maps) is (path in MAPPED)
        for array in arrays:
            assert not array.flags.writeable
            assert any(np.shares_memory(array, whole) for whole in maps.values()) is (
                path in MAPPED
            )


def test_a_mapped_index_answers_after_its_file_was_removed(storage: DiskStorage) -> None:
    view = one_segment(storage)
    segment = immutable(view)
    for role in field_files(segment):
        storage.unlink(segment.entry.files[role].name)
    assert alike(view, range(90))


# -- the tail


def tail(view: ShardView) -> AppendableSegment:
    found = view.segments[-1].segment
    assert isinstance(found, AppendableSegment)
    return found


def covered(view: ShardView, path: str) -> int:
    index = view.segments[-1].index(path)
    assert index is not None
    return index.covered


def test_what_came_before_an_index_is_indexed_step_by_step(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(appendable, "BACKLOG_A_STEP", 10)
    view = after(start(CONFIG), upsert(range(60)))
    view = after(view, UpdateOperation.create_field_index("room", SCHEMA["room"].params))
    assert covered(view, "room") == 10
    steps = [view]
    for number in range(60, 66):
        view = after(view, upsert([number]))
        steps.append(view)
        assert covered(view, "room") == min(10 + 11 * (number - 59), number + 1)
        assert tail(view).is_indexed_by(view.schema) is (covered(view, "room") == number + 1)
    for step, seen in enumerate(steps):
        assert answer(seen, QUESTIONS[0]) == answer(
            after(start(CONFIG), upsert(range(60 + step))), QUESTIONS[0]
        )
    assert covered(view, "room") == 66
    others = {path: field for path, field in SCHEMA.items() if path != "room"}
    view = after(view, *create(others), upsert(range(66, 70)))
    assert covered(view, "room") == 70
    behind = [covered(view, path) for path in others]
    assert behind == sorted(behind, reverse=True), "each index that comes moves the older ones on"
    assert behind[-1] == 24
    assert alike(view, range(70))


def test_a_large_batch_does_not_let_the_backlog_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(appendable, "BACKLOG_A_STEP", 5)
    view = after(start(CONFIG), upsert(range(20)), *create({"n": SCHEMA["n"]}))
    for first in range(20, 120, 25):
        before = len(tail(view).tracker.ids[: tail(view).count]) - covered(view, "n")
        view = after(view, upsert(range(first, first + 25)))
        assert tail(view).count - covered(view, "n") == max(0, before - 5)
    assert covered(view, "n") == 120


def test_a_view_keeps_its_schema_and_its_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(appendable, "BACKLOG_A_STEP", 7)
    bare = after(start(CONFIG), upsert(range(40)))
    some = after(bare, *create({"room": SCHEMA["room"], "note": SCHEMA["note"]}))
    other = after(some, *create({"room": indexed_field(KeywordIndexParams(prefix=True))}))
    none = after(
        other,
        upsert(range(40, 50)),
        UpdateOperation.delete_field_index("room"),
        UpdateOperation.delete_field_index("note"),
    )
    assert [len(view.schema) for view in (bare, some, other, none)] == [0, 2, 2, 0]
    for view, count in ((bare, 40), (some, 40), (other, 40), (none, 50)):
        found = answer(view, QUESTIONS[0]), answer(view, QUESTIONS[6])
        plain = after(start(CONFIG), upsert(range(count)))
        assert found == (answer(plain, QUESTIONS[0]), answer(plain, QUESTIONS[6]))
    assert bare.segments[-1].index("room") is None
    assert none.segments[-1].index("room") is None
    assert some.segments[-1].index("room") is None, "the tail has let go of it"
    assert other.segments[-1].field("room") == indexed_field(KeywordIndexParams(prefix=True))


def test_a_segment_of_a_tail_that_was_behind_is_indexed_whole(
    storage: DiskStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(appendable, "BACKLOG_A_STEP", 3)
    view = after(start(CONFIG), upsert(range(90)), *create(SCHEMA))
    assert not tail(view).is_indexed_by(SCHEMA)
    made = build_segment(
        storage, 5, view.segments, Request(VECTORS, SETTINGS, schema=SCHEMA), silent
    )
    assert made.segment.is_indexed_by(SCHEMA)
    assert alike(with_segment(cut(view), made, view.segments), range(90))
