"""Hands over points that may not be lost: python producer.py FOLDER [MESSAGES]

Stop robot.py and start it again meanwhile: every message is applied once, in order.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from edge.endpoints import Publisher

DIM, BATCH = 4, 16


def main(folder: Path, messages: int) -> None:
    """Hand over, and wait until all is acknowledged."""
    rng = np.random.default_rng()
    address = f"ipc://{folder.absolute()}/doors/ingest"
    with Publisher(address, "object-detector") as publisher:
        for number in range(messages):
            first = 1_000_000 + number * BATCH
            vectors = rng.standard_normal((BATCH, DIM)).astype(np.float32)
            payloads = [{"object": "mug", "seen": number} for _ in range(BATCH)]
            publisher.upsert_arrays(np.arange(first, first + BATCH), vectors, payloads)
        publisher.flush()
        for refused in publisher.refused:
            print(f"message {refused.sequence} was refused: {refused.message}")
    print(f"{messages} messages of {BATCH} points, all acknowledged")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 100)
