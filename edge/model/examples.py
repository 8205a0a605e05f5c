"""What a query is asked by: examples, which are vectors or points that stand for theirs.

Invariants: a vector is a read-only float32 array or a SparseVector, a point is its parsed id; lists
are tuples. Whatever holds examples gives them all by `examples`, each with its place, and takes as
many others in the same order by `with_examples`: so ids are replaced by vectors, and vectors sent.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Self, TypeAlias
from uuid import UUID

import numpy as np
from msgspec import Struct
from msgspec.structs import force_setattr, replace

from edge.errors import ValidationError
from edge.model import fields
from edge.model.limits import HARD_VALUES
from edge.model.point_id import PointId, PointIdLike, parse_id, uuid_bytes
from edge.model.single import single
from edge.model.sparse import SparseVector
from edge.model.vector import AnyVector, VectorLike, as_vector, same_vectors, shown_vectors

Example: TypeAlias = AnyVector | PointId
ExampleLike: TypeAlias = VectorLike | PointIdLike
Placed: TypeAlias = tuple[str, Example]
"""An example, and its place for an error message: ("positives[0]", vector)."""


def as_example(value: Any, field: str) -> Example:
    """A vector, or the id of the point that has it. Raises ValidationError naming the field."""
    if isinstance(value, (int, np.integer, UUID)) and not isinstance(value, bool):
        return parse_id(value, field)
    if not isinstance(value, (str, bool)):
        return as_vector(value, field)
    found = uuid_bytes(value) if isinstance(value, str) else None
    if found is None:
        fields.refuse(field, "a list of numbers, or the id of a point", value)
    return UUID(bytes=found)


def is_id(example: Example) -> bool:
    """Whether it stands for the vector of a point."""
    return isinstance(example, (int, UUID))


def count(query: object) -> int:
    """How many examples there are in a ranking; 0 where it has none."""
    return sum(1 for _ in query.examples()) if isinstance(query, OfExamples) else 0


def same(first: object, second: object) -> bool:
    """Whether two fields of what holds examples are equal."""
    if isinstance(first, tuple) and isinstance(second, tuple):
        return len(first) == len(second) and all(map(same, first, second))
    if isinstance(first, (np.ndarray, SparseVector)):
        return same_vectors(first, second)
    return type(first) is type(second) and bool(first == second)


def shown(value: object) -> str:
    """A field of what holds examples, on one line."""
    if isinstance(value, tuple):
        more = f", … {len(value)}" if len(value) > 4 else ""
        return f"[{', '.join(map(shown, value[: 2 if more else 4]))}{more}]"
    return shown_vectors(value) if isinstance(value, np.ndarray) else repr(value)


class OfExamples(Struct, frozen=True, eq=False):
    """What holds examples. Equal when everything in it is equal, arrays included."""

    def examples(self) -> Iterator[Placed]:
        """Every example with its place, always in the same order."""
        raise NotImplementedError

    def with_examples(self, examples: Sequence[Example]) -> Self:
        """The same with these examples in their places. Raises ValidationError unless they are as
        many as `examples` gives."""
        expected = sum(1 for _ in self.examples())
        if len(examples) != expected:
            raise ValidationError(f"examples: expected {expected}, got {len(examples)}")
        return self._holding(examples)

    def _holding(self, examples: Sequence[Example]) -> Self:
        raise NotImplementedError

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and all(
            same(getattr(self, name), getattr(other, name)) for name in self.__struct_fields__
        )

    def __repr__(self) -> str:
        parts = (f"{name}={shown(getattr(self, name))}" for name in self.__struct_fields__)
        return f"{type(self).__name__}({', '.join(parts)})"


class RecommendQuery(OfExamples, frozen=True, eq=False):
    """Points like the `positives` and unlike the `negatives`; either may be empty."""

    positives: tuple[Example, ...]
    negatives: tuple[Example, ...]

    if TYPE_CHECKING:

        def __init__(
            self, positives: Iterable[ExampleLike], negatives: Iterable[ExampleLike]
        ) -> None: ...

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            given = fields.sequence(getattr(self, name), name, HARD_VALUES)
            found = tuple(as_example(value, f"{name}[{i}]") for i, value in enumerate(given))
            force_setattr(self, name, found)

    def examples(self) -> Iterator[Placed]:
        for name in self.__struct_fields__:
            for i, example in enumerate(getattr(self, name)):
                yield f"{name}[{i}]", example

    def _holding(self, examples: Sequence[Example]) -> Self:
        border = len(self.positives)
        return type(self)(examples[:border], examples[border:])


class ContextPair(OfExamples, frozen=True, eq=False):
    """Two examples that divide all points: those nearer to `positive`, and those nearer to
    `negative`."""

    positive: Example
    negative: Example

    if TYPE_CHECKING:

        def __init__(self, positive: ExampleLike, negative: ExampleLike) -> None: ...

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            force_setattr(self, name, as_example(getattr(self, name), name))

    def examples(self) -> Iterator[Placed]:
        yield "positive", self.positive
        yield "negative", self.negative

    def _holding(self, examples: Sequence[Example]) -> Self:
        positive, negative = examples
        return type(self)(positive, negative)


def _pairs(given: Any) -> tuple[ContextPair, ...]:
    found = fields.sequence(given, "pairs", HARD_VALUES)
    for i, pair in enumerate(found):
        fields.instance(pair, f"pairs[{i}]", ContextPair)
    return found


def _of_pairs(pairs: tuple[ContextPair, ...]) -> Iterator[Placed]:
    for i, pair in enumerate(pairs):
        for place, example in pair.examples():
            yield f"pairs[{i}].{place}", example


def _pairs_of(examples: Sequence[Example]) -> Iterator[ContextPair]:
    return map(ContextPair, examples[::2], examples[1::2])


class DiscoverQuery(OfExamples, frozen=True, eq=False):
    """Points on the positive side of as many `pairs` as possible, and there near to `target`."""

    target: Example
    pairs: tuple[ContextPair, ...]

    if TYPE_CHECKING:

        def __init__(self, target: ExampleLike, pairs: Iterable[ContextPair]) -> None: ...

    def __post_init__(self) -> None:
        force_setattr(self, "target", as_example(self.target, "target"))
        force_setattr(self, "pairs", _pairs(self.pairs))

    def examples(self) -> Iterator[Placed]:
        yield "target", self.target
        yield from _of_pairs(self.pairs)

    def _holding(self, examples: Sequence[Example]) -> Self:
        return type(self)(examples[0], _pairs_of(examples[1:]))


class ContextQuery(OfExamples, frozen=True, eq=False):
    """Points on the positive side of all `pairs`, or not far from it."""

    pairs: tuple[ContextPair, ...]

    if TYPE_CHECKING:

        def __init__(self, pairs: Iterable[ContextPair]) -> None: ...

    def __post_init__(self) -> None:
        force_setattr(self, "pairs", _pairs(self.pairs))

    def examples(self) -> Iterator[Placed]:
        return _of_pairs(self.pairs)

    def _holding(self, examples: Sequence[Example]) -> Self:
        return type(self)(_pairs_of(examples))


class FeedbackItem(OfExamples, frozen=True, eq=False):
    """An example, and how good somebody found it: a finite `score`, held as float32."""

    vector: Example
    score: float

    if TYPE_CHECKING:

        def __init__(self, vector: ExampleLike, score: float) -> None: ...

    def __post_init__(self) -> None:
        force_setattr(self, "vector", as_example(self.vector, "vector"))
        force_setattr(self, "score", single(self.score, "score"))

    def examples(self) -> Iterator[Placed]:
        yield "vector", self.vector

    def _holding(self, examples: Sequence[Example]) -> Self:
        return replace(self, vector=examples[0])


class NaiveFeedbackStrategy(Struct, frozen=True):
    """The weights of feedback; finite, held as float32.

    `a` weighs the likeness to the target, `b` is the power that differences of feedback scores are
    raised to, `c` weighs them.
    """

    a: float
    b: float
    c: float

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            force_setattr(self, name, single(getattr(self, name), name))


class FeedbackNaiveQuery(OfExamples, frozen=True, eq=False):
    """Points near to `target`, drawn to what feedback found good and away from what it did not."""

    target: Example
    feedback: tuple[FeedbackItem, ...]
    strategy: NaiveFeedbackStrategy

    if TYPE_CHECKING:

        def __init__(
            self,
            target: ExampleLike,
            feedback: Iterable[FeedbackItem],
            strategy: NaiveFeedbackStrategy,
        ) -> None: ...

    def __post_init__(self) -> None:
        force_setattr(self, "target", as_example(self.target, "target"))
        found = fields.sequence(self.feedback, "feedback", HARD_VALUES)
        for i, item in enumerate(found):
            fields.instance(item, f"feedback[{i}]", FeedbackItem)
        force_setattr(self, "feedback", found)
        fields.instance(self.strategy, "strategy", NaiveFeedbackStrategy)

    @property
    def coefficients(self) -> NaiveFeedbackStrategy:
        """The strategy, by the name that Qdrant reads it back under."""
        return self.strategy

    def examples(self) -> Iterator[Placed]:
        yield "target", self.target
        for i, item in enumerate(self.feedback):
            yield f"feedback[{i}].vector", item.vector

    def _holding(self, examples: Sequence[Example]) -> Self:
        pairs = zip(self.feedback, examples[1:], strict=True)
        items = (FeedbackItem(example, item.score) for item, example in pairs)
        return type(self)(examples[0], items, self.strategy)
