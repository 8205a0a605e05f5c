"""EdgeClient without an event loop: the same client, plain functions, for any thread.

Invariant: the lines live on a loop in a thread of their own; calls wait there, not in this thread.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import Any, Self

from anyio.from_thread import BlockingPortal, start_blocking_portal
from numpy.typing import NDArray

from edge.actors.feed import Change
from edge.blocking import Reads
from edge.endpoints import client
from edge.endpoints.security import ClientKeys
from edge.errors import ShardClosed
from edge.model.point_id import PointIdLike
from edge.model.request import ShardInfo
from edge.model.update import UpdateOperation
from edge.query.answer import Request


class EdgeClient(Reads):
    """A shard in another process, or on another machine; see `edge.endpoints.EdgeClient`.

    Opened when made; a context manager, and `close` may be called by hand and more than once.
    """

    def __init__(
        self,
        query: str,
        ingest: str | None = None,
        events: str | None = None,
        *,
        timeout: float = client.TIMEOUT,
        keys: ClientKeys | None = None,
    ) -> None:
        self._client = client.EdgeClient(query, ingest, events, timeout=timeout, keys=keys)
        self._portal: BlockingPortal | None = None
        with ExitStack() as opening:
            portal = opening.enter_context(start_blocking_portal())
            opening.enter_context(portal.wrap_async_context_manager(self._client))
            self._open = opening.pop_all()
        self._portal = portal

    def close(self) -> None:
        """Close the lines. Idempotent."""
        self._portal = None
        self._open.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _there(self) -> BlockingPortal:
        if self._portal is None:
            raise ShardClosed("the client is closed")
        return self._portal

    # -- reading

    def _answer(self, request: Request) -> Any:
        return self._there().call(self._client._ask, request)

    def info(self) -> ShardInfo:
        """Return counts, sizes, durable sequence and the state of the background work."""
        return self._there().call(self._client.info)

    @contextmanager
    def read_view(self) -> Iterator[ClientView]:
        """Hold the shard as it is now; see `edge.endpoints.EdgeClient.read_view`."""
        portal = self._there()
        with portal.wrap_async_context_manager(self._client.read_view()) as view:
            yield ClientView(portal, view)

    @contextmanager
    def follow(self) -> Iterator[ClientFollowing]:
        """Follow the shard: its view as it is now, and every change that is applied after it; see
        `edge.endpoints.EdgeClient.follow`."""
        portal = self._there()
        with portal.wrap_async_context_manager(self._client.follow()) as following:
            yield ClientFollowing(portal, following)

    # -- writing

    def update(self, operation: UpdateOperation) -> None:
        """Carry out one operation, whole or not at all. Raises as `EdgeShard.update` does."""
        self._there().call(self._client.update, operation)

    def upsert_arrays(
        self,
        ids: Sequence[PointIdLike] | NDArray[Any],
        vectors: NDArray[Any] | Mapping[str, NDArray[Any]],
        payloads: Sequence[dict[str, Any] | None] | None = None,
    ) -> None:
        """Upsert points given as columns; see `EdgeShard.upsert_arrays`."""
        self._there().call(self._client.upsert_arrays, ids, vectors, payloads)


class ClientView(Reads):
    """A shard behind its doors as it was at one moment."""

    def __init__(self, portal: BlockingPortal, view: client.ClientView) -> None:
        self._portal, self._view = portal, view
        self.sequence = view.sequence
        """The last operation that the view shows."""

    def _answer(self, request: Request) -> Any:
        return self._portal.call(self._view._ask, request)


class ClientFollowing:
    """A view, and the changes after it."""

    def __init__(self, portal: BlockingPortal, following: client.ClientFollowing) -> None:
        self._portal, self._following = portal, following
        self.view = ClientView(portal, following.view)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Change:
        """Wait for the next change. Raises ShardBusy where one was missed."""
        return self._portal.call(self._following.__anext__)
