"""The log of a shard that died, read as our operations and carried out by our engine."""

from __future__ import annotations

import multiprocessing
import os
import random
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pytest
import qdrant_edge as qdrant

from edge.blocking import EdgeShard
from edge.errors import CallerError, CorruptData, EdgeError, ValidationError
from edge.model.point import Point
from edge.model.request import ScrollRequest
from edge.model.sparse import SparseVector
from edge.model.update import UpsertPoints
from edge.qdrant import layout
from edge.qdrant.log import entries
from edge.qdrant.operations import operation_of
from edge.qdrant.source import Folder
from tests.qdrant import made
from tests.qdrant.logged import closed_log, logged, storage_of
from tests.qdrant.made import Held, U, opened

F, FC = qdrant.Filter, qdrant.FieldCondition


def updates() -> list[Any]:
    """Every kind of operation, and some that the engine refuses."""
    draw = random.Random(8)
    ids = [made.id_of(i) for i in range(40)]
    has_set = F(must=[FC("set[].more", match=qdrant.MatchValue("é"))])
    large = F(
        should=[FC("n", range=qdrant.RangeFloat(gte=30)), qdrant.HasIdCondition({ids[3], ids[10]})],
        must_not=[qdrant.IsEmptyCondition("n"), FC("n", values_count=qdrant.ValuesCount(gt=1))],
    )
    points = [made.point(i, draw) for i in range(40)]
    numbered = [qdrant.Point(ids[i], made.vectors_of(draw), {"n": i}) for i in range(20, 40)]
    return [
        U.upsert_points(points),
        U.upsert_points(numbered),
        U.delete_points(ids[:4]),
        U.set_payload(ids[4:20], {"set": [{"more": "é"}], "gone": None}),
        U.set_payload([ids[12]], {"in": 1}, "deep.er"),
        U.set_payload([ids[0]], {"refused": "there is no such point"}),
        U.set_payload_by_filter(has_set, {"by": "filter"}),
        U.overwrite_payload([ids[9]], {"over": [1, 2]}),
        U.overwrite_payload([ids[11]], {"over": "the key counts for nothing"}, "key"),
        U.overwrite_payload_by_filter(F(must=[qdrant.HasIdCondition({ids[15]})]), {"x": 2}),
        U.delete_payload([ids[16], ids[17]], ["by", "set[].more"]),
        U.delete_payload_by_filter(F(must=[FC("n", range=qdrant.RangeFloat(lt=22))]), ["n"]),
        U.clear_payload([ids[18]]),
        U.clear_payload_by_filter(F(must=[FC("n", match=qdrant.MatchAny([24, 25]))])),
        U.update_vectors([qdrant.PointVectors(id, made.vectors_of(draw)) for id in ids[8:14]]),
        U.update_vectors([qdrant.PointVectors(ids[21], {"half": [1.0] * 5})], condition=large),
        U.delete_vectors(ids[20:24], ["", "sparse"]),
        U.delete_vectors_by_filter(F(must=[qdrant.HasVectorCondition("many")]), ["half many"]),
        U.upsert_points([qdrant.Point(ids[30], {}, {"only": "once"})], condition=large),
        U.upsert_points(points[:6], update_mode=qdrant.UpdateMode.InsertOnly),
        U.upsert_points(points[:2], update_mode=qdrant.UpdateMode.UpdateOnly),
        U.upsert_points([qdrant.Point(77, {"half": [1.0, 2.0]})]),  # refused: too short
        U.create_field_index("n", qdrant.PayloadSchemaType.Integer),
        U.create_field_index("t", qdrant.TextIndexParams(lowercase=True)),
        U.delete_field_index("t"),
        U.delete_points_by_filter(large),
    ]


def _write_and_die(path: str, flush_after: int, results: Any) -> None:
    shard = made.create(Path(path), **made.every_kind())
    refused = []
    for number, update in enumerate(updates()):
        try:
            shard.update(update)
        except Exception:
            refused.append(number)
        if number == flush_after:
            shard.flush()
    results.put((refused, made.real_points(shard)))
    results.close()
    results.join_thread()
    os._exit(0)


def killed(path: Path, flush_after: int = -1) -> tuple[list[int], dict[Any, Held]]:
    """What a process had done to a shard when it died: the refused updates, and what was held."""
    spawn = multiprocessing.get_context("spawn")
    results = spawn.Queue()
    child = spawn.Process(target=_write_and_die, args=(str(path), flush_after, results))
    child.start()
    found = results.get()
    child.join()
    assert child.exitcode == 0
    results.close()
    return found


def replayed(shard: EdgeShard, operations: list[tuple[int, Any]]) -> list[int]:
    """Carry out; the numbers of those that are refused."""
    refused = []
    for number, operation in operations:
        try:
            shard.update(operation)
        except CallerError:
            refused.append(number)
    return refused


def points_of(shard: EdgeShard) -> dict[int | UUID, Held]:
    request = ScrollRequest(limit=1_000, with_payload=True, with_vector=True)
    records, _ = shard.scroll(request)
    found = {}
    for record in records:
        named: Any = record.vector or {}
        vectors = {
            name: dict(zip(vector.indices, vector.values, strict=True))
            if isinstance(vector, SparseVector)
            else vector
            for name, vector in named.items()
        }
        found[record.id] = Held(record.payload or {}, vectors)
    return found


NEARLY = {"": 1e-7, "half many": 1e-3}
"""Vectors that are normalised anew: how far off an element may be."""


def test_a_log_that_was_never_flushed_is_all_there_is(folder: Path) -> None:
    refused, held = killed(folder / "real")
    found = opened(folder / "real")
    operations = found.pending()
    assert [number for number, _ in operations] == list(range(len(updates())))
    with EdgeShard.create(folder / "ours", found.config) as ours:
        assert replayed(ours, operations) == refused
        assert len(refused) == 2
        assert_nearly(points_of(ours), held)
        assert ours.info().payload_schema.keys() == {"n"}
    found.close()


def test_a_log_that_was_flushed_begins_where_it_was(folder: Path) -> None:
    _, held = killed(folder / "real", flush_after=9)
    found = opened(folder / "real")
    numbers = [number for number, _ in found.pending()]
    assert numbers == list(range(numbers[0], len(updates())))
    assert 0 < numbers[0] <= 10
    assert found.version >= 9
    newest = max(int(versions.max()) for _, versions in found.blocks())
    assert 9 <= newest <= found.version
    assert len(held) > 0
    found.close()


def assert_nearly(ours: dict[int | UUID, Held], real: dict[int | UUID, Held]) -> None:
    assert ours.keys() == real.keys()
    for id, held in real.items():
        assert ours[id].payload == held.payload
        assert ours[id].vectors.keys() == held.vectors.keys()
        for name, vector in held.vectors.items():
            if name in NEARLY:
                off = np.abs(np.array(vector) - np.array(ours[id].vectors[name])).max()
                assert off <= NEARLY[name]
            else:
                assert made.bits_of({name: ours[id].vectors[name]}) == made.bits_of({name: vector})


# -- files


def test_files_follow_each_other() -> None:
    first, second = closed_log(["a", "b", "c"]), closed_log(["d"])
    files = {"closed-5": first, "closed-8": second, "open-3": closed_log(["e"]), "open-12": b""}
    assert logged(files) == [(5, "a"), (6, "b"), (7, "c"), (8, "d"), (9, "e")]
    files["first-index"] = b'{"ack_index":7}'
    assert logged(files) == [(7, "c"), (8, "d"), (9, "e")]
    files["first-index"] = b'{"ack_index":12}'
    assert logged(files) == []


def test_a_log_without_files_and_one_that_was_emptied() -> None:
    assert logged({}) == []
    assert logged({"closed-9": closed_log([]) + bytes(56)}) == []
    assert logged({"open-2": bytes(64), "README": b"no log"}) == []


def test_a_file_ends_at_the_first_entry_that_does_not_match() -> None:
    whole = closed_log(["one", "two", "three"])
    for at in range(8, len(whole)):
        damaged = bytearray(whole)
        damaged[at] ^= 0x10
        found = logged({"open-1": bytes(damaged)})
        assert found == [(0, "one"), (1, "two"), (2, "three")][: len(found)]
        assert len(found) < 3
        cut = logged({"open-1": whole[:at]})
        assert cut == [(0, "one"), (1, "two"), (2, "three")][: len(cut)]
        assert len(cut) < 3


def test_operations_that_are_missing_between_two_files_are_told() -> None:
    files = {"closed-0": closed_log(["a", "b"])[:-1], "closed-2": closed_log(["c"])}
    with pytest.raises(CorruptData, match="operations 1 to 1 are missing"):
        logged(files)
    assert logged({**files, "first-index": b'{"ack_index":2}'}) == [(2, "c")]


@pytest.mark.parametrize(
    ("files", "error"),
    [
        ({"open-1": b"mp3\0" + bytes(60)}, ValidationError),
        ({"open-1": closed_log([b"\xff"])}, CorruptData),
        ({"first-index": b"{}"}, CorruptData),
        ({"first-index": b'{"ack_index":-1}', "open-1": closed_log(["a"])}, None),
    ],
)
def test_other_files(files: dict[str, bytes], error: type[EdgeError] | None) -> None:
    if error is None:
        assert logged(files) == [(0, "a")]
        return
    with pytest.raises(error):
        logged(files)


# -- operations


def test_points_as_columns_and_a_clock() -> None:
    columns = {
        "ids": [1, b"\0" * 15 + b"\5"],
        "vectors": {"d": [[1.0, 2.0], [3.0, 4.0]], "s": [{"indices": [3], "values": [1.0]}] * 2},
        "payloads": [None, {"a": 1}],
    }
    record = {"upsert_points": {"batch": columns}, "clock_tag": {"peer_id": 1, "clock_id": 0}}
    found = operation_of(record, 3)
    assert isinstance(found, UpsertPoints)
    assert [point.id for point in found.points] == [1, UUID(int=5)]
    assert found.points[1].payload == {"a": 1}
    assert found.points[0].vector["s"] == SparseVector([3], [1.0])  # type: ignore[call-overload]
    single = {"upsert_points": {"batch": {"ids": [4], "vectors": [[1.0, 2.0]]}}}
    assert operation_of(single, 0) == UpsertPoints([Point(4, {"": [1.0, 2.0]})])


def test_points_that_the_real_package_fails_on_are_left_out() -> None:
    vectors = [
        {"s": {"indices": [1, 2], "values": [1.0]}},
        {"m": [[1.0, 2.0], [3.0]]},
        [[1.0], []],
        {"s": {"indices": [1], "values": [1.0]}, "m": [[1.0], [2.0]], "d": [], "n": []},
    ]
    points = [{"id": i, "vector": vector} for i, vector in enumerate(vectors)]
    found = operation_of({"upsert_points": {"points": points}}, 0)
    assert isinstance(found, UpsertPoints)
    assert [point.id for point in found.points] == [3]


def test_a_shard_that_the_real_package_never_loads_again(folder: Path) -> None:
    sparse = {"s": qdrant.EdgeSparseVectorParams()}
    shard = made.create(folder / "real", sparse_vectors=sparse)
    good = {"s": qdrant.SparseVector([1, 2], [1.0, 2.0])}
    poison = {"s": qdrant.SparseVector([1, 2, 3], [1.0])}
    shard.update(U.upsert_points([qdrant.Point(1, good, {"kept": True})]))
    with pytest.raises(BaseException, match=r"."):
        shard.update(U.upsert_points([qdrant.Point(2, poison)]))
    copy = made.copied(folder / "real", folder / "copy")
    found = opened(copy)
    with EdgeShard.create(folder / "ours", found.config) as ours:
        replayed(ours, found.pending())
        assert points_of(ours) == {1: Held({"kept": True}, {"s": {1: 1.0, 2: 2.0}})}
    found.close()


TWICE = {"indices": [5, 5], "values": [1.0, 2.0]}
REFUSED: dict[str, tuple[Any, type[EdgeError]]] = {
    "'sync_points' is not read": ({"sync_points": {}}, ValidationError),
    "a record of": ({"delete_index": "a", "delete_points": {}}, CorruptData),
    "operation 3": ([1], CorruptData),
    "operation 3: Object": ({"delete_points": {}}, CorruptData),
    "operation 3: Expected `array`": ({"delete_points": {"ids": 7}}, CorruptData),
    "expected an int or a UUID": ({"delete_points": {"ids": ["x"]}}, ValidationError),
    "neither points nor a filter": ({"delete_payload": {"keys": []}}, ValidationError),
    "neither points nor a batch": ({"upsert_points": {}}, CorruptData),
    "several lengths": (
        {"upsert_points": {"batch": {"ids": [1], "vectors": [[1.0], [2.0]]}}},
        CorruptData,
    ),
    "index|5 comes twice": (
        {"upsert_points": {"points": [{"id": 1, "vector": {"s": TWICE}}]}},
        ValidationError,
    ),
    "condition of": ({"delete_points_by_filter": {"must": [{"is_new": 1}]}}, ValidationError),
    "match of": (
        {"delete_points_by_filter": {"must": [{"key": "a", "match": {"like": "b"}}]}},
        ValidationError,
    ),
    "range of": (
        {"delete_points_by_filter": {"must": [{"key": "a", "range": {"near": 1}}]}},
        ValidationError,
    ),
    "unknown field": (
        {"delete_points_by_filter": {"must": [{"key": "a", "newer": 1}]}},
        CorruptData,
    ),
    "update_mode": (
        {"upsert_points_conditional": {"points_op": {"points": []}, "update_mode": "never"}},
        ValidationError,
    ),
    "no known kind": (
        {"create_vector_name": {"vector_name": "v", "config": {}}},
        ValidationError,
    ),
    "has no schema": ({"create_index": {"field_name": "f"}}, ValidationError),
}  # fmt: skip


@pytest.mark.parametrize("message", REFUSED)
def test_what_is_no_operation_is_told(message: str) -> None:
    record, error = REFUSED[message]
    with pytest.raises(error, match=message) as raised:
        operation_of(record, 3)
    assert "operation 3" in str(raised.value)


def damaged(value: Any, draw: random.Random) -> Any:
    """The same with one thing in it replaced by something else."""
    junk = [None, 7, -1.5, "x", b"\0", [], {}, [[1]], {"points": 3}, True]
    if draw.random() < 0.2:
        return draw.choice(junk)
    if isinstance(value, dict) and value:
        key = draw.choice(sorted(value))
        return {**value, key: damaged(value[key], draw)}
    if isinstance(value, list) and value:
        place = draw.randrange(len(value))
        return [*value[:place], damaged(value[place], draw), *value[place + 1 :]]
    return draw.choice(junk)


def test_damaged_operations_are_refused_or_read(folder: Path) -> None:
    killed(folder)
    records = [e.record for e in entries(Folder(storage_of(folder), layout.WAL))]
    draw = random.Random(4)
    outcomes = set()
    for record in records * 30:
        try:
            operation_of(damaged(record, draw), 0)
            outcomes.add("read")
        except EdgeError as error:
            outcomes.add(type(error).__name__)
    assert outcomes >= {"read", "CorruptData", "ValidationError"}
