"""The latest view, and a bell that rings when a newer one is published.

Invariant: published on the event loop only, by the writer only; a reader takes `view` and needs
nothing else.
"""

from __future__ import annotations

import anyio

from edge.segment.view import ShardView


class Watch:
    """Where the writer leaves each new view.

    `bell` is an event that is set at the next ring: take it before looking, wait for it after, and
    nothing that came in between is missed.
    """

    def __init__(self, view: ShardView) -> None:
        self.view = view
        self.bell = anyio.Event()
        self.closed = False

    def publish(self, view: ShardView) -> None:
        """Put a newer view in place and wake whoever waits for one."""
        if view is not self.view:
            self.view = view
            self.ring()

    def close(self) -> None:
        """No newer view will come: wake whoever waits for one."""
        self.closed = True
        self.ring()

    def ring(self) -> None:
        """Wake whoever waits, without a new view."""
        self.bell.set()
        self.bell = anyio.Event()
