"""What the actors say to each other, and whom they may ask."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from edge.store.store import Store, Submission

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Call:
    """Something to do with the store, in the writer's turn; its result is the reply."""

    act: Callable[[Store], Any]


WriterRequest = Submission | Call


class AsksWriter(Protocol):
    """The writer, as the other actors know it."""

    async def call(self, act: Callable[[Store], Result]) -> Result:
        """Run `act(store)` in the writer's turn."""
        ...

    async def finish(self, act: Callable[[Store], Result]) -> Result:
        """Run `act(store)` in the writer's turn, even if the caller is cancelled meanwhile."""
        ...
