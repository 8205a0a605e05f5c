"""What is asked of payload indexes besides filtered searches: counts, facets, pages, orders, texts.

An Ask holds the requests of one line of the table, and the right answers to the first of them.
Its `put` reads all of an answer, since an engine may make Python objects only when they are read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from benchmarks.data import TOP
from benchmarks.filters import Between, Has, Is, Narrow, Payload, Plan, words

REQUESTS = 300
"""The most requests in one round of one line."""
CHECKED = 5
"""How many counts of a kind are checked."""
PAGES = (10, 100)

Rows = Sequence[Payload]


class Ask(NamedTuple):
    """Requests of one kind, put to both engines."""

    task: str
    requests: Callable[[ModuleType], list[Any]]
    """makes them of an engine's classes"""
    put: Callable[[Any, Any], Any]
    """puts one of them to a shard and returns what it answers"""
    right: Sequence[Any] = ()
    """the right answers to the first of them"""
    unit: str = "us"
    """us: the mean time of a call; queries/s: how many calls there are in a second"""


def asks(plan: Plan, rows: Rows) -> list[Ask]:
    """Return everything that is asked about these rows."""
    return [
        *counts(plan, rows),
        *facets(plan, rows),
        *scrolls(plan, rows),
        *orders(plan, rows),
        *text_queries(plan, rows),
    ]


def repeated(make: Callable[[ModuleType], Any]) -> Callable[[ModuleType], list[Any]]:
    """Ask for one thing again and again."""
    return lambda api: [make(api)] * REQUESTS


def where(narrow: Narrow | None, rows: Rows) -> str:
    """Say in a line's name what it is narrowed to."""
    return f" where {narrow.named(rows)}" if narrow else ""


def left(narrow: Narrow | None, rows: Rows) -> list[Payload]:
    """Return the payloads that a filter leaves, in the order of their ids."""
    return [rows[row] for row in narrow.rows(rows).tolist()] if narrow else list(rows)


def limits(narrow: Narrow | None, api: ModuleType) -> Any:
    """Return the engine's filter, or none."""
    return narrow.filter(api) if narrow else None


def shuffled(rows: Rows) -> Iterator[Payload]:
    """Yield all payloads in one random order, so that common values come more often."""
    for row in np.random.default_rng(11).permutation(len(rows)).tolist():
        yield rows[row]


def first(found: Iterable[Any | None]) -> list[Any]:
    """Return the first that are there."""
    some = []
    for one in found:
        if one is not None:
            some.append(one)
        if len(some) == REQUESTS:
            break
    return some


# ---- counts ----


def a_keyword(plan: Plan, row: Payload) -> Narrow | None:
    """Make a filter of the row's keyword."""
    return Narrow(Is(plan.keyword, row[plan.keyword]))


def an_element(plan: Plan, row: Payload) -> Narrow | None:
    """Make a filter of one of the row's keywords."""
    values = row.get(plan.array) if plan.array else None
    return Narrow(Is(plan.array, values[len(values) // 2])) if plan.array and values else None


def a_range(plan: Plan, row: Payload) -> Narrow | None:
    """Make a filter of the range from the row's number to twice as much."""
    low = row.get(plan.number) if plan.number else None
    return Narrow(Between(plan.number, low, 2 * low)) if plan.number and low else None


def a_word(plan: Plan, row: Payload) -> Narrow | None:
    """Make a filter of a word of the row's text."""
    text = phrase(plan, row, 1)
    return Narrow(Has(plan.text, text)) if text else None


def two_words(plan: Plan, row: Payload) -> Narrow | None:
    """Make a filter of two words of the row's text."""
    text = phrase(plan, row, 2)
    return Narrow(Has(plan.text, text)) if text else None


def three(plan: Plan, row: Payload) -> Narrow | None:
    """Make a filter of two keywords of the row and its number, or a word if there is none."""
    third = (a_range if plan.number else a_word)(plan, row)
    two = (Is(name, row[name]) for name in (plan.keyword, plan.other_keyword))
    return Narrow(*two, *third.tests) if third else None


MAKERS: dict[str, Callable[[Plan, Payload], Narrow | None]] = {
    "a keyword": a_keyword,
    "one of several keywords": an_element,
    "a range of integers": a_range,
    "three conditions": three,
    "a word in a text": a_word,
    "two words in a text": two_words,
}
"""Make a filter of what a row holds, or none."""


def phrase(plan: Plan, row: Payload, length: int) -> str | None:
    """Return so many words that stand side by side in the row's text, of 3 letters or more."""
    found = [word for word in words(row.get(plan.text) or "") if len(word) > 2 and word.isascii()]
    return " ".join(found[-length:]) if len(found) >= length else None


def counts(plan: Plan, rows: Rows) -> Iterator[Ask]:
    """Count what filters of random rows' values leave, exactly and by estimate."""
    for exact in (True, False):
        for name, make in MAKERS.items():
            drawn = first(make(plan, row) for row in shuffled(rows))
            if drawn:
                yield count_ask(name, drawn, rows, exact)


def count_ask(name: str, drawn: list[Narrow], rows: Rows, exact: bool) -> Ask:
    """Count what each filter leaves."""

    def make(api: ModuleType) -> list[Any]:
        return [api.CountRequest(exact=exact, filter=one.filter(api)) for one in drawn]

    right = [len(one.rows(rows)) for one in drawn[:CHECKED]] if exact else []
    return Ask(f"count {'exact' if exact else 'estimate'}, {name}", make, count, right)


def count(shard: Any, request: Any) -> Any:
    """Return the number."""
    return shard.count(request)


# ---- facets ----


def facets(plan: Plan, rows: Rows) -> Iterator[Ask]:
    """Count the commonest values of fields."""
    for key in (plan.keyword, plan.array):
        if key:
            yield facet_ask(key, None, rows, exact=False)
            yield facet_ask(key, None, rows, exact=True)
            for narrow in plan.facet_filters:
                yield facet_ask(key, narrow, rows, exact=True)


def facet_ask(key: str, narrow: Narrow | None, rows: Rows, exact: bool) -> Ask:
    """Count the commonest values of a field."""

    def make(api: ModuleType) -> Any:
        return api.FacetRequest(key, limit=TOP, exact=exact, filter=limits(narrow, api))

    task = f"facet {'exact' if exact else 'estimate'}, {key}{where(narrow, rows)}"
    return Ask(task, repeated(make), facet, [commonest(key, narrow, rows)] if exact else [])


def commonest(key: str, narrow: Narrow | None, rows: Rows) -> list[int]:
    """Return how many rows have each of the commonest values."""
    found: Counter[str] = Counter()
    for row in left(narrow, rows):
        value = row.get(key, [])
        found.update(set(value) if isinstance(value, list) else [value])
    return [times for _, times in found.most_common(TOP)]


def facet(shard: Any, request: Any) -> list[int]:
    """Return the counts; which of equally common values are named is the engine's choice."""
    found = {hit.value: hit.count for hit in shard.facet(request).hits}
    return sorted(found.values(), reverse=True)


# ---- pages and orders ----


def scrolls(plan: Plan, rows: Rows) -> Iterator[Ask]:
    """Read the payloads of what a filter leaves: the first page, and all pages."""
    for limit in PAGES:
        yield first_page(plan.narrow, rows, limit)
    for limit in PAGES:
        yield every_page(plan.narrow, rows, limit)


def first_page(narrow: Narrow, rows: Rows, limit: int) -> Ask:
    """Read one page."""

    def make(api: ModuleType) -> Any:
        return api.ScrollRequest(limit=limit, filter=narrow.filter(api), with_payload=True)

    right = left(narrow, rows)[:limit]
    return Ask(f"scroll, first {limit}{where(narrow, rows)}", repeated(make), page, [right])


def every_page(narrow: Narrow, rows: Rows, limit: int) -> Ask:
    """Read page after page until there is no more."""

    def make(api: ModuleType) -> Any:
        inside = narrow.filter(api)
        return lambda offset: api.ScrollRequest(
            offset=offset, limit=limit, filter=inside, with_payload=True
        )

    right = left(narrow, rows)
    task = f"scroll, all {len(right):,} by pages of {limit}{where(narrow, rows)}"
    return Ask(task, repeated(make), pages, [right])


def page(shard: Any, request: Any) -> list[Payload]:
    """Return one page's payloads."""
    return [record.payload for record in shard.scroll(request)[0]]


def pages(shard: Any, request_from: Callable[[Any], Any]) -> list[Payload]:
    """Return the payloads of all pages; `request_from` makes the request of an offset."""
    found: list[Payload] = []
    offset = None
    while True:
        records, offset = shard.scroll(request_from(offset))
        found += [record.payload for record in records]
        if offset is None:
            return found


def orders(plan: Plan, rows: Rows) -> Iterator[Ask]:
    """Read the payloads with the largest numbers."""
    if plan.number:
        for narrow in (None, plan.wide, plan.narrow):
            for limit in PAGES:
                yield order_ask(plan.number, narrow, rows, limit)


def order_ask(key: str, narrow: Narrow | None, rows: Rows, limit: int) -> Ask:
    """Read the payloads with the largest numbers of a field."""

    def make(api: ModuleType) -> Any:
        return api.ScrollRequest(
            limit=limit,
            filter=limits(narrow, api),
            with_payload=True,
            order_by=api.OrderBy(key, api.Direction.Desc),
        )

    def put(shard: Any, request: Any) -> list[int]:
        return [payload[key] for payload in page(shard, request)]

    largest = sorted((row[key] for row in left(narrow, rows) if key in row), reverse=True)
    task = f"scroll by {key}, largest {limit}{where(narrow, rows)}"
    return Ask(task, repeated(make), put, [largest[:limit]])


# ---- texts ----


def text_queries(plan: Plan, rows: Rows) -> Iterator[Ask]:
    """Rank texts by BM25."""
    for length in (1, 2, 3):
        yield text_ask(plan, length, None, rows)
    for narrow in (plan.filters[0], plan.narrow):
        yield text_ask(plan, 2, narrow, rows)


def text_ask(plan: Plan, length: int, narrow: Narrow | None, rows: Rows) -> Ask:
    """Ask for the texts that fit best to some words of a random one."""
    asked = first(phrase(plan, row, length) for row in shuffled(rows))

    def make(api: ModuleType) -> list[Any]:
        inside = limits(narrow, api)
        return [
            api.QueryRequest(limit=TOP, query=api.TextQuery(plan.text, text), filter=inside)
            for text in asked
        ]

    task = f"text query (BM25), {length} word{'s' * (length > 1)}{where(narrow, rows)}"
    return Ask(task, make, best, unit="queries/s")


def best(shard: Any, request: Any) -> list[int]:
    """Return the ids of the answers."""
    return [hit.id for hit in shard.query(request)]
