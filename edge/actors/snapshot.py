"""The snapshot actor: its place in the house; creating snapshots is its later work."""

from __future__ import annotations

import anyio


class Snapshot:
    """Waits until it is stopped."""

    name = "snapshot"

    def __init__(self) -> None:
        self._stopped = anyio.Event()

    async def run(self) -> None:
        """Work until stopped."""
        await self._stopped.wait()

    def stop(self) -> None:
        """Let `run` return."""
        self._stopped.set()
