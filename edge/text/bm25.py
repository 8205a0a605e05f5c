"""BM25 as sparse vectors: a token's id, its weight in a document, and a text's ids and weights.

Invariants: ids and weights are bit-equal to Qdrant's (server, cloud inference and edge), so that
vectors made here may be searched there; ids ascend and none repeats. Of two tokens that share an
id (one pair in 2**31) the later one's weight is given; Qdrant gives either's, by chance.
"""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from functools import lru_cache
from itertools import chain

import numpy as np
import numpy.typing as npt

from edge.text.analyzer import Analyzer, Memo

Ids = npt.NDArray[np.uint32]
Weights = npt.NDArray[np.float32]

_MASK = 0xFFFFFFFF


def token_id(token: str) -> int:
    """The id of a token, 0 to 2**31: MurmurHash3 (32 bits, seed 0) of its UTF-8, made positive.

    Source: Austin Appleby, MurmurHash3_x86_32; the sign is dropped as in Qdrant's BM25.
    """
    hashed = _murmur3(token.encode())
    return hashed if hashed < 1 << 31 else (1 << 32) - hashed


def _murmur3(data: bytes) -> int:
    body = len(data) & ~3
    hashed = 0
    for start in range(0, body, 4):
        hashed ^= _mixed(int.from_bytes(data[start : start + 4], "little"))
        hashed = (hashed << 13 | hashed >> 19) & _MASK
        hashed = (hashed * 5 + 0xE6546B64) & _MASK
    if body < len(data):
        hashed ^= _mixed(int.from_bytes(data[body:], "little"))
    hashed ^= len(data)
    hashed = ((hashed ^ hashed >> 16) * 0x85EBCA6B) & _MASK
    hashed = ((hashed ^ hashed >> 13) * 0xC2B2AE35) & _MASK
    return hashed ^ hashed >> 16


def _mixed(block: int) -> int:
    block = (block * 0xCC9E2D51) & _MASK
    block = (block << 15 | block >> 17) & _MASK
    return (block * 0x1B873593) & _MASK


if sys.version_info >= (3, 13):
    from math import fma as _rounded_once
else:

    def _rounded_once(a: float, b: float, c: float) -> float:
        return float(Fraction(a) * Fraction(b) + Fraction(c))


def fused(a: float, b: float, c: float) -> float:
    """a * b + c of finite numbers, rounded once; infinite where it overflows."""
    plain = a * b + c
    return _rounded_once(a, b, c) if math.isfinite(plain) else plain


def term_weight(count: int, length: int, k: float, b: float, avg_len: float) -> float:
    """The weight of a term that stands `count` times in a document of `length` tokens.

    count * (k + 1) / (count + k * (1 - b + b * length / avg_len)): Robertson's BM25 without the
    IDF, which a sparse index adds (Modifier.Idf). float64; Qdrant keeps it as float32.
    """
    return count * (k + 1.0) / fused(k, 1.0 - b + b * length / avg_len, count)


class _Weights(dict[int, float]):
    """The weights of a document's terms by their count, found when first asked for."""

    def __init__(self, weight: Callable[[int], float]) -> None:
        super().__init__()
        self._weight = weight

    def __missing__(self, count: int) -> float:
        self[count] = result = self._weight(count)
        return result


class Embedder:
    """Texts as sparse vectors, ids uint32 and weights float32, by an analyzer and k, b, avg_len.

    k is finite and not negative, b from 0 to 1, avg_len finite and above 0.
    """

    def __init__(self, analyzer: Analyzer, k: float, b: float, avg_len: float) -> None:
        self._analyzer = analyzer
        self._ids = Memo(token_id)

        @lru_cache(maxsize=1 << 10)
        def weights(length: int) -> _Weights:
            return _Weights(lambda count: term_weight(count, length, k, b, avg_len))

        self._weights = weights

    def document(self, text: str) -> tuple[Ids, Weights]:
        """The ids and weights of a text to be stored."""
        known = self._analyzer.document_tokens.__getitem__
        counts = Counter(chain.from_iterable(map(known, self._analyzer.words(text))))
        by_id = dict(zip(map(self._ids.__getitem__, counts), counts.values(), strict=True))
        ids = sorted(by_id)
        weight = self._weights(counts.total()).__getitem__
        weights = list(map(weight, map(by_id.__getitem__, ids)))
        return np.array(ids, np.uint32), np.array(weights, np.float32)

    def query(self, text: str) -> tuple[Ids, Weights]:
        """The ids of a text to be searched for, each of weight 1."""
        known = self._analyzer.query_tokens.__getitem__
        tokens = set(chain.from_iterable(map(known, self._analyzer.words(text))))
        ids = sorted(set(map(self._ids.__getitem__, tokens)))
        return np.array(ids, np.uint32), np.ones(len(ids), np.float32)
