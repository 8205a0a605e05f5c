"""What the tests of actors and facades share: small configs and points, gates, and patience."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterable
from functools import wraps
from time import monotonic
from typing import Any

import numpy as np

from edge.model.config import EdgeConfig, EdgeOptimizersConfig
from edge.model.point import Point
from edge.model.update import UpdateOperation
from edge.model.vector_params import Distance, EdgeVectorParams

DIM = 8
PATIENCE = 30.0
"""Seconds that a test waits, at most, for what must happen."""


def config(dim: int = DIM, optimizers: dict[str, Any] | None = None, **others: Any) -> EdgeConfig:
    """A config for vectors of small whole numbers, whose dot products are exact."""
    return EdgeConfig(
        EdgeVectorParams(dim, Distance.Dot),
        optimizers=EdgeOptimizersConfig(**(optimizers or {})),
        **others,
    )


def vector(seed: int, dim: int = DIM) -> np.ndarray:
    return np.random.default_rng(seed).integers(-9, 10, dim).astype(np.float32)


def block(count: int, dim: int = DIM, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(-9, 10, (count, dim)).astype(np.float32)


def upsert(ids: Iterable[int], **payload: Any) -> UpdateOperation:
    """Points whose vector is made of their id, and whose payload is this one."""
    return UpdateOperation.upsert_points([Point(i, vector(i), payload) for i in ids])


class Gate:
    """A place where a thread is held until it is let through."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self._open = threading.Event()

    def pass_through(self) -> None:
        self.entered.set()
        assert self._open.wait(PATIENCE)

    def before(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """`function`, behind this gate."""

        @wraps(function)
        def held(*args: Any, **named: Any) -> Any:
            self.pass_through()
            return function(*args, **named)

        return held

    async def reached(self) -> None:
        assert await asyncio.to_thread(self.entered.wait, PATIENCE)

    def open(self) -> None:
        self._open.set()


async def eventually(is_so: Callable[[], Awaitable[Any]]) -> Any:
    """Ask again and again until the answer is true, and return it."""
    until = monotonic() + PATIENCE
    while not (answer := await is_so()):
        assert monotonic() < until, "it did not happen"
        await asyncio.sleep(0.002)
    return answer


async def settled() -> None:
    """Let every task that can go on without a thread do so."""
    for _ in range(20):
        await asyncio.sleep(0)
