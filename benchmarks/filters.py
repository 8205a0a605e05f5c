"""Filters told to an engine and to the payloads themselves, and the fields that they narrow.

A Narrow is written once: `filter` makes the engine's, `rows` says which rows it must leave.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

Payload = dict[str, Any]

WORD = re.compile(r"[^\W_]+")


@dataclass(frozen=True)
class Is:
    """The field's keyword, or one of its keywords, is `value`."""

    field: str
    value: str

    def __str__(self) -> str:
        return f"{self.field}={self.value}"

    def condition(self, api: ModuleType) -> Any:
        """Return the engine's condition."""
        return api.FieldCondition(self.field, match=api.MatchValue(self.value))

    def holds(self, payload: Payload) -> bool:
        """Say whether a payload satisfies it."""
        found = payload.get(self.field)
        return self.value in found if isinstance(found, list) else found == self.value


@dataclass(frozen=True)
class Between:
    """The field's integer is at least `low` and below `high`, if there is a `high`."""

    field: str
    low: int
    high: int | None = None

    def __str__(self) -> str:
        return f"{self.field}>={self.low:,}" + (f"<{self.high:,}" if self.high else "")

    def condition(self, api: ModuleType) -> Any:
        """Return the engine's condition."""
        return api.FieldCondition(self.field, range=api.RangeFloat(gte=self.low, lt=self.high))

    def holds(self, payload: Payload) -> bool:
        """Say whether a payload satisfies it."""
        found = payload.get(self.field)
        return found is not None and self.low <= found and (self.high is None or found < self.high)


@dataclass(frozen=True)
class Has:
    """The field's text has all these words."""

    field: str
    words: str

    def __str__(self) -> str:
        return f"{self.field}~{self.words}"

    def condition(self, api: ModuleType) -> Any:
        """Return the engine's condition."""
        return api.FieldCondition(self.field, match=api.MatchText(self.words))

    def holds(self, payload: Payload) -> bool:
        """Say whether a payload satisfies it."""
        return set(words(self.words)) <= set(words(payload.get(self.field) or ""))


class Narrow:
    """All of some conditions."""

    def __init__(self, *tests: Is | Between | Has) -> None:
        self.tests = tests

    def __str__(self) -> str:
        return " & ".join(map(str, self.tests))

    def filter(self, api: ModuleType) -> Any:
        """Return the engine's filter."""
        return api.Filter(must=[test.condition(api) for test in self.tests])

    def rows(self, payloads: Sequence[Payload]) -> NDArray[np.int64]:
        """Return the rows that it leaves, in order: int64[matches]."""
        left = (i for i, one in enumerate(payloads) if all(test.holds(one) for test in self.tests))
        return np.fromiter(left, np.int64)

    def named(self, payloads: Sequence[Payload]) -> str:
        """Name it, with the share of the rows that it leaves."""
        return f"{self} ({100 * len(self.rows(payloads)) / len(payloads):.2g} %)"


def words(text: str) -> list[str]:
    """Split a text as the engines' word tokenizers do with plain words."""
    return WORD.findall(text.lower())


@dataclass(frozen=True)
class Plan:
    """The fields of a data set, by what can be asked of them."""

    fields: dict[str, str]
    """the indexed fields, and which of SCHEMAS each has"""
    built: tuple[str, ...]
    """the fields whose index build is timed: one for each schema"""
    keyword: str
    other_keyword: str
    text: str
    array: str | None
    """a field of several keywords"""
    number: str | None
    """a field of one integer"""
    filters: tuple[Narrow, ...]
    """those that are searched with, from wide to narrow within each number of conditions"""
    facet_filters: tuple[Narrow, ...]
    """a wide one and one that leaves about one row in a hundred, both of other fields"""
    wide: Narrow
    """leaves about one row in ten"""
    narrow: Narrow
    """leaves about one row in a hundred, which are paged through and deleted"""
    edited: Narrow
    """leaves about as many other rows, whose payloads are edited"""
    edit: Payload


SCHEMAS: dict[str, Callable[[ModuleType], Any]] = {
    "keyword": lambda api: api.PayloadSchemaType.Keyword,
    "array of keywords": lambda api: api.PayloadSchemaType.Keyword,
    "integer": lambda api: api.PayloadSchemaType.Integer,
    "text": lambda api: api.TextIndexParams(tokenizer=api.TokenizerType.Word, scoring=True),
}
"""Makes the schema of a field index."""

TEXTS = Plan(
    fields={
        "section": "keyword",
        "priority": "keyword",
        "arch": "keyword",
        "tags": "array of keywords",
        "size": "integer",
        "depends": "integer",
        "text": "text",
    },
    built=("section", "tags", "size", "text"),
    keyword="section",
    other_keyword="arch",
    text="text",
    array="tags",
    number="size",
    filters=(
        Narrow(Is("arch", "all")),
        Narrow(Between("size", 60_000)),
        Narrow(Is("tags", "role::devel-lib")),
        Narrow(Is("section", "libs")),
        Narrow(Between("size", 1_500_000)),
        Narrow(Is("section", "fonts")),
        Narrow(Between("size", 26_000_000)),
        Narrow(Is("tags", "works-with::archive")),
        Narrow(Between("depends", 50)),
        Narrow(Is("section", "embedded")),
        Narrow(Is("arch", "amd64"), Between("size", 60_000), Between("depends", 5)),
        Narrow(Is("section", "libs"), Is("arch", "amd64"), Between("size", 100_000)),
    ),
    facet_filters=(Narrow(Is("arch", "all")), Narrow(Between("size", 26_000_000))),
    wide=Narrow(Is("section", "libs")),
    narrow=Narrow(Is("section", "fonts")),
    edited=Narrow(Is("section", "graphics")),
    edit={"priority": "extra"},
)
OBJECTS = Plan(
    fields={"kind": "keyword", "room": "keyword", "text": "text"},
    built=("room", "text"),
    keyword="room",
    other_keyword="kind",
    text="text",
    array=None,
    number=None,
    filters=(
        Narrow(Is("kind", "food")),
        Narrow(Has("text", "used")),
        Narrow(Is("room", "bedroom")),
        Narrow(Is("room", "balcony")),
        Narrow(Has("text", "wine")),
        Narrow(Is("room", "kitchen"), Is("kind", "artifact"), Has("text", "cooking")),
    ),
    facet_filters=(Narrow(Is("kind", "food")), Narrow(Has("text", "wine"))),
    wide=Narrow(Is("room", "bedroom")),
    narrow=Narrow(Is("room", "balcony")),
    edited=Narrow(Is("room", "nursery")),
    edit={"room": "study"},
)


def plan_of(payloads: Sequence[Payload]) -> Plan:
    """Return the plan whose fields the payloads have."""
    return TEXTS if TEXTS.keyword in payloads[0] else OBJECTS
