"""Values of Qdrant's REST API, as JSON says them, made into values of qdrant_edge."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qdrant_edge as edge

Json = dict[str, Any]

DATATYPES = {
    "float32": edge.VectorStorageDatatype.Float32,
    "float16": edge.VectorStorageDatatype.Float16,
    "uint8": edge.VectorStorageDatatype.Uint8,
}
PARAMS: dict[str, type] = {
    "keyword": edge.KeywordIndexParams,
    "integer": edge.IntegerIndexParams,
    "float": edge.FloatIndexParams,
    "geo": edge.GeoIndexParams,
    "text": edge.TextIndexParams,
    "bool": edge.BoolIndexParams,
    "datetime": edge.DatetimeIndexParams,
    "uuid": edge.UuidIndexParams,
}
PLAIN_SETTINGS = ("is_tenant", "lookup", "range", "is_principal", "on_disk", "prefix")
TEXT_SETTINGS = ("min_token_len", "max_token_len", "lowercase", "phrase_matching", "on_disk")


def config(body: Json) -> Any:
    """The body of `PUT /collections/{c}`."""
    vectors = body.get("vectors") or {}
    if "size" in vectors:
        vectors = {"": vectors}
    sparse = body.get("sparse_vectors") or {}
    return edge.EdgeConfig(
        vectors={name: dense_params(params) for name, params in vectors.items()},
        sparse_vectors={name: sparse_params(params) for name, params in sparse.items()},
    )


def dense_params(params: Json) -> Any:
    multi = edge.MultiVectorConfig(edge.MultiVectorComparator.MaxSim)
    return edge.EdgeVectorParams(
        params["size"],
        getattr(edge.Distance, params["distance"]),
        multivector_config=multi if params.get("multivector_config") else None,
        datatype=DATATYPES.get(params.get("datatype") or ""),
    )


def sparse_params(params: Json) -> Any:
    modifier = edge.Modifier.Idf if (params or {}).get("modifier") == "idf" else None
    return edge.EdgeSparseVectorParams(modifier=modifier)


def points(body: Json) -> list[Any]:
    """The points of an upsert, whether as a list or as a batch."""
    if "batch" in body:
        body = {"points": list(_of_batch(body["batch"]))}
    return [
        edge.Point(point["id"], vector(point.get("vector") or {}), point.get("payload") or {})
        for point in body["points"]
    ]


def _of_batch(batch: Json) -> Any:
    payloads = batch.get("payloads") or [None] * len(batch["ids"])
    vectors = batch["vectors"]
    if isinstance(vectors, dict):
        names = list(vectors)
        vectors = [
            dict(zip(names, row, strict=True)) for row in zip(*vectors.values(), strict=True)
        ]
    for id, row, payload in zip(batch["ids"], vectors, payloads, strict=True):
        yield {"id": id, "vector": row, "payload": payload}


def vector(value: Any) -> Any:
    if isinstance(value, dict) and set(value) == {"indices", "values"}:
        return edge.SparseVector(value["indices"], value["values"])
    if isinstance(value, dict):
        return {name: vector(part) for name, part in value.items()}
    return value


def json_vector(value: Any) -> Any:
    """A vector of a record, as JSON says it."""
    if isinstance(value, edge.SparseVector):
        return {"indices": list(value.indices), "values": list(value.values)}
    if isinstance(value, dict):
        return {name: json_vector(part) for name, part in value.items()}
    return value


# -- filters


def filter(value: Json | None) -> Any:
    if value is None:
        return None
    least = value.get("min_should")
    return edge.Filter(
        must=_conditions(value.get("must")),
        should=_conditions(value.get("should")),
        must_not=_conditions(value.get("must_not")),
        min_should=least and edge.MinShould(_conditions(least["conditions"]), least["min_count"]),
    )


def _conditions(value: Any) -> list[Any] | None:
    if value is None:
        return None
    return [condition(one) for one in (value if isinstance(value, list) else [value])]


def condition(value: Json) -> Any:
    if "has_id" in value:
        return edge.HasIdCondition(set(value["has_id"]))
    if "has_vector" in value:
        return edge.HasVectorCondition(value["has_vector"])
    if "nested" in value:
        return edge.NestedCondition(value["nested"]["key"], filter(value["nested"]["filter"]))
    if "key" in value:
        return _field_condition(value)
    if isinstance(value.get("is_empty"), dict):
        return edge.IsEmptyCondition(value["is_empty"]["key"])
    if isinstance(value.get("is_null"), dict):
        return edge.IsNullCondition(value["is_null"]["key"])
    return filter(value)


MATCHES: dict[str, Callable[[Any], Any]] = {
    "value": edge.MatchValue,
    "text": edge.MatchText,
    "text_any": edge.MatchTextAny,
    "phrase": edge.MatchPhrase,
    "prefix": edge.MatchPrefix,
    "any": edge.MatchAny,
    "except": edge.MatchExcept,
}


def _field_condition(value: Json) -> Any:
    match, bounds, values = value.get("match"), value.get("range"), value.get("values_count")
    return edge.FieldCondition(
        value["key"],
        match=next((MATCHES[kind](of) for kind, of in match.items()), None) if match else None,
        range=_range(bounds) if bounds else None,
        geo_bounding_box=_part(value.get("geo_bounding_box"), _box),
        geo_radius=_part(value.get("geo_radius"), _radius),
        values_count=edge.ValuesCount(**values) if values else None,
        is_empty=value.get("is_empty"),
        is_null=value.get("is_null"),
    )


def _range(bounds: Json) -> Any:
    given = {name: bound for name, bound in bounds.items() if bound is not None}
    if any(isinstance(bound, str) for bound in given.values()):
        return edge.RangeDateTime(**given)
    return edge.RangeFloat(**given)


def _part(value: Any, make: Callable[[Any], Any]) -> Any:
    return None if value is None else make(value)


def _place(value: Json) -> Any:
    return edge.GeoPoint(lon=value["lon"], lat=value["lat"])


def _box(value: Json) -> Any:
    return edge.GeoBoundingBox(_place(value["top_left"]), _place(value["bottom_right"]))


def _radius(value: Json) -> Any:
    return edge.GeoRadius(_place(value["center"]), value["radius"])


# -- updates


def _target(body: Json) -> tuple[str, Any]:
    """(the ending of a constructor's name, whom it is about)"""
    if body.get("filter") is not None:
        return "_by_filter", filter(body["filter"])
    return "", body["points"]


def _upsert(body: Json) -> Any:
    mode = body.get("update_mode")
    modes = {"upsert": "Upsert", "insert_only": "InsertOnly", "update_only": "UpdateOnly"}
    return edge.UpdateOperation.upsert_points(
        points(body),
        filter(body.get("update_filter")),
        mode and getattr(edge.UpdateMode, modes[mode]),
    )


def _about(name: str, *fields: str) -> Callable[[Json], Any]:
    def make(body: Json) -> Any:
        ending, target = _target(body)
        given = [body.get(field) for field in fields]
        return getattr(edge.UpdateOperation, name + ending)(target, *given)

    return make


def _update_vectors(body: Json) -> Any:
    changed = [edge.PointVectors(one["id"], vector(one["vector"])) for one in body["points"]]
    return edge.UpdateOperation.update_vectors(changed, filter(body.get("update_filter")))


UPDATES: dict[str, Callable[[Json], Any]] = {
    "upsert": _upsert,
    "delete": _about("delete_points"),
    "set_payload": _about("set_payload", "payload", "key"),
    "overwrite_payload": _about("overwrite_payload", "payload"),
    "delete_payload": _about("delete_payload", "keys"),
    "clear_payload": _about("clear_payload"),
    "update_vectors": _update_vectors,
    "delete_vectors": _about("delete_vectors", "vector"),
}
"""The kinds of operations of `POST /collections/{c}/points/batch`."""


def create_field_index(body: Json) -> Any:
    schema = body.get("field_schema") or body.get("field_type") or "keyword"
    if isinstance(schema, str):
        made = getattr(edge.PayloadSchemaType, schema.capitalize())
    else:
        wanted = TEXT_SETTINGS if schema["type"] == "text" else PLAIN_SETTINGS
        settings = {name: schema[name] for name in wanted if schema.get(name) is not None}
        if "tokenizer" in schema:
            settings["tokenizer"] = getattr(edge.TokenizerType, schema["tokenizer"].capitalize())
        made = PARAMS[schema["type"]](**settings)
    return edge.UpdateOperation.create_field_index(body["field_name"], made)


def create_vector(name: str, body: Json) -> Any:
    """The body of `PUT /collections/{c}/vectors/{name}`."""
    make = edge.UpdateOperation
    if "sparse" in body:
        return make.create_sparse_vector(name, sparse_params(body["sparse"]).modifier)
    params = dense_params(body["dense"])
    settings = (params.distance, params.multivector_config, params.datatype)
    return make.create_dense_vector(name, params.size, *settings)
