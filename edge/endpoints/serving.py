"""What the doors of a shard share: the shard they serve, the thread of their sockets.

Invariant: what is read here (config, limits, view, marks) may be read from any thread.
"""

from __future__ import annotations

from typing import Any

from edge.actors.supervisor import Supervisor
from edge.actors.writer import Writer
from edge.endpoints.thread import Door, DoorThread
from edge.model.config import Durability, EdgeConfig
from edge.model.limits import Limits
from edge.model.mark import Marks
from edge.segment.view import ShardView


class Serving:
    """See the module's invariant."""

    def __init__(self, actors: Supervisor, thread: DoorThread) -> None:
        self._actors = actors
        self._thread = thread
        self.doors: dict[str, Door] = {}
        """The doors by name."""

    def add(self, door: Door) -> None:
        """Make a door known by its name."""
        self.doors[door.name] = door

    def door(self, name: str) -> Door:
        """The door of this name."""
        return self.doors[name]

    def send(self, name: str, frames: list[Any]) -> None:
        """Have the thread send this through a door."""
        door = self.doors[name]
        self._thread.call(lambda: _sent(door, frames))

    @property
    def actors(self) -> Supervisor:
        """The actors of the shard."""
        return self._actors

    @property
    def writer(self) -> Writer:
        """Who changes the shard."""
        return self._actors.writer

    @property
    def view(self) -> ShardView:
        """The newest view."""
        return self._actors.watch.view

    @property
    def marks(self) -> Marks:
        """How far each source has come."""
        return self.view.marks

    @property
    def config(self) -> EdgeConfig:
        """The config of the shard."""
        return self._actors.store.config

    @property
    def durability(self) -> Durability:
        """What the shard promises of a write that asks for nothing else."""
        return self._actors.store.settings.durability

    @property
    def limits(self) -> Limits:
        """How large a request may be."""
        return self._actors.store.settings.limits

    @property
    def synced(self) -> int:
        """The last operation that a power cut cannot take."""
        return self._actors.store.synced


def _sent(door: Door, frames: list[Any]) -> None:
    door.send(frames)
