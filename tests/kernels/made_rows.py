"""Rows and queries in every encoding, with the distances that plain numpy finds for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from edge_kernels import encodings as e

Array = Any
PLAIN = (e.FLOAT32, e.FLOAT16, e.UINT8, e.INT8, e.SCALED8, e.SCALED16)
"""Encodings in which an element is a number of its own; graphs are built of them."""


class Matrix(NamedTuple):
    """Rows of `code`; `ask(random)` makes a query, in query form, and the float64 distances."""

    code: int
    rows: Array
    ask: Callable[[np.random.Generator], tuple[Array, Array]]


# --- numbers ---------------------------------------------------------------------------------


def elements(encoding: int, shape: tuple[int, ...], random: np.random.Generator) -> Array:
    """Numbers that rows of an encoding may hold, extremes among them."""
    if encoding == e.UINT8:
        return spiked(random.integers(0, 256, shape), (0, 255), random)
    if encoding in (e.INT8, e.SCALED8):
        return spiked(random.integers(-128, 128, shape), (-128, 127, 0), random)
    if encoding == e.SCALED16:
        return spiked(random.integers(-(2**15), 2**15, shape), (-(2**15), 2**15 - 1), random)
    floats = random.standard_normal(shape) * 10.0 ** random.integers(-3, 3, shape)
    if encoding == e.FLOAT16:
        return spiked(floats, (6e-8, -6e-8, 1e-5, 0.0), random).astype(np.float16)
    return spiked(floats, (0.0, -0.0, 1e4), random).astype(np.float32)


def spiked(values: Array, extremes: tuple[float, ...], random: np.random.Generator) -> Array:
    """Each tenth value an extreme one."""
    chosen = random.random(values.shape) < 0.1
    return np.where(chosen, random.choice(extremes, values.shape), values)


TYPES = {
    e.FLOAT32: np.float32,
    e.FLOAT16: np.float16,
    e.UINT8: np.uint8,
    e.INT8: np.int8,
    e.SCALED8: np.int8,
    e.SCALED16: np.int16,
}


def rows_of(encoding: int, numbers: Array, scales: Array | None = None) -> tuple[Array, Array]:
    """A matrix of the numbers (int64 or float), and what it stands for in float64."""
    n, dim = numbers.shape
    stride = e.stride_of(dim, encoding)
    padded = np.zeros((n, stride), TYPES[encoding])
    padded[:, :dim] = numbers
    if encoding not in (e.SCALED8, e.SCALED16):
        return padded, numbers.astype(np.float64)
    scales = np.ones(n, np.float32) if scales is None else scales
    meant = numbers.astype(np.float64) * scales[:, None].astype(np.float64)
    behind = np.zeros((n, 4), np.float32)
    behind[:, 2], behind[:, 3] = scales, (meant**2).sum(axis=1)
    whole = np.hstack([padded.view(np.uint8), behind.view(np.uint8)])
    return np.ascontiguousarray(whole).view(TYPES[encoding]), meant


def query_of(encoding: int, numbers: Array, factor: float = 1.0) -> Array:
    """The query form of a vector of numbers."""
    dim = len(numbers)
    stride = e.stride_of(dim, encoding)
    if encoding in (e.UINT8, e.INT8):
        prefix = e.PREFIX if encoding == e.INT8 else 0
        query = np.zeros(prefix + stride, TYPES[encoding])
        query[prefix : prefix + dim] = numbers
        if prefix:
            query[:4] = np.array([factor], np.float32).view(np.int8)
        return query
    query = np.zeros(stride + (16 if encoding in (e.SCALED8, e.SCALED16) else 0), np.float32)
    query[:dim] = numbers
    if len(query) > stride:
        query[stride] = (query[:dim].astype(np.float64) ** 2).sum()
    return query


def plain_distances(metric: int, query: Array, rows: Array) -> Array:
    """Distances in float64, of rows in the last axis."""
    query, rows = query.astype(np.float64), rows.astype(np.float64)
    if metric == e.EUCLID:
        return ((rows - query) ** 2).sum(axis=-1)
    if metric == e.MANHATTAN:
        return np.abs(rows - query).sum(axis=-1)
    return -(rows @ query)


def plain_angles(query: Array, rows: Array) -> Array:
    """Distances of UINT8 by COSINE."""
    query, rows = query.astype(np.float64), rows.astype(np.float64)
    lengths = np.sqrt((rows**2).sum(axis=-1)) * np.sqrt((query**2).sum())
    return -(rows @ query) / np.where(lengths > 0, lengths, np.inf)


def made(code: int, n: int, dim: int, random: np.random.Generator) -> Matrix:
    """Rows of any code without MULTI."""
    if e.encoding_of_code(code) == e.SLICED:
        return made_sliced(code, n, dim, random)
    if e.encoding_of_code(code) == e.PRODUCT:
        return made_product(code, n, dim, random)
    return made_plain(code, n, dim, random)


def made_plain(code: int, n: int, dim: int, random: np.random.Generator) -> Matrix:
    """Rows whose elements are numbers of their own."""
    metric, encoding = e.metric_of_code(code), e.encoding_of_code(code)
    scales = (10.0 ** random.uniform(-3, 1, n)).astype(np.float32)
    rows, meant = rows_of(encoding, elements(encoding, (n, dim), random), scales)
    kind = e.FLOAT32 if encoding in (e.SCALED8, e.SCALED16) else encoding

    def ask(random: np.random.Generator) -> tuple[Array, Array]:
        numbers, factor = elements(kind, (dim,), random), np.float32(random.uniform(0.01, 3))
        query = query_of(encoding, numbers, factor)
        if encoding == e.UINT8 and metric == e.COSINE:
            return query, plain_angles(numbers, meant)
        distances = plain_distances(metric, numbers, meant)
        return query, distances * (float(factor) if encoding == e.INT8 else 1)

    return Matrix(code, rows, ask)


# --- bit planes and tables -------------------------------------------------------------------


def made_sliced(code: int, n: int, dim: int, random: np.random.Generator) -> Matrix:
    """Rows of one to four planes, of which later ones may be shorter; queries of one to eight
    bits.
    """
    planes, depth = int(random.integers(1, 5)), int(random.integers(1, 9))
    longest = -(-dim // 64)
    words = np.array([longest, *random.integers(1, longest + 1, planes - 1)], np.int64)
    bits = [random.random((n, 64 * count)) < 0.5 for count in words]
    scales, last = random.uniform(0.1, 2, (2, n)).astype(np.float32)
    behind = np.stack([scales, last], axis=1).view(np.uint8)
    packed = [np.packbits(plane, axis=1, bitorder="little") for plane in bits]
    rows = np.ascontiguousarray(np.hstack([*packed, behind])).view(np.uint64)

    def ask(random: np.random.Generator) -> tuple[Array, Array]:
        numbers = random.integers(0, 2**depth, 64 * longest)
        weights, biases = random.standard_normal((2, planes)).astype(np.float32)
        unit, own, constant = random.uniform(0.01, 9, 3).astype(np.float32)
        query = np.zeros(16 + depth * longest, np.int64)
        floats = query.view(np.float32)
        query[0], query[1], query[4 : 4 + planes] = planes, depth, words
        floats[4:7] = unit, constant, own
        floats[16 : 16 + 2 * planes : 2], floats[24 : 24 + 2 * planes : 2] = weights, biases
        digits = ((numbers[None, :] >> np.arange(depth)[:, None]) & 1).astype(np.uint8)
        query[16:] = np.packbits(digits, axis=1, bitorder="little").view(np.int64).ravel()

        values, dot = float(unit) * (numbers - (2**depth - 1) / 2), np.zeros(n)
        for plane, weight, bias in zip(bits, weights.tolist(), biases.tolist(), strict=True):
            dot += weight * (2 * (plane @ values[: plane.shape[1]]) - bias)
        dot *= scales
        if e.metric_of_code(code) in (e.COSINE, e.DOT):
            return query.view(np.uint8), -(float(constant) + float(own) * last + dot)
        return query.view(np.uint8), np.maximum(0, last + float(own) - 2 * dot)

    return Matrix(code, rows, ask)


def made_product(code: int, n: int, dim: int, random: np.random.Generator) -> Matrix:
    """One chunk for each dimension."""
    rows = np.zeros((n, -(-dim // 4) * 4), np.uint8)
    rows[:, :dim] = random.integers(0, 256, (n, dim))

    def ask(random: np.random.Generator) -> tuple[Array, Array]:
        query = np.zeros(16 + 256 * dim, np.float32)
        query[0], query[16:] = dim, random.standard_normal(256 * dim)
        table = query[16:].astype(np.float64).reshape(dim, 256)
        return query, table[np.arange(dim), rows[:, :dim]].sum(axis=1)

    return Matrix(code, rows, ask)


# --- several vectors a row -------------------------------------------------------------------


def descriptors(vectors: Array, counts: Array) -> Array:
    """int64[n, 4] over the rows of a matrix, which must stay alive: `counts` of them each."""
    width, counts = vectors.shape[1] * vectors.itemsize, np.asarray(counts)
    rows = np.zeros((len(counts), 4), np.int64)
    rows[:, 0] = vectors.ctypes.data + (np.cumsum(counts) - counts) * width
    rows[:, 1], rows[:, 2] = counts, width
    return rows


def several(single: Matrix, counts: list[int], questions: int) -> Matrix:
    """Rows of so many vectors each of a matrix; queries of so many vectors."""
    rows, parts = descriptors(single.rows, counts), np.cumsum(counts)[:-1]
    held = []  # what descriptors point to

    def ask(random: np.random.Generator) -> tuple[Array, Array]:
        queries, distances = zip(*(single.ask(random) for _ in range(questions)), strict=True)
        vectors = np.ascontiguousarray(np.stack(queries))
        held.append((vectors, single.rows))
        wanted = sum(np.array([p.min() for p in np.split(d, parts)]) for d in distances)
        return descriptors(vectors.reshape(questions, -1), [questions])[0], wanted

    return Matrix(single.code | e.MULTI, rows, ask)
