"""The shard's state on disk and in memory, and the only place where it changes.

Invariants
- One caller at a time: the writer's hop, or the blocking facade under its lock.
- `view` is all that is acknowledged; `durable` is what the manifest names: the state after
  operation `manifest.sequence`. Replaying the log from there on `durable` gives `view`.
- `sealing` is the state at the last rotation of the log while its tail is being written to files;
  it becomes `durable`. Whatever is swapped is swapped in all three.
- An operation is checked and prepared whole before it is logged, and logged before it is applied.
- After a failed sync, or a manifest that may or may not be in place, nothing more is written: what
  the disk holds is no longer known. Where only space ran out, everything stays as it was.
- What was refused is in no view and, as far as the disk can still be written, not in the log.
- What is held stays: no file that a `Held` names is removed before it is let go.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any
from uuid import uuid4

import msgspec

from edge.disk import files, manifest
from edge.disk.log_file import Record
from edge.disk.log_reader import LogReader
from edge.disk.manifest import Manifest, SegmentEntry
from edge.disk.storage import DiskStorage, Storage
from edge.disk.wal import Wal
from edge.errors import (
    AlreadyExists,
    CallerError,
    CorruptData,
    EdgeError,
    Fault,
    NotFound,
    ShardReadOnly,
    StorageFault,
    StorageFull,
    ValidationError,
)
from edge.model import codec, fields
from edge.model.check import (
    CheckedNothing,
    CheckedOperation,
    CheckedSetCursor,
    check,
    recheck,
)
from edge.model.config import (
    Durability,
    EdgeConfig,
    Settings,
    adopted,
    change_of,
    decode_config,
    encode_config,
    resolve,
    settings_of,
)
from edge.model.cursor import Cursor, decode_cursors, encode_cursors, voided
from edge.model.limits import WIDEST_LIMITS
from edge.model.mark import Mark, check_mark, decode_marks, encode_marks, is_applied
from edge.model.schema import decode_schema, encode_schema
from edge.model.update import SetConfig, UpdateOperation
from edge.model.vector_params import VectorParams
from edge.segment.appendable import AppendableSegment
from edge.segment.builder import Built
from edge.segment.immutable import (
    ImmutableSegment,
    is_same_but_dead_rows,
    load_segment,
    load_tombstones,
    without_files_of,
)
from edge.segment.view import SegmentView, ShardView
from edge.store import optimization, outbox
from edge.store.effect import Effect, carry_out
from edge.store.live_files import Held, LiveFiles
from edge.store.optimization import Job, Plan
from edge.store.prepare import prepare
from edge.store.resolve import resolved
from edge.vectors.column import VectorKey

Outcome = int | EdgeError
"""The sequence number that an operation is part of, or why it was refused."""


@dataclass(frozen=True, slots=True)
class Submission:
    """One operation, and how safe its acknowledgement must be (None: as the config says)."""

    operation: UpdateOperation | CheckedOperation
    durability: Durability | None = None
    mark: Mark | None = None
    """Where its source stands: an update that the source sent before is passed over."""
    config: EdgeConfig | None = None
    """What a checked operation was checked against: it is checked again where that has changed."""

    def __post_init__(self) -> None:
        fields.member_or_none(self.durability, "durability", Durability)
        fields.instance_or_none(self.mark, "mark", Mark)


class Store:
    """See the module's invariants. Made by `create`, `load` or `over`."""

    def __init__(
        self,
        storage: Storage,
        config: EdgeConfig,
        state: Manifest,
        wal: Wal,
        loaded: ShardView | None = None,
    ) -> None:
        self._wal = wal
        self._files = LiveFiles(storage, state)
        self.read_only: str | None = None
        self._promised_at: float | None = None
        self.sealing: ShardView | None = None
        self._has_written = False
        self.is_followed = False
        """Whether `changes` are kept."""
        self._changes: list[tuple[int, bytes]] = []
        self.lineage = 0
        """Grows when the shard becomes another: what was planned or read before is of no use."""
        schema = decode_schema(state.schema)
        marks = decode_marks(state.marks)
        self.durable = ShardView(
            state.sequence, (), config, settings_of(config), schema, marks, state.births
        ).with_cursors(decode_cursors(state.cursors))
        self.durable = self.durable.of(self._load_segments(loaded))
        self.view = self.durable
        self.view = self.view.of((*self.view.segments, self._new_tail()))
        self._seal_beyond = self.settings.checkpoint_bytes

    # -- opening and closing

    @classmethod
    def create(cls, path: str | Path, config: EdgeConfig | None) -> Store:
        """Make a new shard; AlreadyExists where one is."""
        return cls.over(DiskStorage(path), config, existing=False)

    @classmethod
    def load(cls, path: str | Path, config: EdgeConfig | None = None) -> Store:
        """Open the shard that is there; NotFound where none is."""
        return cls.over(DiskStorage(path), config, existing=True)

    @classmethod
    def over(cls, storage: Storage, config: EdgeConfig | None, *, existing: bool | None) -> Store:
        """Open the shard in any storage: one that exists, one that must not (False), or either."""
        fields.instance_or_none(config, "config", EdgeConfig)
        if config is None and existing is False:
            raise ValidationError("config: a new shard needs one")
        if (existing or config is None) and not storage.exists(files.MANIFEST):
            _refuse_unless_there(storage, manifest.load(storage))
        storage.lock()
        try:
            return _open_locked(storage, config, existing)
        except BaseException:
            storage.unlock()
            raise

    def close(self) -> None:
        """Make everything durable and let go of the folder.

        A shard that was only read may lie on a disk that takes no writes: that is no error then.
        """
        try:
            if self.read_only is None:
                with nullcontext() if self._has_written else suppress(StorageFault):
                    self.flush()
        finally:
            self._wal.close()
            self.storage.unlock()

    # -- writing

    def commit(self, batch: Sequence[Submission]) -> list[Outcome]:
        """Carry out a batch, one outcome for each, in order; one sync at the end if one asks."""
        before, end = self.view, self._wal.end
        outcomes: list[Outcome] = []
        must_sync = False
        for submission in batch:
            outcomes.append(self._commit_one(submission))
            if isinstance(outcomes[-1], int):
                asked = submission.durability or self.settings.durability
                must_sync |= asked is Durability.Always
                self._sync_soon(asked)
        if must_sync:
            try:
                self.sync()
            except Fault as fault:
                self._take_back(before, end)
                return [fault if isinstance(outcome, int) else outcome for outcome in outcomes]
        if self.view.cursors is not before.cursors:
            self._shorten_log()
        return outcomes

    def _take_back(self, before: ShardView, end: int) -> None:
        """Undo a batch that could not be synced: it is refused, so nobody may see it."""
        self.view = before
        self._changes = [kept for kept in self._changes if kept[0] <= before.sequence]
        self._wal.disown(end)

    def _checked(self, submission: Submission) -> CheckedOperation:
        """The operation as it is logged; one that was checked already, by whom it came through,
        is checked again only where the shard's vectors have changed since."""
        operation = submission.operation
        if not isinstance(operation, CheckedOperation):
            return check(operation, self.config, self.settings.limits)
        if submission.config is self.config:
            return operation
        return recheck(operation, self.config, WIDEST_LIMITS)  # the limits were kept when it came

    def _commit_one(self, submission: Submission) -> Outcome:
        mark = submission.mark
        try:
            self._refuse_if_read_only()
            if mark is not None:
                if is_applied(mark, self.view.marks):
                    return self.view.sequence
                check_mark(mark, self.view.marks)
            checked = self._checked(submission)
            if self.view.cursors:  # somebody will read it later, or elsewhere
                checked = resolved(checked, self.view)
            effect = prepare(checked, self.view)
            if effect.is_nothing and mark is None:
                return self.view.sequence
            body = codec.encode(checked, mark)
            sequence = self._append(body)
        except (CallerError, ShardReadOnly) as refusal:
            return refusal
        except Fault as fault:
            self._stop_writing_if_broken(fault)
            return fault
        self.view = carry_out(effect, self.view, sequence, mark)
        self._has_written = True
        if self.is_followed:
            is_cursor = isinstance(checked, CheckedSetCursor)  # is no change, but has its number
            shown = codec.encode(CheckedNothing()) if is_cursor else body
            self._changes.append((sequence, b"".join(shown)))
        return sequence

    def _append(self, body: list[codec.Buffer]) -> int:
        """Log an operation. Where there is no space for it, what only outboxes keep goes first."""
        while True:
            try:
                return self._wal.append(codec.OPERATION, body)
            except StorageFull:
                if self._wal.broken or not self._wal.bytes_before(self._needed):
                    raise
                self._wal.drop_oldest()

    def take_changes(self) -> list[tuple[int, bytes]]:
        """Return (sequence, body) of what was committed while `is_followed`, since last time."""
        taken, self._changes = self._changes, []
        return taken

    def _sync_soon(self, asked: Durability) -> None:
        if asked is Durability.Interval and self._promised_at is None:
            self._promised_at = monotonic() + self.settings.sync_interval_ms / 1000

    def sync(self) -> None:
        """Make every acknowledged operation survive a power cut."""
        self._refuse_if_read_only()
        try:
            self._wal.sync()
        except StorageFull as full:  # of mending the log, before the first write: to be tried again
            self._stop_writing_if_broken(full)
            raise
        except Fault as fault:
            self._stop_writing(fault)
            raise
        self._promised_at = None

    def sync_due_in(self) -> float | None:
        """Return the seconds until a sync that was promised; None if none was. From any thread."""
        promised_at = self._promised_at
        if promised_at is None or self.read_only is not None:
            return None
        return max(0.0, promised_at - monotonic())

    def sync_if_due(self) -> None:
        """Sync if the interval is over. A fault is not raised: it makes the shard read-only, or
        the sync is due again."""
        if self.sync_due_in() == 0.0:
            try:
                self.sync()
            except Fault:
                self._promised_at = None
                self._sync_soon(Durability.Interval)

    def flush(self) -> None:
        """Sync, and note outside the log how far it must reach."""
        self.sync()
        if self._files.state.durable < self._wal.synced:
            # The note is one more proof of what the log must hold; a full disk costs no more.
            with suppress(StorageFull):
                self._publish(msgspec.structs.replace(self._files.state, durable=self._wal.synced))

    def _publish(self, state: Manifest) -> None:
        with self._stopping_at_a_fault():
            self._files.publish(state)

    @contextmanager
    def _stopping_at_a_fault(self) -> Iterator[None]:
        """Write nothing more where it is not known which manifest is on disk."""
        try:
            yield
        except StorageFull:  # nothing was replaced
            raise
        except Fault as fault:
            self._stop_writing(fault)
            raise

    def tune(self, provided: EdgeConfig) -> None:
        """Go on under the config that the shard is opened with. ValidationError where its vectors
        are not those that are stored.

        It is written down if the disk takes it, because a shard must load from a disk that is full.
        """
        wanted = resolve(provided, self.config, self.view.births)
        if wanted != self.config:  # the log says otherwise, so it has to say this as well
            self._commit_one(Submission(SetConfig(change_of(wanted))))
            self.view = self.view.configured(wanted, self.view.births)
        if self.durable.config != decode_config(self._files.state.config):
            with suppress(StorageFault):
                config = encode_config(self.durable.config)
                self._publish(msgspec.structs.replace(self._files.state, config=config))

    def _refuse_if_read_only(self) -> None:
        if self.read_only is not None:
            raise ShardReadOnly(
                f"writing stopped after a fault: {self.read_only}; reopen the shard"
            )

    def _stop_writing_if_broken(self, fault: Fault) -> None:
        if self._wal.broken:
            self._stop_writing(fault)

    def _stop_writing(self, fault: Fault) -> None:
        self.read_only = str(fault)

    # -- sealing, building, swapping

    @property
    def wants_seal(self) -> bool:
        """Whether the log has outgrown its limit; after a seal that failed, by as much again."""
        return (
            self.read_only is None
            and self._unsealed_bytes > self._seal_beyond
            and self._wal.sequence > self.durable.sequence
        )

    @property
    def _unsealed_bytes(self) -> int:
        """Bytes of the log that a load would have to carry out."""
        return self._wal.bytes - self._wal.bytes_before(self.durable.sequence + 1)

    def seal(self) -> Job | None:
        """Start a new tail and a new log file; return the job that writes the old tail to files.

        Asked again before that job was finished, it returns a new job for the same tail. None
        when there is nothing that the manifest does not have.
        """
        self._refuse_if_read_only()
        self._seal_beyond = self._unsealed_bytes + self.settings.checkpoint_bytes
        if self.sealing is None:
            if self.view.sequence == self.durable.sequence:
                return None
            self._rotate()
            self.sealing = self.view
            kept = tuple(view for view in self.view.segments if view.watermark)
            self.view = self.view.of((*kept, self._new_tail()))
        tails = tuple(view for view in self.sealing.segments if view.segment.entry is None)
        return self._job(Plan("seal", frozenset()), tails)

    def _rotate(self) -> None:
        try:
            self._wal.rotate()
        except Fault as fault:
            self._stop_writing_if_broken(fault)
            raise

    def plan(self, *, durable: bool) -> Plan | None:
        """Return what is worth rebuilding in the durable view, or in the live one."""
        view = self.durable if durable else self.view
        # a job builds by the newest settings: by older ones its result would be planned again
        return optimization.plan(view.with_settings(self.settings), self.view.schema)

    def plan_fields(self, *, durable: bool) -> Plan | None:
        """As `plan`, for field indexes alone."""
        view = self.durable if durable else self.view
        return optimization.fields(view, self.view.schema)

    def tidy(self) -> Job | None:
        """Return the job that gives back the space of small segments that are mostly dead."""
        plan = optimization.tidy(self.durable)
        return None if plan is None else self.start(plan)

    def start(self, plan: Plan) -> Job:
        """Return the job that carries out a plan made of the durable view."""
        sources = [v for v in self.durable.segments if v.segment.number in plan.numbers]
        return self._job(plan, tuple(sources))

    def _job(self, plan: Plan, sources: tuple[SegmentView, ...]) -> Job:
        # a tail has nothing of a vector that was taken away while it grew
        base = self.sealing if plan.reason == "seal" and self.sealing else self.durable
        return Job(
            plan.reason,
            sources,
            self.numbers(),
            self._known_vectors(base),
            self.settings,
            self.view.schema,
            self.lineage,
        )

    def _known_vectors(self, durable: ShardView) -> dict[VectorKey, VectorParams]:
        """Return the vectors that any of the views knows: what one of them has lost, another may
        be asked for when the log is replayed on it."""
        views = (durable, self.sealing, self.view)
        return {key: params for view in views if view for key, params in view.keys().items()}

    def numbers(self, count: int = 1, above: int = 0) -> int:
        """See LiveFiles."""
        return self._files.numbers(count, above)

    def finish(self, job: Job, built: Built | None) -> None:
        """Swap a job's result in, and make the manifest name it.

        Raises a Fault where the manifest could not be replaced; nothing has changed then. What is
        no longer needed but cannot be removed is left for the next load, without a word.
        """
        self._refuse_if_read_only()
        if job.lineage != self.lineage:
            self._files.remove_segments(_entries(built))
            return
        is_seal = job.reason == "seal"
        base = self.sealing if is_seal and self.sealing is not None else self.durable
        durable = _without_dead(optimization.swapped(base, job.sources, built))
        before = self._files.state
        self._persist(durable, built)
        self.durable = durable
        tail = self.view.segments[-1]
        body = self.view.of(self.view.segments[:-1])
        live = _without_dead(optimization.swapped(body, job.sources, built))
        self.view = live.of((*live.segments, tail))
        if is_seal:
            self.sealing = None
            self._seal_beyond = self.settings.checkpoint_bytes
            self._shorten_log()
        elif self.sealing is not None:
            self.sealing = optimization.swapped(self.sealing, job.sources, built)
        self._files.remove_segments([*before.segments, *_entries(built)])

    def _persist(self, durable: ShardView, built: Built | None) -> None:
        entries: list[SegmentEntry] = []
        try:
            # a column that only a later view knows is in a file by now, and will be asked for
            keys = self._known_vectors(durable)
            # one by one: those before a fault are kept
            entries.extend(
                without_files_of(self._files.entry_of(v), keys) for v in durable.segments
            )
            self._publish(
                msgspec.structs.replace(
                    self._files.state,
                    sequence=durable.sequence,
                    durable=max(self._files.state.durable, durable.sequence, self._wal.synced),
                    segments=tuple(entries),
                    schema=encode_schema(durable.schema) if durable.schema else b"",
                    marks=encode_marks(durable.marks) if durable.marks else b"",
                    config=encode_config(durable.config),
                    births=dict(durable.births),
                    cursors=encode_cursors(durable.cursors),
                )
            )
        except StorageFault:
            if self.read_only is None:  # nothing was replaced
                self._files.remove_segments([*entries, *_entries(built)])
            raise
        self._files.note(durable.segments)

    # -- the log's consumers

    @property
    def _needed(self) -> int:
        """The oldest operation that must stay in the log, whatever its consumers have read."""
        held = self._files.oldest_held
        return (self.durable.sequence if held is None else min(self.durable.sequence, held)) + 1

    def _shorten_log(self) -> None:
        """Remove the log files that nobody needs any more."""
        first = outbox.pinned(self.view.cursors, self._wal, self._needed)
        if self._wal.bytes_before(first):
            with suppress(StorageFault):
                if self.view.cursors or self.durable.cursors:
                    self.sync()  # a power cut must not take a cursor back to what is gone
                self._wal.drop_before(first)

    def unread_bytes(self, cursor: Cursor) -> int:
        """Bytes of the log files that hold what this consumer has not read. From any thread."""
        return self._wal.bytes - self._wal.bytes_before(cursor.sequence + 1)

    def is_lost(self, cursor: Cursor) -> bool:
        """Whether what this consumer has not read yet is gone."""
        return outbox.is_lost(cursor, self._wal)

    def set_cursor(self, name: str, cursor: Cursor | None) -> int:
        """Put a consumer's cursor in its place, or (None) take it away; return the sequence number.

        Raises LimitExceeded for a cursor too many, ShardReadOnly, or a Fault.
        """
        operation = CheckedSetCursor(name, cursor)
        (outcome,) = self.commit([Submission(operation, config=self.config)])
        if isinstance(outcome, EdgeError):
            raise outcome
        return outcome

    def read_log(self, reader: LogReader | None, first: int) -> LogReader:
        """Return a reader of all operations from `first` on, or let the one that is there go on;
        make them survive a power cut first.

        Raises ShardReadOnly, a StorageFault, or CorruptData where `first` is gone.
        """
        if self.synced < self.sequence:
            self.sync()
        if reader is None:
            return self._wal.read(first)
        self._wal.read_on(reader)
        return reader

    # -- snapshots

    def hold(self) -> Held:
        """Hold the shard as it is now; its files stay as they are until `let_go`."""
        state = self._files.state
        log = tuple(self._wal.extent(state.sequence + 1))
        held = Held(state, self.durable, log, self.view.sequence)
        self._files.hold(held)
        return held

    def let_go(self, held: Held) -> None:
        """Hold this no longer."""
        self._files.let_go(held)
        self._shorten_log()

    def become(self, other: Store) -> None:
        """Go on as `other`, a store over files that lie in this one's folder already; what this
        one held is gone, and the places of its log's consumers are void. One manifest is the
        switch.

        Raises a Fault where the manifest could not be replaced; nothing has changed then, or
        nothing more can be written.
        """
        self._refuse_if_read_only()
        before, old = self._files.state, self._wal
        cursors = voided(self.view.cursors)
        state = msgspec.structs.replace(other._files.state, cursors=encode_cursors(cursors))
        try:
            with self._stopping_at_a_fault():
                self._files.take_over(other._files, state)
        except StorageFault:
            if self.read_only is None:  # nothing was replaced
                self.refuse(other)
            raise
        old.close()
        self._wal = other._wal
        self.view = other.view.with_cursors(cursors)
        self.durable, self.sealing = other.durable.with_cursors(cursors), None
        self._seal_beyond = self.settings.checkpoint_bytes
        self._promised_at = None
        self._changes = []
        self.lineage += 1
        self._files.remove(before)

    def found(self) -> None:
        """Store the manifest of a shard that was made whole from elsewhere, and let go of it."""
        manifest.store(self.storage, self._files.state)
        self._wal.close()

    def refuse(self, other: Store) -> None:
        """Do not become what was made ready; remove its files."""
        other._wal.close()
        self._files.remove(other._files.state)

    # -- loading

    def _load_segments(self, loaded: ShardView | None) -> tuple[SegmentView, ...]:
        """Load what the manifest names, but for what is in memory as it is to be."""
        known = {} if loaded is None else _of_use(self.durable, loaded)
        views = []
        for entry in self._files.state.segments:
            same = known.get(entry.id)
            if same is not None and is_same_but_dead_rows(same.entry, entry):
                segment, deleted = same, load_tombstones(self.storage, entry)
            else:
                keys, settings = self.durable.keys(), self.durable.settings
                segment, deleted = load_segment(self.storage, entry, keys, settings)
            views.append(SegmentView(segment, entry.rows, deleted))
        self._files.note(views)
        return tuple(views)

    def _new_tail(self) -> SegmentView:
        view = self.view
        tail = AppendableSegment(self.numbers(), view.keys(), view.schema)
        return SegmentView(tail, 0, schema=view.schema, names=view.names)

    def replay(self) -> None:
        """Carry out what the log has and the manifest does not.

        It was checked against the limits of its day, which may have been wider than today's.
        """
        widest = msgspec.structs.replace(self.settings, limits=WIDEST_LIMITS)
        view = self.view.with_settings(widest)
        for record in self._wal.replay():
            effect, mark = self._logged(record, view)
            view = carry_out(effect, view, record.sequence, mark)
        limits = self.settings.limits
        self.view = view.with_settings(msgspec.structs.replace(view.settings, limits=limits))
        if self.sequence > self.synced:  # whoever wrote it was promised a sync, and crashed
            self._sync_soon(self.settings.durability)

    def _logged(self, record: Record, view: ShardView) -> tuple[Effect, Mark | None]:
        try:
            if record.kind != codec.OPERATION:
                raise CorruptData(f"kind {record.kind} is not known to this build")
            operation = codec.decode(record.body)
            if (
                isinstance(operation, CheckedSetCursor)
                and record.sequence <= self._files.state.foreign
            ):
                operation = CheckedNothing()
            return prepare(operation, view), codec.mark_of(record.body)
        except (CallerError, CorruptData) as fault:
            where = f"{self.storage.path}/{self._files.state.log}"
            raise CorruptData(f"log record {record.sequence}: {fault}", where) from fault

    # -- looking

    @property
    def storage(self) -> Storage:
        """Where its files are."""
        return self._files.storage

    @property
    def config(self) -> EdgeConfig:
        """The config as it is now."""
        return self.view.config

    @property
    def shard(self) -> str:
        """The shard's UUID, 32 hex digits; that of a snapshot's, where it became one."""
        return self._files.state.shard

    @property
    def settings(self) -> Settings:
        """The config as it is now, with its defaults."""
        return self.view.settings

    @property
    def sequence(self) -> int:
        """The last operation that is part of the view."""
        return self.view.sequence

    @property
    def synced(self) -> int:
        """The last operation that survives a power cut."""
        return self._wal.synced

    def sizes(self) -> dict[str, Any]:
        """Return log_bytes and disk_bytes, for `info()`."""
        named = sum(file.length for file in self._files.state.files())
        return {"log_bytes": self._wal.bytes, "disk_bytes": named + self._wal.bytes}


def _entries(built: Built | None) -> list[SegmentEntry]:
    return [] if built is None else [built.segment.entry]


def _without_dead(view: ShardView) -> ShardView:
    return view.of(v for v in view.segments if v.live_count)


def _of_use(wanted: ShardView, loaded: ShardView) -> dict[int, ImmutableSegment]:
    """Return the built segments of `loaded` by number; none where its vectors are others, or live
    elsewhere."""
    if loaded.keys() != wanted.keys() or _places(loaded.settings) != _places(wanted.settings):
        return {}
    segments = (view.segment for view in loaded.segments)
    return {one.number: one for one in segments if isinstance(one, ImmutableSegment)}


def _places(settings: Settings) -> tuple[object, ...]:
    return settings.memory, settings.graph_memory, settings.payload_memory


def _refuse_unless_there(storage: Storage, state: Manifest | None) -> Manifest:
    if state is None:
        raise NotFound(f"there is no shard in {storage.path}")
    return state


def _open_locked(storage: Storage, config: EdgeConfig | None, existing: bool | None) -> Store:
    state = manifest.load(storage)
    if state is not None and existing is False:
        raise AlreadyExists(f"there is a shard in {storage.path} already")
    if state is None and config is not None and not existing:
        return _create(storage, resolve(config, None))
    return _load(storage, _refuse_unless_there(storage, state), config)


def _create(storage: Storage, config: EdgeConfig) -> Store:
    state = _first_manifest(config)
    wal = Wal.open(storage, shard=state.shard)
    manifest.store(storage, state)
    store = Store(storage, config, state, wal)
    store.replay()
    return store


def _load(storage: Storage, state: Manifest, config: EdgeConfig | None) -> Store:
    known = decode_config(state.config)
    store = open_state(storage, state, known if config is None else adopted(config, known))
    if config is not None:
        store.tune(config)
    store._files.clear_away()
    return store


def open_state(
    storage: Storage, state: Manifest, config: EdgeConfig, loaded: ShardView | None = None
) -> Store:
    """Return the store of a manifest, be it on disk or not yet, with its log carried out.

    Segments that `loaded` has are not read again.
    """
    wal = Wal.open(
        storage,
        state.log,
        first=state.sequence + 1,
        durable=state.durable,
        shard=state.shard,
        create=False,
    )
    store = Store(storage, config, state, wal, loaded)
    store.replay()
    return store


def _first_manifest(config: EdgeConfig) -> Manifest:
    return Manifest(
        generation=1,
        shard=uuid4().hex,
        sequence=0,
        durable=0,
        next_segment=1,
        config=encode_config(config),
        segments=(),
    )
