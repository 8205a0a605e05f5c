"""Two shards as one memory: what was written here lies over what came from elsewhere.

Invariants
- `own` takes every write; `base` is replaced as a whole by whoever fetches it, and never written.
- What is read is the base that was adopted last, without the points that own operations after the
  cut have touched, and the own points that these operations have left.
- The cut is a cursor of the own log: what is hidden can be told again from the log alone, after
  any crash. It moves to an operation only when the base that is adopted holds all up to there.
- Whoever changes stored points changes them as they are read: what only the base has is copied
  first, by an operation that is nobody else's affair (`mark.HERE`), and is hidden there from then.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final, Self

import anyio
from anyio import to_thread
from numpy.typing import NDArray

from edge.actors.outbox import Outbox
from edge.errors import EdgeError, NotFound
from edge.model.check import CheckedOperation
from edge.model.config import Durability, EdgeConfig
from edge.model.mark import Mark
from edge.model.point_id import PointIdLike
from edge.model.update import UpdateOperation
from edge.query.answer import Request
from edge.segment.view import ShardView
from edge.shard import EdgeShard, Reads, ReadView
from edge.sync import changing
from edge.sync.background import Background, Loop
from edge.sync.gate import Gate
from edge.sync.overlay import Overlay, check_same, hidden

log = logging.getLogger("edge")

LOCAL: Final = "local"
MIRROR: Final = "mirror"
"""The shards' folders."""


class Pair(Reads):
    """See the module's invariants. To be opened by `async with`, in `folder`; `config` is that of
    the own shard."""

    def __init__(self, folder: str | Path, config: EdgeConfig | None = None) -> None:
        self.folder = Path(folder)
        self.own = EdgeShard(self.folder / LOCAL, config)
        self.base = EdgeShard.load(self.folder / MIRROR)
        self._overlay = Overlay(0)
        self._adopted: ShardView | None = None
        self._gate = Gate()
        self._adopting = anyio.Lock()
        self._stack = AsyncExitStack()

    # -- life

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            await self._open(stack)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *error: Any) -> None:
        await self._stack.aclose()

    async def _open(self, stack: AsyncExitStack) -> None:
        """Open all that there is; `stack` closes it."""
        await stack.enter_async_context(self.own)
        try:
            await stack.enter_async_context(self.base)
        except NotFound:  # it was never fetched
            config = self.own.actors.watch.view.config
            self.base = EdgeShard.create(self.folder / MIRROR, config)
            await stack.enter_async_context(self.base)
        await self._begin(stack)
        background = Background()
        stack.push_async_callback(background.stop)
        background.start(*self._loops())

    def _loops(self) -> tuple[Loop, ...]:
        """What runs while it is open."""
        return (self._follow_base,)

    async def _begin(self, stack: AsyncExitStack) -> None:
        """Tell from the log what is hidden, and listen to what comes after it."""
        writer = self.own.actors.writer
        cut = await writer.call(changing.first_cut)
        self._overlay = Overlay(cut)
        await writer.listen(self._overlay)
        stack.callback(writer.unfollow, self._overlay)
        log = await writer.call(partial(changing.log_after, cut))
        for sequence, touch in await to_thread.run_sync(log):
            self._overlay.note(sequence, touch)
        await self.adopt(cut)

    async def _follow_base(self) -> None:
        """Go on over the base as its optimizer rebuilds it."""
        watch = self.base.actors.watch
        while not watch.closed:
            bell = watch.bell
            if watch.view is not self._adopted:
                await self._adopt_again()
            await bell.wait()

    async def _adopt_again(self) -> None:
        try:
            await self.adopt()
        except EdgeError as error:  # what was fetched does not fit, or nothing can be written
            log.warning("a rebuilt mirror is not adopted: %s", error)
            self._adopted = self.base.actors.watch.view

    # -- writing

    async def update(
        self,
        operation: UpdateOperation,
        durability: Durability | None = None,
        mark: Mark | None = None,
    ) -> int:
        """Carry out one operation on what is read, as `EdgeShard.update`; return the number that
        it has in the own log."""
        if not changing.looks(operation):
            async with self._gate.together():
                return await self.own.update(operation, durability, mark)
        async with self._gate.alone():
            return await self._change(operation, durability, mark)

    async def _change(
        self, operation: UpdateOperation, durability: Durability | None, mark: Mark | None
    ) -> int:
        writer = self.own.actors.writer
        await writer.call(lambda store: None)  # what a cancelled caller left behind is seen
        view, below = self._view(), len(self._overlay.below)

        def planned() -> tuple[list[CheckedOperation], CheckedOperation]:
            return changing.planned(operation, view, below)

        copies, checked = await to_thread.run_sync(planned)
        change = changing.Change(copies, checked, view.config, durability, mark)
        return await writer.call(change.commit)

    async def upsert_arrays(
        self,
        ids: Sequence[PointIdLike] | NDArray[Any],
        vectors: NDArray[Any] | Mapping[str, NDArray[Any]],
        payloads: Sequence[dict[str, Any] | None] | None = None,
        durability: Durability | None = None,
    ) -> int:
        """As `EdgeShard.upsert_arrays`."""
        async with self._gate.together():
            return await self.own.upsert_arrays(ids, vectors, payloads, durability)

    # -- reading

    def _view(self) -> ShardView:
        return self._overlay.over(self.own.actors.watch.view)

    async def _ask(self, request: Request) -> Any:
        return await self.own.actors.query.ask(request, self._view())

    @asynccontextmanager
    async def read_view(self) -> AsyncIterator[ReadView]:
        """Hold all as it is now, as `EdgeShard.read_view`."""
        view = ReadView(self.own.actors.query, self._view())
        try:
            yield view
        finally:
            view.let_go()

    # -- what goes elsewhere

    async def outbox(self, name: str, most_bytes: int | None = None) -> Outbox:
        """As `EdgeShard.outbox`, of what was written here; one that is new gives what the base does
        not hold. (The log is kept from the cut on in any case.)"""
        await self.own.actors.writer.call(partial(changing.first_place, name))
        return await self.own.outbox(name, most_bytes)

    # -- the base

    @property
    def cut(self) -> int:
        """The last own operation that the adopted base holds, with all before it."""
        return self._overlay.cut

    async def adopt(self, cut: int = 0) -> None:
        """Read the base as it is now, which holds all own operations up to `cut`; own points that
        no later operation has written leave.

        Raises ValidationError where its vectors are not stored as our own; what is read stays.
        """
        writer = self.own.actors.writer
        async with self._adopting:
            base = self.base.actors.watch.view
            check_same(self.own.actors.watch.view.config, base.config)
            cut = max(cut, self._overlay.cut)
            if cut > self._overlay.cut:
                await writer.call(partial(changing.move_cut, cut))
            with self._overlay.adopting(cut) as ids:
                below = await to_thread.run_sync(hidden, base.segments, ids)
                async with self._gate.alone():  # a change that was planned is carried out first
                    self._overlay.adopt(below, cut)
            self._adopted = base
            if cut >= self._overlay.settled:
                await writer.call(partial(changing.follow_settings, base))
            if self._overlay.is_leaving:
                while await writer.call(partial(changing.take_away, cut)):
                    pass
                self._overlay.is_leaving = False
