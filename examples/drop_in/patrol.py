"""What a robot remembers of its patrol, by either engine: the one variable below chooses it.

    ENGINE=edge.blocking python patrol.py
    ENGINE=qdrant_edge python patrol.py

Nothing in the program knows which one it is. Both print the same; `side_by_side.py` shows it.
"""

from __future__ import annotations

import os
import tempfile
from importlib import import_module
from typing import Any

import numpy as np

ENGINE = os.environ.get("ENGINE", "edge.blocking")
q: Any = import_module(ENGINE)  # in a program of yours: import edge.blocking as q

SIZE = 32
ROOMS = ("dock", "aisle", "office", "workshop")
THINGS = {
    "pallet": "a wooden pallet with boxes, wrapped in foil",
    "forklift": "a yellow forklift truck, its driver absent",
    "ladder": "an aluminium ladder leaning against a rack",
    "spill": "a puddle of oil on the floor, slippery",
    "door": "a fire door that was left open",
    "person": "a person in a yellow vest carrying boxes",
    "extinguisher": "a red fire extinguisher on its hook",
    "cable": "a loose cable across the floor",
}
WORDS = q.Bm25(q.Bm25Config(stemmer=q.DisabledStemmer()))


def look(thing: str, draw: np.random.Generator) -> list[float]:
    """What a camera's model would make of a thing: the same direction each time, and some noise."""
    own = np.random.default_rng(list(thing.encode())).normal(size=SIZE)
    seen: list[float] = (own + 0.35 * draw.normal(size=SIZE)).tolist()
    return seen


def words(text: str, draw: np.random.Generator) -> Any:
    """The words of a text, weighed as a learned model would: no two sightings alike."""
    found = WORDS.embed_document(text)
    return q.SparseVector(found.indices, [w * float(draw.uniform(0.5, 1.5)) for w in found.values])


def sighting(number: int, draw: np.random.Generator) -> Any:
    """A point: what was seen, the words for it, where and when."""
    thing = list(THINGS)[int(draw.integers(len(THINGS)))]
    room = ROOMS[int(draw.integers(len(ROOMS)))]
    text, minute = f"{THINGS[thing]}, in the {room}", number % 5 * 12
    vectors = {"look": look(thing, draw), "words": words(text, draw)}
    payload = {
        "thing": thing,
        "room": room,
        "text": text,
        "seen_at": f"2024-05-{1 + number // 60:02}T{8 + number // 5 % 12:02}:{minute:02}:00Z",
        "tick": number,
        "confidence": round(float(draw.uniform(0.5, 1.0)), 3),
        "place": {"lat": 48.1 + number % 7 / 1000, "lon": 11.5 + number % 5 / 1000},
    }
    return q.Point(number, vectors, payload)


def where(**wanted: Any) -> Any:
    """A filter of exact matches."""
    return q.Filter(
        must=[q.FieldCondition(key, match=q.MatchValue(value)) for key, value in wanted.items()]
    )


def tell(title: str, lines: list[str]) -> None:
    print(f"-- {title}")
    for line in lines:
        print(f"   {line}")


def named(hits: list[Any]) -> list[str]:
    return [
        f"{hit.score:7.4f}  {hit.id:>3}  {hit.payload['thing']} in the {hit.payload['room']}"
        for hit in hits
    ]


def config() -> Any:
    return q.EdgeConfig(
        vectors={"look": q.EdgeVectorParams(SIZE, q.Distance.Cosine)},
        sparse_vectors={"words": q.EdgeSparseVectorParams(modifier=q.Modifier.Idf)},
    )


def write(memory: Any, draw: np.random.Generator) -> None:
    """Sightings in batches, as a robot has them; then what was learnt later."""
    u = q.UpdateOperation
    for field, kind in {
        "thing": q.PayloadSchemaType.Keyword,
        "room": q.PayloadSchemaType.Keyword,
        "tick": q.PayloadSchemaType.Integer,
        "seen_at": q.PayloadSchemaType.Datetime,
    }.items():
        memory.update(u.create_field_index(field, kind))
    for first in range(0, 400, 50):
        memory.update(u.upsert_points([sighting(i, draw) for i in range(first, first + 50)]))
    memory.update(u.set_payload_by_filter(where(thing="spill", room="office"), {"cleaned": True}))
    memory.optimize()
    tell("what is there", [f"{memory.info().points_count} sightings"])


def filtered(memory: Any) -> None:
    """Counts, facets and pages."""
    late = q.FieldCondition("seen_at", range=q.RangeDateTime(gte="2024-05-05T00:00:00Z"))
    near = q.FieldCondition(
        "place", geo_radius=q.GeoRadius(q.GeoPoint(lon=11.502, lat=48.103), 150.0)
    )
    open_doors = where(thing="door")
    questions = {
        "doors": open_doors,
        "doors, late": q.Filter(must=[open_doors, late]),
        "near the gate": q.Filter(must=[near]),
        "neither dock nor aisle": q.Filter(
            must_not=[q.FieldCondition("room", match=q.MatchAny(["dock", "aisle"]))]
        ),
        "spills not cleaned": q.Filter(must=[where(thing="spill"), q.IsEmptyCondition("cleaned")]),
    }
    tell(
        "counted",
        [f"{memory.count(q.CountRequest(filter=f)):>4}  {name}" for name, f in questions.items()],
    )
    for key in ("room", "thing"):
        found = memory.facet(q.FacetRequest(key, limit=8, exact=True))
        counted = sorted((-hit.count, hit.value) for hit in found.hits)
        tell(f"facets of {key}", [f"{-count:>4}  {value}" for count, value in counted])
    page, following = memory.scroll(
        q.ScrollRequest(limit=4, filter=open_doors, with_payload=["room", "seen_at"])
    )
    tell(
        "doors, the first",
        [f"{r.id:>4}  {r.payload['room']}, {r.payload['seen_at']}" for r in page],
    )
    page, _ = memory.scroll(q.ScrollRequest(offset=following, limit=2, filter=open_doors))
    tell("doors, then", [f"{r.id:>4}  {r.payload['room']}" for r in page])
    latest = q.OrderBy("tick", q.Direction.Desc)
    page, _ = memory.scroll(q.ScrollRequest(limit=3, filter=open_doors, order_by=latest))
    tell("doors, the latest", [f"{r.id:>4}  {r.payload['seen_at']}" for r in page])


def ranked(memory: Any, draw: np.random.Generator) -> None:
    """By looks, by words, by both, by examples."""

    def ask(title: str, query: Any, *prefetches: Any, limit: int = 5, **settings: Any) -> None:
        request = q.QueryRequest(
            limit, query=query, prefetches=list(prefetches), with_payload=True, **settings
        )
        tell(title, named(memory.query(request)))

    seen, words = look("forklift", draw), WORDS.embed_query("yellow vest boxes dock")
    by_look, by_words = q.Query.Nearest(seen, "look"), q.Query.Nearest(words, "words")
    both = (q.Prefetch(30, by_look), q.Prefetch(30, by_words))
    ask("looks like this", by_look)
    ask("in the dock", by_look, filter=where(room="dock"))
    ask("like enough", by_look, limit=50, score_threshold=0.916)
    ask("is called so", by_words)
    ask("by looks and words, by places", q.Fusion.Rrf(2, [2.3, 1.0]), *both)
    ask("by looks and words, by scores", q.Fusion.Dbsf(), *both)
    ask("by words, then by looks", by_look, both[1])

    liked, disliked = [look("ladder", draw), look("cable", draw)], [look("person", draw)]
    examples = q.RecommendQuery(liked, disliked)
    ask("more like these", q.Query.RecommendBestScore(examples, "look"))
    ask("more like all of these", q.Query.RecommendSumScores(examples, "look"))
    pair = q.ContextPair(look("spill", draw), look("door", draw))
    ask("on the side of spills", q.Query.Discover(q.DiscoverQuery(seen, [pair]), "look"))
    ask("of all sorts", q.Mmr(seen, 0.4, 60, "look"), limit=6)

    x = q.Expression
    age = x.Decay(
        q.DecayKind.Exp,
        x.DatetimeKey("seen_at"),
        x.Datetime("2024-05-07T12:00:00Z"),
        0.5,
        86_400.0,
    )
    fresh = x.Sum(
        [
            x.Mult([x.Variable("$score"), x.Variable("confidence")]),
            x.Mult([x.Constant(0.5), age]),
            x.Mult([x.Constant(0.25), x.Condition(where(room="dock"))]),
        ]
    )
    ask("like this, sure, fresh, near", q.Formula(fresh, {"confidence": 0.5}), both[0])


def forget(memory: Any) -> None:
    """What is not worth the space."""
    u = q.UpdateOperation
    unsure = q.FieldCondition("confidence", range=q.RangeFloat(lt=0.52))
    memory.update(u.delete_points_by_filter(q.Filter(must=[unsure])))
    memory.update(u.delete_vectors([7, 8], ["words"]))
    memory.update(u.delete_payload_by_filter(where(thing="cable"), ["text", "place"]))
    left = memory.count(q.CountRequest(filter=q.Filter(must=[q.IsEmptyCondition("text")])))
    tell("what is left", [f"{memory.info().points_count} sightings, {left} without a text"])


def later(folder: str) -> None:
    """After a restart."""
    memory = q.EdgeShard.load(folder)
    points = memory.retrieve([3, 7, 999], with_payload=["thing"], with_vector=["look", "words"])
    for point in points:
        vectors = {name: type(vector).__name__ for name, vector in point.vector.items()}
        tell("read again", [f"{point.id}  {point.payload['thing']}, {sorted(vectors.items())}"])
    batch = [
        q.QueryRequest(1, query=q.OrderBy("tick", direction), filter=where(thing="spill"))
        for direction in (q.Direction.Asc, q.Direction.Desc)
    ]
    first, last = memory.query_batch(q.QueryBatchRequest(batch))
    tell("spills", [f"first seen {first[0].id}, last seen {last[0].id}"])
    memory.close()


def main() -> None:
    draw = np.random.default_rng(8)
    with tempfile.TemporaryDirectory() as parent:
        folder = os.path.join(parent, "memory")
        os.mkdir(folder)
        memory = q.EdgeShard.create(folder, config())
        write(memory, draw)
        filtered(memory)
        ranked(memory, draw)
        forget(memory)
        memory.close()
        later(folder)


if __name__ == "__main__":
    main()
