"""The data sets: the texts that EDGE_DATA names, or the objects that the demo ships.

Vectors are float32 of unit length; the exact answers are computed here, by matrix product.
"""

from __future__ import annotations

import gzip
import itertools
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

TOP = 10
OBJECTS = Path(__file__).parent.parent / "examples" / "apartment" / "objects.npz"
TEXT_FIELDS = ("name", "section", "priority", "size", "installed_kib", "arch", "text")
"""The scalar fields, which all tasks store."""
MORE_TEXT_FIELDS = (*TEXT_FIELDS, "tags", "depends")
"""With an array of keywords and an integer, which many rows lack."""


@dataclass(frozen=True)
class Dataset:
    """Rows to store, what they carry, queries, and which rows answer them."""

    name: str
    vectors: Floats
    """float32[n, d]"""
    payloads: list[dict[str, Any]]
    """one for each row"""
    queries: Floats
    """float32[m, d]"""
    truth: NDArray[np.int64]
    """int64[m, TOP]: the rows nearest to each query by cosine"""


def load(limit: int | None = None, queries: int | None = None) -> Dataset:
    """Load the texts if EDGE_DATA is set, else the shipped objects; at most `limit` rows."""
    folder = os.environ.get("EDGE_DATA")
    found = texts(Path(folder)) if folder else objects()
    name, vectors, payloads, asked = found
    vectors, asked = unit(vectors[:limit]), unit(asked[:queries])
    return Dataset(name, vectors, payloads[: len(vectors)], asked, nearest(vectors, asked))


def texts(folder: Path) -> tuple[str, Floats, list[dict[str, Any]], Floats]:
    """Read the set of software packages' one-line descriptions."""
    with gzip.open(folder / "texts_payload.jsonl.gz", "rt", encoding="utf-8") as lines:
        payloads = [text_payload(json.loads(line)) for line in lines]
    vectors = np.load(folder / "texts_vectors.f16.npy")
    return "texts (EDGE_DATA)", vectors, payloads, np.load(folder / "texts_queries.f32.npy")


def objects() -> tuple[str, Floats, list[dict[str, Any]], Floats]:
    """Read the demo's objects; its 30 questions are joined by 470 objects seen through noise."""
    shipped = np.load(OBJECTS)
    vectors = shipped["vectors"].astype(np.float32)
    payloads = [
        {"name": name, "kind": kind, "room": room, "text": gloss}
        for name, kind, room, gloss in zip(
            *(shipped[key].tolist() for key in ("names", "kinds", "rooms", "glosses")), strict=True
        )
    ]
    rng = np.random.default_rng(7)
    seen = vectors[rng.choice(len(vectors), 470, replace=False)]
    noise = rng.standard_normal(seen.shape, np.float32) / np.sqrt(seen.shape[1])
    asked = np.vstack([shipped["query_vectors"].astype(np.float32), seen + noise])
    return "objects (shipped; set EDGE_DATA for the large set)", vectors, payloads, asked


def stream(limit: int | None, size: int) -> Iterator[tuple[int, Floats, list[dict[str, Any]]]]:
    """Yield (first row, float32[size, d], payloads) of the rows of `load`, holding one batch only.

    It is for measuring memory, where the data themselves would hide the engine.
    """
    folder = os.environ.get("EDGE_DATA")
    if not folder:
        _, vectors, payloads, _ = objects()
        for first in range(0, len(vectors[:limit]), size):
            part = slice(first, first + size)
            yield first, unit(vectors[part]), payloads[part]
        return
    with (
        (Path(folder) / "texts_vectors.f16.npy").open("rb") as file,
        gzip.open(Path(folder) / "texts_payload.jsonl.gz", "rt", encoding="utf-8") as lines,
    ):
        np.lib.format.read_magic(file)
        (count, dim), _, dtype = np.lib.format.read_array_header_1_0(file)
        for first in range(0, min(count, limit or count), size):
            block = np.fromfile(file, dtype, size * dim).reshape(-1, dim)
            rows = [json.loads(next(lines)) for _ in range(len(block))]
            yield first, unit(block), [text_payload(row) for row in rows]


def text_payload(row: dict[str, Any], fields: Sequence[str] = TEXT_FIELDS) -> dict[str, Any]:
    """Return those of the fields that the row has."""
    return {key: row[key] for key in fields if row.get(key) is not None}


def detailed(dataset: Dataset) -> Dataset:
    """Return the same rows with all their payload fields, which only the payload tasks store."""
    folder = os.environ.get("EDGE_DATA")
    if not folder:
        return dataset
    with gzip.open(Path(folder) / "texts_payload.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in itertools.islice(lines, len(dataset.payloads))]
    return replace(dataset, payloads=[text_payload(row, MORE_TEXT_FIELDS) for row in rows])


def unit(rows: Floats) -> Floats:
    """Return the rows as contiguous float32 of length one."""
    rows = np.ascontiguousarray(rows, np.float32)
    lengths: Floats = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.divide(rows, lengths)


def nearest(vectors: Floats, queries: Floats) -> NDArray[np.int64]:
    """Return the exact answers: int64[m, TOP], best first."""
    found = np.empty((len(queries), TOP), np.int64)
    for start in range(0, len(queries), 100):
        scores = queries[start : start + 100] @ vectors.T
        best = np.argpartition(-scores, TOP, axis=1)[:, :TOP]
        order = np.argsort(-np.take_along_axis(scores, best, axis=1), axis=1, kind="stable")
        found[start : start + 100] = np.take_along_axis(best, order, axis=1)
    return found


def recall(answers: list[list[int]], truth: NDArray[np.int64]) -> float:
    """Return the share of the exact answers that were found."""
    hits = sum(len(set(got) & set(want)) for got, want in zip(answers, truth.tolist(), strict=True))
    return hits / truth.size
