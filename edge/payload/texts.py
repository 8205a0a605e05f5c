"""Which documents have which tokens, how often, and in what order.

A *document* is all the texts of a point at a field, or, where an index is nested, those of one
element of the array. Documents are numbered in the order of their rows.

Invariants
- A document without tokens is none: it is not counted, and its number is not given out.
- Growing or built, a document has the same tokens, in the same order, and the same length.
- Between two texts of one document stands BOUNDARY, so that no phrase reaches across.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Final, NamedTuple, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from edge.model.schema import IndexedField, TextIndexParams, index_analyzer
from edge.payload.growing import GrowingArray
from edge.payload.keyed_rows import Bits, BuiltNames, Counts, NameEntries, Names, Offsets
from edge.payload.names import Arrays, Codes, are_below, built_names, name_arrays
from edge_kernels import bits, postings
from edge_kernels.bm25 import Term

BOUNDARY: Final = 2**32 - 1

Tokens: TypeAlias = Sequence[bytes]


class Sequences(NamedTuple):
    """The tokens of documents in order: document d has tokens[starts[d]:starts[d + 1]]."""

    starts: Counts
    tokens: Offsets


class Texts(Protocol):
    """What a reader may ask of a text index."""

    @property
    def rows(self) -> Offsets:
        """uint32[documents], ascending: the row of each document."""
        ...

    def all(self) -> Bits:
        """The rows that have any document."""
        ...

    def with_all(self, tokens: Tokens) -> Bits:
        """The rows that have a document with every one of the tokens."""
        ...

    def with_any(self, tokens: Tokens) -> Bits:
        """The rows that have a document with at least one of the tokens."""
        ...

    def with_phrase(self, tokens: Tokens) -> Bits | None:
        """The rows that have a document with these tokens one after another; None where the index
        does not keep their order."""
        ...

    def count(self, token: bytes) -> int:
        """How many documents have the token (growing: how often it stands in any)."""
        ...

    def term(self, token: bytes) -> Term:
        """The documents that have the token."""
        ...

    def lengths(self) -> Offsets:
        """uint32[documents]: how many tokens each document has."""
        ...


class _Found:
    """What both forms answer from their documents' tokens."""

    watermark: int
    rows: Offsets
    names: Names

    def all(self) -> Bits:
        return bits.from_offsets(self.watermark, self.rows)

    def with_all(self, tokens: Tokens) -> Bits:
        return self._rows_of(self._documents(tokens))

    def with_any(self, tokens: Tokens) -> Bits:
        return self._rows_of(self.names.equal(tokens))

    def count(self, token: bytes) -> int:
        return self.names.count_equal([token])

    def _documents(self, tokens: Tokens) -> Bits:
        first, *others = dict.fromkeys(tokens)
        found = self.names.equal([first])
        for token in others:
            found &= self.names.equal([token])
        return found

    def _rows_of(self, documents: Bits) -> Bits:
        chosen = self.rows[bits.to_offsets(documents, len(self.rows))]
        return bits.from_offsets(self.watermark, chosen)

    def _phrase(self, tokens: Tokens, phrase: list[int], sequences: Sequences) -> Bits:
        candidates = bits.to_offsets(self._documents(tokens), len(self.rows))
        wanted = np.array(phrase, np.uint32)
        holds = postings.phrases(sequences.starts, sequences.tokens, candidates, wanted)
        return bits.from_offsets(self.watermark, self.rows[candidates[holds]])


# -- growing


@dataclass(frozen=True, slots=True)
class TextEntries(_Found):
    """See Texts: one entry for each token of each document, in order."""

    watermark: int
    rows: Offsets
    names: NameEntries
    sequences: Sequences | None

    def with_phrase(self, tokens: Tokens) -> Bits | None:
        """See Texts."""
        if self.sequences is None:
            return None
        codes = self.names.codes
        if not all(token in codes for token in tokens):
            return bits.zeros(self.watermark)
        return self._phrase(tokens, [codes[token] for token in tokens], self.sequences)

    def term(self, token: bytes) -> Term:
        """See Texts."""
        documents, times = np.unique(self.names.of_name(token), return_counts=True)
        return Term(documents, times.astype(np.uint32))

    def lengths(self) -> Offsets:
        """See Texts."""
        return np.bincount(self.names.rows, minlength=len(self.rows)).astype(np.uint32)


class GrowingTexts:
    """The documents of rows, in the order of rows. A key is the texts of one document."""

    def __init__(self, field: IndexedField) -> None:
        params = field.params
        assert isinstance(params, TextIndexParams)
        self._analyzer = index_analyzer(params)
        self._scored = params.scoring is not None
        self._rows = GrowingArray(np.uint32)
        self._codes = Codes()
        self._owners = GrowingArray(np.uint32)
        self._places = GrowingArray(np.uint32)
        self._sequence = _GrowingSequence() if params.phrase_matching else None

    def extend(self, rows: list[int], keys: list[list[str]]) -> None:
        """See Growing."""
        analyze, code = self._analyzer.document, self._codes.__getitem__
        documents = [
            [code(token.encode()) for token in chain.from_iterable(map(analyze, texts))]
            for texts in keys
        ]
        there = [place for place, document in enumerate(documents) if document]
        lengths = [len(documents[place]) for place in there]
        first = self._rows.count
        if self._sequence is not None:
            self._sequence.extend([self._in_sequence(keys[place]) for place in there])
        self._places.extend(list(chain.from_iterable(documents)))
        owners = np.arange(first, first + len(there), dtype=np.uint32)
        self._owners.extend(np.repeat(owners, lengths))
        self._rows.extend([rows[place] for place in there])

    def _in_sequence(self, texts: list[str]) -> list[int]:
        code, sequence = self._codes.__getitem__, self._analyzer.sequence
        found: list[int] = []
        for text in texts:
            found += [code(token.encode()) for token in sequence(text)]
            found.append(BOUNDARY)
        return found

    def cut(self, covered: int, watermark: int) -> TextEntries:
        """See Growing."""
        rows = self._rows.all()
        rows = rows[: int(np.searchsorted(rows, covered))]
        owners = self._owners.all()
        owners = owners[: int(np.searchsorted(owners, len(rows)))]
        places = self._places.first(len(owners))
        names = NameEntries(len(rows), owners, places, self._codes.names, self._codes)
        sequences = None if self._sequence is None else self._sequence.first(len(rows))
        return TextEntries(watermark, rows, names, sequences)

    def arrays(self, rows: int) -> Arrays:
        """See Growing."""
        found = self.cut(rows, rows)
        arrays, rank, times = name_arrays(found.names.rows, found.names.places, found.names.names)
        arrays["rows"] = found.rows
        if self._scored:
            arrays["times"] = times.astype(np.uint32)
            arrays["lengths"] = found.lengths()
        if found.sequences is not None:
            starts, tokens = found.sequences
            ranked = np.append(rank, BOUNDARY)  # the last place stands for the boundary
            arrays["sequence"] = ranked[np.minimum(tokens, len(rank))].astype(np.uint32)
            arrays["sequence_starts"] = starts
        return arrays


class _GrowingSequence:
    """The tokens of documents in order, with their starts."""

    def __init__(self) -> None:
        self._tokens = GrowingArray(np.uint32)
        self._starts = GrowingArray(np.int64)
        self._starts.extend([0])

    def extend(self, documents: list[list[int]]) -> None:
        self._tokens.extend(list(chain.from_iterable(documents)))
        ends = self._starts.all()[-1] + np.cumsum([len(document) for document in documents])
        self._starts.extend(ends.astype(np.int64))

    def first(self, documents: int) -> Sequences:
        starts = self._starts.first(documents + 1)
        return Sequences(starts, self._tokens.first(int(starts[-1])))


# -- built


@dataclass(frozen=True, slots=True)
class BuiltTexts(_Found):
    """See Texts: the documents of each token, by sorted token."""

    watermark: int
    rows: Offsets
    names: BuiltNames
    times: npt.NDArray[np.uint32] | None
    document_lengths: npt.NDArray[np.uint32] | None
    sequences: Sequences | None

    def with_phrase(self, tokens: Tokens) -> Bits | None:
        """See Texts."""
        if self.sequences is None:
            return None
        places = [self.names.place(token) for token in tokens]
        if None in places:
            return bits.zeros(self.watermark)
        return self._phrase(tokens, places, self.sequences)  # type: ignore[arg-type]

    def term(self, token: bytes) -> Term:
        """See Texts. Only where the index is scored."""
        assert self.times is not None
        place = self.names.place(token)
        if place is None:
            return Term(self.names.offsets[:0], self.times[:0])
        first, last = self.names.starts[place : place + 2].tolist()
        return Term(self.names.offsets[first:last], self.times[first:last])

    def lengths(self) -> Offsets:
        """See Texts. Only where the index is scored."""
        assert self.document_lengths is not None
        return self.document_lengths


def built_texts(arrays: Arrays, rows: int) -> BuiltTexts:
    """The documents of `GrowingTexts.arrays`. Raises ValueError where they cannot be such."""
    owners = arrays["rows"]
    if (owners[1:] < owners[:-1]).any() or not are_below(owners, rows):
        raise ValueError("documents of rows that are not there")
    names = built_names(arrays, len(owners))
    times, lengths = arrays.get("times"), arrays.get("lengths")
    if times is not None and (
        lengths is None or len(times) != len(names.offsets) or len(lengths) != len(owners)
    ):
        raise ValueError("counts of documents that are not there")
    return BuiltTexts(rows, owners, names, times, lengths, _built_sequences(arrays, len(owners)))


def _built_sequences(arrays: Arrays, documents: int) -> Sequences | None:
    if "sequence" not in arrays:
        return None
    starts, tokens = arrays["sequence_starts"], arrays["sequence"]
    if len(starts) != documents + 1 or starts[0] or (starts[1:] < starts[:-1]).any():
        raise ValueError("sequences out of order")
    if starts[-1] != len(tokens):
        raise ValueError("sequences of documents that are not there")
    return Sequences(starts, tokens)


def encoded(tokens: Iterable[str]) -> list[bytes]:
    """Tokens as the index holds them."""
    return [token.encode() for token in tokens]
