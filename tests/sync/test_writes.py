"""Operations as requests: held against qdrant-client's own models, and read back whole."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from pydantic import TypeAdapter
from qdrant_client.http import models

from edge.errors import ValidationError
from edge.model.check import (
    CheckedCreateFieldIndex,
    CheckedCreateVector,
    CheckedDeleteFieldIndex,
    CheckedDeleteVector,
    CheckedNothing,
    CheckedOperation,
    CheckedSetConfig,
    CheckedSetCursor,
    CheckedUpdateVectors,
    CheckedUpsert,
    check,
)
from edge.model.config import EdgeConfig
from edge.model.filter import Filter
from edge.model.json_path import parse
from edge.model.payload import decode_payload
from edge.model.point import Point, PointBatch, PointVectors
from edge.model.point_id import decode_ids
from edge.model.schema import PayloadSchemaType
from edge.model.update import UpdateOperation
from edge.model.vector_params import Distance, EdgeVectorParams
from edge.payload import edit
from edge.sync.writes import (
    CHANGES,
    SETTINGS,
    Request,
    collection_of,
    described,
    halves,
    misfit,
    requests_of,
)
from tests.model.strategies import CONFIG, ids, operations

MOST = 1 << 20


def made(operations: Iterable[CheckedOperation], most_bytes: int = MOST) -> list[Request]:
    return list(requests_of(operations, most_bytes))


def by_ids(operation: CheckedOperation) -> CheckedOperation:
    """The operation as an outbox gives it: without filters."""
    changes: dict[str, Any] = {}
    if isinstance(getattr(operation, "target", None), Filter):
        changes["target"] = np.array([[0, 0, 7], [1, 2, 3]], np.uint64)
    if getattr(operation, "condition", None) is not None:
        changes["condition"] = None
    return replace(operation, **changes)


checked = operations.map(lambda operation: by_ids(check(operation, CONFIG)))


# -- held against the client's models

MODELS: dict[type, Any] = {
    CheckedCreateFieldIndex: models.CreateFieldIndex,
    CheckedCreateVector: models.DenseVectorNameConfig | models.SparseVectorNameConfig,
}


@given(checked)
def test_the_clients_models_take_what_is_said(operation: CheckedOperation) -> None:
    try:
        requests = made([operation])
    except ValidationError:
        return
    for request in requests:
        if request.path == "/points/batch":
            models.UpdateOperations.model_validate_json(request.body or b"")
        elif request.body is not None:
            TypeAdapter(MODELS[type(operation)]).validate_json(request.body)
        else:
            assert request.method == "DELETE"


def test_every_operation_that_is_of_interest_elsewhere_has_words() -> None:
    own = {CheckedNothing, CheckedSetConfig, CheckedSetCursor}
    assert set(CHANGES) | set(SETTINGS) == set(CheckedOperation.__subclasses__()) - own


# -- read back


def changes(requests: Iterable[Request]) -> Iterator[tuple[str, Any]]:
    for request in requests:
        assert (request.method, request.path) == ("POST", "/points/batch")
        for operation in json.loads(request.body or b"")["operations"]:
            yield from operation.items()


def plain(batch: PointBatch, *, payloads: bool) -> list[Any]:
    """The points of a batch as the API says them; numbers are those of float32."""
    points = [{"id": one if isinstance(one, int) else str(one)} for one in decode_ids(batch.ids)]
    vectors: list[dict[str, Any]] = [{} for _ in points]
    for name, column in batch.vectors.items():
        rows = range(len(points)) if column.rows is None else column.rows.tolist()
        lengths = [1] * len(column) if column.lengths is None else column.lengths.tolist()
        start = 0
        for row, length in zip(rows, lengths, strict=True):
            part = column.data[start : start + length].tolist()
            if column.indices is not None:
                part = {"indices": column.indices[start : start + length].tolist(), "values": part}
            vectors[row][name] = part[0] if column.lengths is None else part
            start += length
    for place, point in enumerate(points):
        vector = vectors[place]
        point["vector"] = vector[""] if vector.keys() == {""} else vector
        blob = batch.payloads[place] if payloads else None
        if blob is not None:
            point["payload"] = decode_payload(blob)
    return points


def as_float32(value: Any, key: str = "") -> Any:
    """A vector as it was said, its numbers read as float32."""
    if isinstance(value, dict):
        return {name: as_float32(part, name) for name, part in value.items()}
    if isinstance(value, list):
        return value if key == "indices" else [as_float32(part) for part in value]
    return float(np.float32(value))


@given(checked, st.sampled_from([1, 200, MOST]))
def test_points_are_read_back_whole_however_they_are_parted(
    operation: CheckedOperation, most_bytes: int
) -> None:
    if not isinstance(operation, CheckedUpsert | CheckedUpdateVectors):
        return
    found = []
    for kind, change in changes(made([operation], most_bytes)):
        assert kind == ("upsert" if isinstance(operation, CheckedUpsert) else "update_vectors")
        found += change["points"]
    for point in found:
        point["vector"] = as_float32(point["vector"])
    assert found == plain(operation.batch, payloads=isinstance(operation, CheckedUpsert))


@given(st.lists(ids, min_size=1, max_size=30), st.sampled_from([1, 60, MOST]))
def test_edits_are_about_those_of_their_points_that_are_there(
    named: list[int | UUID], most_bytes: int
) -> None:
    edits = {
        "set_payload": UpdateOperation.set_payload(named, {"a": [1, None, 2**63]}, "b[].c"),
        "overwrite_payload": UpdateOperation.overwrite_payload(named, {"a": None}),
        "delete_payload": UpdateOperation.delete_payload(named, ["a", "b.c"]),
        "clear_payload": UpdateOperation.clear_payload(named),
        "delete_vectors": UpdateOperation.delete_vectors(named, [""]),
    }
    rest: dict[str, Any] = {
        "set_payload": {"payload": {"a": [1, None, 2**63]}, "key": "b[].c"},
        "overwrite_payload": {"payload": {"a": None}},
        "delete_payload": {"keys": ["a", "b.c"]},
        "clear_payload": {},
        "delete_vectors": {"vector": [""]},
    }
    wanted = [one if isinstance(one, int) else str(one) for one in named]
    for kind, edit_of in edits.items():
        found = []
        for said, change in changes(made([check(edit_of, CONFIG)], most_bytes)):
            assert said == kind
            [condition] = change.pop("filter")["must"]
            found += condition.pop("has_id")
            assert not condition
            assert change == rest[kind]
        assert found == wanted
    deleted = changes(made([check(UpdateOperation.delete_points(named), CONFIG)], most_bytes))
    assert [one for _, change in deleted for one in change["points"]] == wanted


def test_operations_keep_their_order() -> None:
    made_in_order = [
        UpdateOperation.upsert_points([Point(1, [1, 2, 3])]),
        UpdateOperation.clear_payload([1]),
        UpdateOperation.create_field_index("größe.x", PayloadSchemaType.Keyword),
        UpdateOperation.delete_points([2]),
        UpdateOperation.delete_field_index("größe.x"),
        UpdateOperation.create_sparse_vector("a/b"),
        UpdateOperation.delete_vector_name("a/b"),
        UpdateOperation.upsert_points([]),
    ]
    requests = made([check(operation, CONFIG) for operation in made_in_order])
    assert [(request.method, request.path) for request in requests] == [
        ("POST", "/points/batch"),
        ("PUT", "/index"),
        ("POST", "/points/batch"),
        ("DELETE", "/index/gr%C3%B6%C3%9Fe.x"),
        ("PUT", "/vectors/a%2Fb"),
        ("DELETE", "/vectors/a%2Fb"),
    ]
    assert [kind for kind, _ in changes(requests[:1])] == ["upsert", "clear_payload"]
    assert json.loads(requests[1].body or b"") == {
        "field_name": "größe.x", "field_schema": "keyword",
    }  # fmt: skip


@pytest.mark.parametrize("most_bytes", [2_000, 20_000])
def test_requests_are_about_as_large_as_they_are_asked_to_be(most_bytes: int) -> None:
    numbers = np.random.default_rng(1).random((500, 64), np.float32)
    upsert = check(
        UpdateOperation.upsert_arrays(np.arange(500), numbers),
        EdgeConfig(EdgeVectorParams(64, Distance.Dot)),
    )
    delete = check(UpdateOperation.delete_points(range(10**9, 10**9 + 3000)), CONFIG)
    requests = made([upsert, delete, upsert], most_bytes)
    sizes = [len(request.body or b"") for request in requests]
    assert max(sizes) < most_bytes + (64 << 10)
    assert len(sizes) < sum(sizes) / most_bytes + 8
    points = [p for kind, change in changes(requests) if kind == "upsert" for p in change["points"]]
    assert [point["id"] for point in points] == [*range(500), *range(500)]


# -- what Qdrant has no words for

patches = st.dictionaries(st.sampled_from("abx"), st.none() | st.integers(0, 3), max_size=3)
documents = st.recursive(
    st.none() | st.integers(0, 3),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("abx"), inner, max_size=3)
    ),
    max_leaves=8,
).filter(lambda value: isinstance(value, dict))


@given(documents, patches, st.sampled_from(["a", "a.b", "a.b.x", "a[].b", "a[0].b", '"x".a']))
def test_overwriting_a_place_is_setting_it_in_what_is_above(
    payload: dict[str, Any], patch: dict[str, Any], key: str
) -> None:
    operation = check(UpdateOperation.overwrite_payload([1], patch, key), CONFIG)
    [(kind, change)] = changes(made([operation]))
    assert kind == "set_payload"
    above = change.get("key")
    found = edit.set_payload(payload, change["payload"], None if above is None else parse(above))
    assert found == edit.overwrite(payload, patch, parse(key))


@pytest.mark.parametrize("key", ["a[]", "a[0]", "a.b[]"])
def test_elements_are_not_overwritten(key: str) -> None:
    before = check(UpdateOperation.clear_payload([1]), CONFIG)
    operation = check(UpdateOperation.overwrite_payload([1], {"a": 1}, key), CONFIG)
    requests = requests_of([before, operation], MOST)
    assert next(requests).path == "/points/batch", "what comes before it is sent"
    with pytest.raises(ValidationError, match="replaces no elements"):
        next(requests)


def test_a_filter_is_not_sent() -> None:
    with pytest.raises(ValidationError, match="a filter says another thing"):
        made([check(UpdateOperation.delete_points_by_filter(Filter()), CONFIG)])


def test_the_default_vector_has_no_name_in_a_path() -> None:
    with pytest.raises(ValidationError, match="cannot name the default vector"):
        made([CheckedDeleteVector("")])
    assert made([CheckedDeleteFieldIndex("a")])[0].path == "/index/a"


# -- collections


@given(st.sampled_from([CONFIG, EdgeConfig(EdgeVectorParams(4, Distance.Cosine))]))
def test_the_clients_model_takes_a_collection(config: EdgeConfig) -> None:
    body = collection_of(config)
    collection = models.CreateCollection.model_validate_json(body)
    vectors = collection.vectors
    assert vectors is not None
    if isinstance(vectors, models.VectorParams):
        vectors = {"": vectors}
    assert vectors.keys() == config.vectors.keys()
    assert (collection.sparse_vectors or {}).keys() == config.sparse_vectors.keys()
    params = json.loads(body)
    assert misfit(config, params) is None


@pytest.mark.parametrize(
    ("theirs", "wrong"),
    [
        ({"size": 3, "distance": "Dot"}, None),
        ({"": {"size": 3, "distance": "Dot"}, "more": {"size": 1, "distance": "Dot"}}, None),
        ({}, None),
        ({"size": 4, "distance": "Dot"}, r"'': .*\(4, 'Dot', False\), not \(3, 'Dot', False\)"),
        ({"size": 3, "distance": "Cosine"}, "not"),
        ({"size": 3, "distance": "Dot", "multivector_config": {"comparator": "max_sim"}}, "True"),
    ],
)  # fmt: skip
def test_collections_that_fit_and_that_do_not(theirs: Any, wrong: str | None) -> None:
    found = misfit(EdgeConfig(EdgeVectorParams(3, Distance.Dot)), {"vectors": theirs})
    if wrong is None:
        assert found is None
    else:
        assert found is not None
        assert re.search(wrong, found)


# -- parts


@given(checked)
def test_halves_are_the_whole(operation: CheckedOperation) -> None:
    parts = halves(operation)
    if len(parts) == 1:
        assert parts == (operation,)
        return
    assert isinstance(operation, CheckedUpsert | CheckedUpdateVectors)
    whole = plain(operation.batch, payloads=bool(operation.batch.payloads))
    found = [plain(part.batch, payloads=bool(part.batch.payloads)) for part in parts]  # type: ignore[union-attr]
    assert [*found[0], *found[1]] == whole
    assert all(found)


def test_operations_are_described_by_kind_and_points() -> None:
    update = UpdateOperation.update_vectors([PointVectors(7, [1, 2, 3])])
    assert described(check(update, CONFIG)) == "UpdateVectors of 7"
    assert described(check(UpdateOperation.delete_points(range(9)), CONFIG)) == (
        "DeletePoints of 0, 1, 2, ..."
    )
    index = UpdateOperation.create_field_index("a", PayloadSchemaType.Bool)
    assert described(check(index, CONFIG)) == "CreateFieldIndex"
