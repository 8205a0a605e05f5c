"""Enums that print as they are written in code."""

from __future__ import annotations

from enum import Enum


class Choice(Enum):
    """An enum whose members print as they are written in code."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}.{self.name}"


class Memory(Choice):
    """Where a component lives: Cold (on disk), Cached (page cache), Pinned (resident)."""

    Cold = "Cold"
    Cached = "Cached"
    Pinned = "Pinned"
