"""Reading a log that is being written, from one sequence on.

Invariants
- Records come in order, each once and checked; none that was not whole when `go_on` was called.
- What was read is not read again: going on costs what is new.
- `go_on` belongs to the log's thread; the records may be taken in any other, one at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Self

from edge.disk.log_file import LogFile, Place, Record, read_records
from edge.disk.storage import Storage
from edge.errors import CorruptData


class LogReader(Iterator[Record]):
    """An iterator that ends where the log did when it was last told to go on (`Wal.read`)."""

    def __init__(self, storage: Storage, first: int) -> None:
        self._storage = storage
        self._files: Sequence[LogFile] = ()
        self._file: LogFile | None = None
        self._place: Place | None = None
        self._records: Iterator[Record] = iter(())
        self.next = first
        """The sequence of the next record."""

    def go_on(self, files: Sequence[LogFile]) -> None:
        """Read as far as these files go: the log's as they are now, and as they stay up to there.

        Raises CorruptData where the next record was dropped.
        """
        if self.next < files[0].first:
            raise CorruptData(
                f"the log starts at {files[0].first}, not at {self.next}", self._path(files[0])
            )
        self._files = files

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Record:
        while True:
            for record in self._records:
                if record.sequence >= self.next:
                    self.next = record.sequence + 1
                    return record
            if not self._begin():
                raise StopIteration

    def _begin(self) -> bool:
        """Begin with what comes next in the files; False where there is nothing."""
        file, place = self._file, self._place
        if file is not None and place is not None and place.offset < file.size:
            message = f"log record {place.sequence + 1} is damaged"
            raise CorruptData(message, self._path(file), place.offset)
        found = self._start() if file is None else self._after(file)
        if found is None:
            return False
        if place is None or file is None or found.number != file.number:
            place = Place(found, 0)
        self._file, self._place = found, place
        self._records = read_records(self._storage, found, place)
        return True

    def _start(self) -> LogFile:
        """The file that holds the next record, or will."""
        return max(
            (file for file in self._files if file.first <= self.next), key=lambda file: file.first
        )

    def _after(self, read: LogFile) -> LogFile | None:
        """The file that was read so far, where it has grown since; or else the one after it."""
        for file in self._files:
            grown = file.number == read.number and file.size > read.size
            if grown or file.number == read.number + 1:
                return file
        return None

    def _path(self, file: LogFile) -> str:
        return f"{self._storage.path}/{file.name}"
