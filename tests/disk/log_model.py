"""A log under test beside what it must hold: scripts of operations, and what recovery owes."""

from __future__ import annotations

from collections.abc import Callable

from edge.disk import files
from edge.disk.log_file import Record
from edge.disk.storage import Storage
from edge.disk.wal import Wal
from tests.disk.simulated import Image, SimulatedStorage

SHARD = "5eed" * 8
OPERATIONS = "aAsrdo"
"""append small, append large, sync, rotate, drop what is synced, close and open again."""


def body_of(sequence: int, large: bool = False) -> bytes:
    text = f"operation {sequence} ".encode()
    return text * 60 if large else text


def drained(storage: Storage, **wanted: object) -> list[tuple[int, int, bytes]]:
    """All that a log opened afresh replays, read-only, as plain values."""
    wal = Wal.open(storage, shard=SHARD, **wanted)
    return [plain(record) for record in wal.replay()]


def plain(record: Record) -> tuple[int, int, bytes]:
    return record.sequence, record.kind, bytes(record.body)


class LogModel:
    """Drives a Wal over `storage`. `written` is what was acknowledged, `underway` an append not yet
    returned, `synced` the newest sequence that a returned sync covered, `first` what may be needed.
    """

    def __init__(self, storage: Storage) -> None:
        self.storage = storage
        self.written: list[bytes] = []
        self.underway: bytes | None = None
        self.synced = 0
        self.first = 1
        self.wal = Wal.open(storage, shard=SHARD)

    def run(self, script: str) -> None:
        for operation in script:
            self._doing[operation](self)

    def append(self, large: bool = False) -> None:
        self.underway = body_of(len(self.written) + 1, large)
        half = len(self.underway) // 2
        sequence = self.wal.append(large, [self.underway[:half], self.underway[half:]])
        self.written.append(self.underway)
        self.underway = None
        assert sequence == len(self.written) == self.wal.sequence

    def sync(self) -> None:
        self.wal.sync()
        self._synced()

    def rotate(self) -> None:
        self.wal.rotate()
        self._synced()

    def _synced(self) -> None:
        self.synced = len(self.written)
        assert self.wal.synced == self.synced

    def drop(self) -> None:
        self.first = self.synced + 1
        self.wal.drop_before(self.first)

    def reopen(self) -> None:
        self.wal.close()
        self.wal = Wal.open(
            self.storage, first=self.first, durable=self.first - 1, shard=SHARD, create=False
        )
        records = [plain(record) for record in self.wal.replay()]
        assert records == self.records(self.first, len(self.written))

    def keep(self, last: int) -> None:
        """Go on from a recovery that found the records up to `last`."""
        bodies = self.written if self.underway is None else [*self.written, self.underway]
        self.written, self.underway = bodies[:last], None

    def records(self, first: int, last: int) -> list[tuple[int, int, bytes]]:
        bodies = self.written if self.underway is None else [*self.written, self.underway]
        return [(n, len(bodies[n - 1]) > 99, bodies[n - 1]) for n in range(first, last + 1)]

    _doing: dict[str, Callable[[LogModel], None]] = {  # noqa: RUF012
        "a": append,
        "A": lambda self: self.append(large=True),
        "s": sync,
        "r": rotate,
        "d": drop,
        "o": reopen,
    }

    def check(self, image: Image) -> int:
        """Recovery from `image` gives a prefix that holds all that was synced, and a log that can
        be written, synced and opened again. Returns the last sequence found."""
        storage = SimulatedStorage(image)
        wanted = {"first": self.first, "durable": self.first - 1, "create": False}
        found = drained(storage, **wanted)
        last = self.first - 1 + len(found)
        newest = len(self.written) + (self.underway is not None)
        assert max(self.synced, self.first - 1) <= last <= newest
        assert found == self.records(self.first, last)
        assert storage.calls == [], "reading must not write"
        wal = Wal.open(storage, shard=SHARD, **wanted)
        assert wal.append(7, [b"after"]) == last + 1
        wal.sync()
        wal.close()
        assert drained(storage, **wanted) == [*found, (last + 1, 7, b"after")]
        return last


def log_names(image: Image) -> list[str]:
    """The files of the log in `image`, the mark included."""
    return sorted(name for name in image if name.startswith(f"{files.WAL}/"))
