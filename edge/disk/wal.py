"""The write-ahead log: update operations by sequence number, in files that only grow.

Invariants:
* sequences grow by one from the first record on; each record carries the checksum of the one
  before it, across files, so that no record can be missing, repeated or from elsewhere;
* a record that `append` returned from is whole in the operating system's hands; one that it
  raised for has left no byte behind;
* records up to `synced` are on the medium. What proves that a record was there: a later record's
  `synced` field, the header of a later file, the mark file beside the log, the caller's `durable`;
* a damaged record that was proven synced is CorruptData; one that was not is a torn tail, and the
  log ends before it: what replay yields is always a prefix, never with a hole;
* opening and replaying write nothing; what must be mended is mended by the first write;
* a failed sync is final: the log refuses every later write.

One thread at a time. FORMAT.md has the bytes.
"""

from __future__ import annotations

import contextlib
import struct
import zlib
from collections import deque
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from edge.disk import files
from edge.disk.log_file import (
    CHECKSUM,
    FIELDS,
    FILE,
    FILE_HEADER,
    FILE_MAGIC,
    LARGEST_BODY,
    PREFIX,
    RECORD_HEADER,
    RECORD_MAGIC,
    VERSION,
    WINDOW,
    LogFile,
    Place,
    Record,
    is_whole,
    read_headers,
    read_records,
)
from edge.disk.log_reader import LogReader
from edge.disk.storage import Storage, Writer
from edge.errors import CorruptData, LimitExceeded, StorageFault

if TYPE_CHECKING:
    from typing_extensions import Buffer

_MARK_MAGIC: Final = b"EDGEMRK1"
_MARK: Final = struct.Struct("<8s16sQQ")  # magic, shard, number of the newest file, synced
MARK_SIZE: Final = _MARK.size + CHECKSUM.size


class Wal:
    """A write-ahead log in one folder of a shard. Made by `Wal.open`.

    `torn_bytes` and `torn_records` tell, after replay, what an unsynced tail lost: the bytes cut
    off, and how many records in them still looked whole.
    """

    def __init__(self, storage: Storage, folder: str, first: int, shard: str) -> None:
        self._storage = storage
        self._folder = folder
        self._first = first
        self._shard = bytes.fromhex(shard).rjust(16, b"\0")
        self._mark = files.join(folder, files.SYNCED)
        self._logs: list[LogFile] = []
        self._stale: list[str] = []
        self._writer: Writer | None = None
        self._broken: StorageFault | None = None
        self._records: Iterator[Record] = iter(())
        self._place: Place | None = None
        self._sequence = first - 1
        self._synced = 0
        self._checksum = 0
        self._size = 0
        self.torn_bytes = 0
        self.torn_records = 0

    @classmethod
    def open(
        cls,
        storage: Storage,
        folder: str = files.WAL,
        first: int = 1,
        durable: int = 0,
        *,
        shard: str = "",
        create: bool = True,
    ) -> Wal:
        """The log in `folder`, ready to replay from sequence `first` on.

        `durable`: a sequence that the log is known to have reached (at least `first - 1` is
        required in any case). `shard`: the shard's UUID in hex, held against every file. Where
        there is no log, or one without any record, `create` makes a new one that starts at
        `first`; without it that is CorruptData, so a shard that exists says `create=False`.
        Reads the headers only; raises CorruptData, StorageFault.
        """
        wal = cls(storage, folder, first, shard)
        newest, marked = wal._read_mark()
        wal._synced = max(durable, marked)
        if create and not holds_records(storage, folder):
            wal._begin()
        else:
            wal._find(newest)
            wal._choose()
        wal._records = wal._replayed()
        return wal

    # -- opening ------------------------------------------------------------------------------

    def _path(self, name: str) -> str:
        return f"{self._storage.path}/{name}"

    def _read_mark(self) -> tuple[int, int]:
        """(number of the newest file, last synced sequence); zeros if the mark is not usable:
        it only adds proof, so that its loss alone loses nothing."""
        data = b""
        if self._storage.exists(self._mark):
            data = self._storage.pread(self._mark, 0, MARK_SIZE + 1)
        if len(data) != MARK_SIZE or not is_whole(data):
            return 0, 0
        magic, shard, number, synced = _MARK.unpack_from(data)
        return (number, synced) if magic == _MARK_MAGIC and shard == self._shard else (0, 0)

    def _find(self, newest: int) -> None:
        """Read the headers of all log files; `newest` is a number known to have existed."""
        numbers = sorted(filter(None, map(files.log_number, self._storage.list(self._folder))))
        for number in numbers:
            log = self._header(number, may_be_torn=number == numbers[-1] and number > newest)
            if log is not None:
                self._logs.append(log)
        last = self._logs[-1].number if self._logs else 0
        if last < newest:
            name = files.log_file(self._folder, newest)
            raise CorruptData("a log file is missing", self._path(name))

    def _header(self, number: int, may_be_torn: bool) -> LogFile | None:
        """The file's header. A last file that a crash left without a whole one is nothing yet:
        the header is synced before the first record."""
        name = files.log_file(self._folder, number)
        size = self._storage.size(name)
        data = self._storage.pread(name, 0, FILE_HEADER)
        fault = self._fault_of(data, number)
        if fault is None:
            _, _, _, first, previous, shard = FILE.unpack_from(data)
            return LogFile(name, number, first, previous, shard, size)
        if not may_be_torn or size > FILE_HEADER or is_whole(data):
            raise CorruptData(fault, self._path(name))
        self._stale.append(name)
        return None

    def _fault_of(self, data: bytes, number: int) -> str | None:
        """What is wrong with a file header, or None."""
        if len(data) < FILE_HEADER:
            return "the log file is cut short"
        magic, version, its_number, first, _, shard = FILE.unpack_from(data)
        if magic != FILE_MAGIC:
            return "not a log file"
        if version != VERSION:
            return f"log format version {version}; this program reads version {VERSION}"
        if not is_whole(data):
            return "the log file's header is damaged"
        if its_number != number or first < 1:
            return f"this is log file {its_number}, not {number}"
        return None if shard == self._shard else "the log file is another shard's"

    def _begin(self) -> None:
        """Start a log where there is none, or none with records."""
        if self._synced >= self._first:
            raise CorruptData("the log is missing", self._path(self._folder))
        self._storage.remove_tree(self._folder)
        self._storage.mkdir(self._folder)
        self._storage.create(self._mark).close()
        self._add_file(number=1, previous=0).close()
        self._writer = None
        self._storage.sync_folder(files.parent(self._folder))

    def _choose(self) -> None:
        """Leave out what a lost unlink left; insist on all files from `first` on."""
        if not self._logs:
            raise CorruptData("the log is missing", self._path(self._folder))
        oldest = len(self._logs) - 1
        while oldest and self._logs[oldest - 1].number == self._logs[oldest].number - 1:
            oldest -= 1
        log = self._logs[oldest]
        if log.first > self._first:
            missing = files.log_file(self._folder, log.number - 1)
            raise CorruptData(
                f"the log starts at {log.first}, not at {self._first}", self._path(missing)
            )
        self._stale += [old.name for old in self._logs[:oldest]]
        del self._logs[:oldest]

    # -- reading ------------------------------------------------------------------------------

    def replay(self) -> Iterator[Record]:
        """All records with sequence >= `first`, in order, each checked before it is yielded.

        Once, before appending (the first write reads on for itself where the caller stopped).
        Raises CorruptData at the damaged place; the log then refuses to be written.
        """
        return self._records

    def _replayed(self) -> Iterator[Record]:
        start = self._index_of(self._first)
        for index in range(start, len(self._logs)):
            log = self._logs[index]
            place = self._place = self._entered(log, index > start)
            for record in read_records(self._storage, log, place):
                if record.sequence >= self._first:
                    yield record
            if place.offset < log.size:
                self._judge(log, place, last=index == len(self._logs) - 1)
        self._settle()

    def _index_of(self, sequence: int) -> int:
        """The file that holds `sequence`, or would."""
        return max(i for i, log in enumerate(self._logs) if i == 0 or log.first <= sequence)

    def _entered(self, log: LogFile, follows: bool) -> Place:
        """The start of `log`, which must continue where the file before it ended."""
        before = self._place
        if follows and before is not None and log.follows != (before.sequence, before.checksum):
            raise self._spoilt(
                f"the log ends at {before.sequence}, but goes on at {log.first}",
                files.log_file(self._folder, log.number - 1),
                before.offset,
            )
        return Place(log, max(self._synced, log.first - 1))

    def _spoilt(self, message: str, name: str, offset: int) -> CorruptData:
        self._broken = StorageFault("the log is damaged", self._path(name))
        return CorruptData(message, self._path(name), offset)

    def _judge(self, log: LogFile, place: Place, *, last: bool) -> None:
        """A damaged record stands at `place`: a torn tail, or CorruptData if it was synced."""
        lost = place.sequence + 1
        if last and lost > place.synced and not self._proof_beyond(log, place):
            self.torn_bytes = log.size - place.offset
        else:
            raise self._spoilt(f"log record {lost} is damaged", log.name, place.offset)

    def _proof_beyond(self, log: LogFile, place: Place) -> bool:
        """True if a later record says that the one at `place` was synced before it."""
        for sequence, synced in read_headers(self._storage, log, place.offset + 1):
            if synced > place.sequence:
                return True
            self.torn_records += sequence > place.sequence
        return False

    def _settle(self) -> None:
        """All is read: the log ends here, and must have come as far as it is known to have."""
        place = self._place
        assert place is not None
        required = max(place.synced, self._first - 1)
        if place.sequence < required:
            raise self._spoilt(
                f"the log ends at {place.sequence}, but {required} was synced",
                self._logs[-1].name,
                place.offset,
            )
        self._sequence = place.sequence
        self._synced = place.synced
        self._checksum = place.checksum
        self._size = place.offset

    def read(self, first: int) -> LogReader:
        """Records from sequence `first` (still in the log) to the newest at the time of the call;
        after `read_on`, to the newest at that time.

        For followers of the log, after replay. Raises CorruptData if `first` was dropped; the
        reader does where a record is damaged, and StorageFault where its file was dropped.
        """
        reader = LogReader(self._storage, first)
        self.read_on(reader)
        return reader

    def read_on(self, reader: LogReader) -> None:
        """Let a reader go on to the newest record. Raises as `read`."""
        self._finish_replay()
        newest = self._logs[-1]
        reader.go_on((*self._logs[:-1], newest.cut(self._size)))

    @property
    def first(self) -> int:
        """The sequence of the oldest record in the live log files, or that the first will have."""
        return self._logs[0].first

    def bytes_before(self, sequence: int) -> int:
        """Bytes in the files in which all records are older than `sequence`."""
        return sum(log.size for log in self._logs[: self._index_of(sequence)])

    def first_within(self, most_bytes: int, before: int) -> int:
        """The oldest sequence that a file begins with, so that this file and those after it, up to
        the one that holds `before`, are no more than `most_bytes`."""
        first, total = self._logs[self._index_of(before)].first, 0
        for log in reversed(self._logs[: self._index_of(before)]):
            total += log.size
            if total > most_bytes:
                break
            first = log.first
        return first

    def _finish_replay(self) -> None:
        if self._broken is not None:
            raise StorageFault(self._broken.message, self._broken.path)
        deque(self._records, maxlen=0)

    # -- writing ------------------------------------------------------------------------------

    @property
    def sequence(self) -> int:
        """The newest record's sequence, once replayed; `first - 1` in an empty log."""
        return self._sequence

    @property
    def broken(self) -> bool:
        """Whether the log refuses to be written for good: what the medium holds is not known."""
        return self._broken is not None

    @property
    def synced(self) -> int:
        """The newest sequence that is known to be on the medium."""
        return self._synced

    @property
    def bytes(self) -> int:
        """Bytes in the live log files."""
        return sum(log.size for log in self._logs)

    @property
    def end(self) -> int:
        """Where the next record will stand in the newest file."""
        return self._size

    def extent(self, first: int) -> list[tuple[str, int]]:
        """The bare name and the bytes of each file that holds records from `first` to the newest;
        of the newest file at least, which says where the log goes on.

        What these bytes are now they stay: files only grow, until `drop_before` removes them.
        """
        self._finish_replay()
        logs = self._logs[self._index_of(first) :]
        sizes = [log.size for log in logs[:-1]] + [self._size]
        return [(log.name.rpartition("/")[2], size) for log, size in zip(logs, sizes, strict=True)]

    def disown(self, end: int) -> None:
        """After a failed sync: cut the records from `end` of the newest file on, which were
        refused because of it. If that fails too, the next open may find them, whole."""
        with contextlib.suppress(StorageFault):
            self._storage.truncate(self._logs[-1].name, end)
            self._logs[-1].size = end

    def append(self, kind: int, parts: Sequence[Buffer]) -> int:
        """Log one operation, its body the concatenation of `parts`; returns its sequence.

        In the system's hands on return, on the medium after `sync`. Raises StorageFull or
        StorageFault, and then nothing of it stays; LimitExceeded for a body over 1 GiB.
        """
        writer = self._writer or self._mended()
        body = length = 0
        for part in parts:
            body = zlib.crc32(part, body)
            length += memoryview(part).nbytes
        if length > LARGEST_BODY:
            raise LimitExceeded(f"a log record of {length} bytes; at most {LARGEST_BODY}")
        log = self._logs[-1]
        sequence = self._sequence + 1
        fields = FIELDS.pack(sequence, self._synced, length, kind, body, self._checksum)
        checksum = zlib.crc32(fields, log.checksum)
        try:
            writer.write(PREFIX.pack(RECORD_MAGIC, checksum) + fields, *parts)
        except BaseException:
            self._take_back(writer)
            raise
        log.size = self._size = self._size + RECORD_HEADER + length
        self._sequence = sequence
        self._checksum = checksum
        return sequence

    def _take_back(self, writer: Writer) -> None:
        """Cut off what a failed append left, and see to it that it does not come back after a
        power cut. If that fails too, nothing may follow it."""
        try:
            writer.truncate(self._size)
            writer.sync()
        except BaseException:
            self._break("a failed append could not be taken back")
            raise

    def _break(self, message: str) -> None:
        self._broken = StorageFault(f"{message}; reopen the shard", self._path(self._folder))
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def sync(self) -> None:
        """Put all records on the medium. A failure is final: StorageFault now and ever after.

        Where nothing is unsynced nothing is written: the disk may be one that takes no writes.
        """
        self._finish_replay()
        sequence = self._sequence
        if sequence > self._synced:
            self._sync(self._writer or self._mended())
            self._synced = sequence
            self._write_mark()

    def _sync(self, writer: Writer) -> None:
        try:
            writer.sync()
        except BaseException:
            self._break("a sync of the log failed")
            raise

    def _write_mark(self) -> None:
        """Note beside the log how far it is synced. Unsynced and in place: if the note is lost
        or torn there is less proof, and no harm; so a failure to write it is none either."""
        fields = _MARK.pack(_MARK_MAGIC, self._shard, self._logs[-1].number, self._synced)
        with contextlib.suppress(StorageFault):
            self._storage.overwrite(self._mark, 0, fields + CHECKSUM.pack(zlib.crc32(fields)))

    def _mended(self) -> Writer:
        """The writer of the newest file, at the first write: cut the torn tail off first, and for
        good, since what is torn must not come back under a file that follows."""
        self._finish_replay()
        log, place = self._logs[-1], self._place
        assert place is not None
        self._remove_stale()
        self._write_again(log, place)
        torn = log.size > self._size
        if torn:
            self._storage.truncate(log.name, self._size)
        self._writer = writer = self._storage.append(log.name)
        if torn:
            self._sync(writer)
            log.size = self._size
        return writer

    def _write_again(self, log: LogFile, place: Place) -> None:
        """Write the unproven records once more over themselves. After a failed sync the system
        may hold them as written when they are not; only a new write makes a new sync count."""
        offset = place.proven
        while offset < self._size:
            data = self._storage.pread(log.name, offset, min(WINDOW, self._size - offset))
            self._storage.overwrite(log.name, offset, data)
            offset += len(data)

    def rotate(self) -> None:
        """Sync, then let the next append go to a new file. Nothing to do in an empty one.

        Raises StorageFull or StorageFault; the log goes on in the old file if it can.
        """
        if self._writer is None:
            self._mended()
        self.sync()
        newest = self._logs[-1]
        if self._size > FILE_HEADER:
            self._add_file(newest.number + 1, self._checksum)

    def _add_file(self, number: int, previous: int) -> Writer:
        name = files.log_file(self._folder, number)
        log = LogFile(name, number, self._sequence + 1, previous, self._shard, FILE_HEADER)
        try:
            writer = self._begun(log)
        except BaseException:
            self._give_up_file(name)
            raise
        if self._writer is not None:
            self._writer.close()
        self._writer = writer
        self._logs.append(log)
        self._size = FILE_HEADER
        self._checksum = log.checksum
        self._write_mark()
        return writer

    def _begun(self, log: LogFile) -> Writer:
        writer = self._storage.create(log.name)
        try:
            writer.write(log.header())
            writer.sync()
            self._storage.sync_folder(self._folder)
        except BaseException:
            writer.close()
            raise
        return writer

    def _give_up_file(self, name: str) -> None:
        """Make sure that a file which failed to begin does not come back beside the one before
        it, which goes on; if that is not sure, the log must not go on."""
        try:
            self._storage.remove_tree(name)
            self._storage.sync_folder(self._folder)
        except BaseException:
            self._break("a new log file failed and could not be removed")
            raise

    def drop_before(self, sequence: int) -> None:
        """Delete the files in which all records are older than `sequence`."""
        if len(self._logs) < 2 or self._logs[1].first > sequence:
            return
        if self._writer is None:
            self._mended()
        while len(self._logs) > 1 and self._logs[1].first <= sequence:
            self._storage.unlink(self._logs[0].name)
            del self._logs[0]

    def drop_oldest(self) -> None:
        """Delete the oldest of several files."""
        self.drop_before(self._logs[1].first)

    def _remove_stale(self) -> None:
        while self._stale:
            self._storage.remove_tree(self._stale[-1])
            self._stale.pop()

    def close(self) -> None:
        """Let go of the files, without sync. Writing is refused from here on."""
        self._break("the log is closed")


def holds_records(storage: Storage, folder: str = files.WAL) -> bool:
    """True if a log file in `folder` has more than a header."""
    names = (name for name in storage.list(folder) if files.log_number(name))
    return any(storage.size(files.join(folder, name)) > FILE_HEADER for name in names)
