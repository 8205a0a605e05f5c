"""The order of a stream's messages: what a source's numbers leave out is asked for, or given up.

Invariants
- Messages are handed on in the order of their source's numbers: one that comes behind a gap waits
  while the gap is asked for, at most `PATIENCE` seconds and among at most `MAX_HELD` others. Where
  nobody can be asked, nothing waits.
- A number that never came is a gap, counted once. What comes late or twice is counted, and handed
  on all the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import Any, Final, Generic, TypeVar

from edge.endpoints.protocol import Gone, Points, ProtocolError, Replay

Item = TypeVar("Item")

MAX_SOURCES: Final = 10_000
MAX_HELD: Final = 256
PATIENCE: Final = 0.5
OVERDUE_SECONDS: Final = 0.1
"""How often to look for what has not come in time."""


@dataclass
class Source:
    """What is known of a publisher's sequence."""

    epoch: int
    newest: int
    messages: int = 0
    gaps: int = 0
    """messages that never came"""
    late: int = 0
    """messages that came behind a later one, or twice"""
    repaired: int = 0
    """messages that came because they were asked for"""


class _Gap(Generic[Item]):
    """What waits for the messages that a source lacks."""

    def __init__(self) -> None:
        self.behind: dict[int, Item | None] = {}
        self.asked_to = 0
        self.until = 0.0


class Order(Generic[Item]):
    """Follows every source. To be used in the doors' thread only.

    `hand_on` gets the messages; `ask`, where there is one, has a publisher send what is missing.
    """

    def __init__(
        self, hand_on: Callable[[Item], None], ask: Callable[[Replay], None] | None = None
    ) -> None:
        self._hand_on, self._ask = hand_on, ask
        self._gaps: dict[str, _Gap[Item]] = {}
        self.sources: dict[str, Source] = {}

    def take(self, header: Points, item: Item | None, asked_for: bool = False) -> None:
        """A message has come; None where it was wrong, and only its number counts.

        Raises ProtocolError where there are too many sources.
        """
        source = self._source(header)
        source.messages += 1
        gap = self._gaps.get(header.source)
        is_waiting = gap is not None and header.sequence in gap.behind
        if header.epoch < source.epoch or header.sequence <= source.newest or is_waiting:
            source.late += 1
            if item is not None and not is_waiting:
                self._hand_on(item)
            return
        source.repaired += asked_for
        gap = self._gaps.setdefault(header.source, _Gap())
        gap.behind[header.sequence] = item
        self._go_on(header.source)

    def _source(self, header: Points) -> Source:
        known = self.sources.get(header.source)
        if known is None:
            if len(self.sources) >= MAX_SOURCES:
                raise ProtocolError(f"source: {MAX_SOURCES} are known, no more are taken")
            known = self.sources[header.source] = Source(header.epoch, header.sequence - 1)
        elif header.epoch > known.epoch:
            self._give_up_all(header.source)
            known.epoch, known.newest = header.epoch, header.sequence - 1
        return known

    def gone(self, header: Gone) -> None:
        """A publisher has nothing before `first` any more."""
        source, gap = self.sources.get(header.source), self._gaps.get(header.source)
        if source is not None and gap is not None and header.epoch == source.epoch:
            self._pass_over(source, min(header.first, *gap.behind))
            self._go_on(header.source)

    def give_up_overdue(self) -> None:
        """Wait no longer for what has not come in time."""
        now = monotonic()
        for name in [name for name, gap in self._gaps.items() if gap.until <= now]:
            self._give_up(name)

    def give_up_everything(self) -> None:
        """Wait for nothing any more."""
        for name in list(self._gaps):
            self._give_up_all(name)

    def _give_up_all(self, name: str) -> None:
        while name in self._gaps:
            self._give_up(name)

    def _give_up(self, name: str) -> None:
        self._pass_over(self.sources[name], min(self._gaps[name].behind))
        self._go_on(name)

    def _pass_over(self, source: Source, first: int) -> None:
        missing = max(0, first - source.newest - 1)
        source.gaps += missing
        source.newest += missing

    def _go_on(self, name: str) -> None:
        """Hand on what is next, and see to what is missing then."""
        source, gap = self.sources[name], self._gaps[name]
        while True:
            while source.newest + 1 in gap.behind:
                source.newest += 1
                item = gap.behind.pop(source.newest)
                if item is not None:
                    self._hand_on(item)
            if not gap.behind:
                del self._gaps[name]
                return
            first = min(gap.behind)
            if self._ask is not None and self._held() <= MAX_HELD:
                if gap.asked_to < first - 1:
                    gap.asked_to, gap.until = first - 1, monotonic() + PATIENCE
                    self._ask(Replay(name, source.epoch, source.newest + 1, first - 1))
                return
            self._pass_over(source, first)

    def _held(self) -> int:
        return sum(len(gap.behind) for gap in self._gaps.values())

    def counts(self) -> dict[str, dict[str, Any]]:
        """What is known of each source, by its name; may be called from any thread."""
        return {name: vars(source).copy() for name, source in list(self.sources.items())}
