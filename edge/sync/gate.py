"""A gate that many may pass together, or one alone.

Invariant: who wants to be alone waits for those inside, and those who come later wait for it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio


class Gate:
    """See the module's invariant."""

    def __init__(self) -> None:
        self._turn = anyio.Lock()
        self._inside = 0
        self._empty = anyio.Event()

    @asynccontextmanager
    async def together(self) -> AsyncIterator[None]:
        """Be inside with others."""
        async with self._turn:
            self._inside += 1
        try:
            yield
        finally:
            self._inside -= 1
            if not self._inside:
                self._empty.set()

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        """Be inside with nobody else."""
        async with self._turn:
            while self._inside:
                self._empty = anyio.Event()
                await self._empty.wait()
            yield
