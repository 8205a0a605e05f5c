"""Publishes points and waits for nobody: python publisher.py FOLDER [MESSAGES]

What the other side has no room for is dropped, and counted there as a gap. For points that may not
be lost see producer.py.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import zmq

from edge.endpoints.protocol import message_of

DIM, BATCH = 4, 16


def main(folder: Path, messages: int) -> None:
    """Wait for the subscriber, then publish."""
    rng = np.random.default_rng()
    with zmq.Context() as context, context.socket(zmq.XPUB) as socket:
        socket.linger = 5_000
        socket.connect(f"ipc://{folder.absolute()}/doors/stream")
        socket.recv()  # a subscription: whatever is sent before it goes nowhere
        for sequence in range(1, messages + 1):
            ids = range(sequence * BATCH, (sequence + 1) * BATCH)
            vectors = rng.standard_normal((BATCH, DIM)).astype(np.float32)
            payloads = [{"camera": "front", "frame": sequence} for _ in ids]
            frames = message_of("front-camera", 1, sequence, ids, vectors, payloads)
            socket.send_multipart([b"points/front-camera", *frames])
    print(f"{messages} messages of {BATCH} points")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 100)
