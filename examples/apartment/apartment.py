"""The apartment: its objects, its rooms, and what a robot sees while it drives through them.

The stream is made from a seed, so two processes that count sightings alike see the same ones.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge import Point

Vector = NDArray[np.float32]

# Where the rooms' middles are, in metres.
ROOMS: dict[str, tuple[float, float]] = {
    "hallway": (4.0, 3.0),
    "kitchen": (1.5, 1.5),
    "pantry": (1.0, 4.0),
    "living room": (7.0, 1.5),
    "study": (10.5, 1.5),
    "workshop": (12.0, 4.5),
    "balcony": (9.0, -1.0),
    "nursery": (10.0, 7.0),
    "bedroom": (7.0, 7.0),
    "bathroom": (4.0, 7.5),
    "laundry": (1.5, 7.0),
}

MORNING = datetime(2026, 3, 2, 8, 0)
NOISE = 0.15
"""How far a camera's embedding lies from the object's own, on vectors of length one."""
ASTRAY = 0.15
"""The share of sightings of things that lie in a room where they do not belong."""


@dataclass(frozen=True)
class Objects:
    """What objects.npz holds; one entry, one row, for each object."""

    names: list[str]
    rooms: list[str]
    vectors: Vector
    """float32[n, 384], unit length"""
    questions: dict[str, Vector]
    """words -> float32[384]"""

    @classmethod
    def load(cls) -> Objects:
        """Read the file beside this one."""
        shipped = np.load(Path(__file__).with_name("objects.npz"))
        asked = shipped["query_vectors"].astype(np.float32)
        return cls(
            names=shipped["names"].tolist(),
            rooms=shipped["rooms"].tolist(),
            vectors=shipped["vectors"].astype(np.float32),
            questions=dict(zip(shipped["queries"].tolist(), asked, strict=True)),
        )


@dataclass(frozen=True)
class Sighting:
    """One object, seen once."""

    number: int
    name: str
    room: str
    pose: dict[str, float]
    """x and y in metres, theta in radians: where the robot stood and looked"""
    seen_at: datetime
    vector: Vector

    @property
    def payload(self) -> dict[str, Any]:
        """What is remembered beside the vector."""
        seen_at = self.seen_at.isoformat(timespec="seconds")
        return {"object": self.name, "room": self.room, "pose": self.pose, "seen_at": seen_at}

    @property
    def point(self) -> Point:
        """The sighting as it is stored."""
        return Point(self.number, self.vector, self.payload)


def sightings(objects: Objects, seed: int, first: int = 0) -> Iterator[Sighting]:
    """Drive from room to room and look around, without end; numbers count from `first`."""
    rng = np.random.default_rng(seed)
    now = MORNING + timedelta(days=seed)
    at_home = {room: [i for i, home in enumerate(objects.rooms) if home == room] for room in ROOMS}
    number = first
    while True:
        for room in rng.permutation(list(ROOMS)).tolist():
            for _ in range(rng.integers(20, 60)):
                astray = rng.random() < ASTRAY
                thing = int(
                    rng.integers(len(objects.names)) if astray else rng.choice(at_home[room])
                )
                now += timedelta(seconds=float(rng.uniform(0.2, 2.0)))
                yield Sighting(
                    number,
                    objects.names[thing],
                    room,
                    pose_in(room, rng),
                    now,
                    seen(objects.vectors[thing], rng),
                )
                number += 1


def pose_in(room: str, rng: np.random.Generator) -> dict[str, float]:
    """Stand somewhere near the middle of a room and look somewhere."""
    x, y = (middle + float(rng.uniform(-1.2, 1.2)) for middle in ROOMS[room])
    theta = float(rng.uniform(-math.pi, math.pi))
    return {"x": round(x, 2), "y": round(y, 2), "theta": round(theta, 2)}


def seen(vector: Vector, rng: np.random.Generator) -> Vector:
    """Return the embedding as a camera would give it: a little beside the true one."""
    noise = rng.standard_normal(len(vector), np.float32) * np.float32(
        NOISE / math.sqrt(len(vector))
    )
    noisy: Vector = vector + noise
    return noisy / np.linalg.norm(noisy)
