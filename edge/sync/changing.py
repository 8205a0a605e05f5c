"""What a pair of shards does to its own one: functions of the store, called in the writer's turn.

Invariants
- The store's log holds what others are to hear of, in order; what they are not is marked by HERE.
- A change of stored points is planned on what is read and carried out on what is stored here: all
  that it names is here before it comes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from edge.model.check import (
    CheckedClearPayload,
    CheckedCreateFieldIndex,
    CheckedCreateVector,
    CheckedDeletePayload,
    CheckedDeletePoints,
    CheckedDeleteVectors,
    CheckedOperation,
    CheckedOverwritePayload,
    CheckedSetPayload,
    CheckedUpdateVectors,
    check,
)
from edge.model.config import Durability, EdgeConfig
from edge.model.cursor import Cursor, Stage
from edge.model.mark import HERE, Mark
from edge.model.point_id import IdRows
from edge.model.update import (
    ClearPayload,
    DeletePayload,
    DeletePoints,
    DeleteVectors,
    OverwritePayload,
    SetPayload,
    UpdateMode,
    UpdateOperation,
    UpdateVectors,
    UpsertArrays,
    UpsertPoints,
)
from edge.segment.view import ShardView
from edge.store.chosen import located
from edge.store.points import points_of
from edge.store.resolve import resolved
from edge.store.store import Outcome, Store, Submission
from edge.sync.overlay import Touch, leaving, staying, touch_of
from edge_kernels import ids as id_kernels

CURSOR: Final = "edge.mirror"
"""The cursor that keeps the log from the cut on."""
DELETED: Final = "edge.deleted"
"""The source of deletions, which may leave no trace here and are to be heard of nevertheless."""
AT_ONCE: Final = 4096
"""Points that are copied, or leave, by one operation."""


# -- the cut


def first_cut(store: Store) -> int:
    """Return the cut where it was left; where nobody left one, begin with 0."""
    cursor = store.view.cursors.get(CURSOR)
    if cursor is None or cursor.stage is Stage.Void:
        return move_cut(0, store)
    return cursor.sequence


def move_cut(cut: int, store: Store) -> int:
    """Put the cut where it belongs, and return it."""
    store.set_cursor(CURSOR, Cursor(CURSOR, cut, Stage.Log))
    return cut


def first_place(name: str, store: Store) -> None:
    """Have the outbox of this name begin at the cut, where it has not begun and the log goes back
    to there."""
    cut = store.view.cursors[CURSOR]
    if name not in store.view.cursors and not store.is_lost(cut):
        store.set_cursor(name, Cursor(name, cut.sequence, Stage.Log))


def log_after(cut: int, store: Store) -> Callable[[], list[tuple[int, Touch]]]:
    """Return what tells, in another thread, (number, what it touched) of operations after the cut.

    Where the log does not reach back to it, all points that were written after it are told as
    touched; deletions that are gone from the log are not known any more.
    """
    view = store.view
    if store.is_lost(view.cursors[CURSOR]):
        return lambda: [(view.sequence, Touch(staying(view, cut), settings=False))]
    reader = store.read_log(None, cut + 1)
    return lambda: [(record.sequence, touch_of(record.body)) for record in reader]


def take_away(cut: int, store: Store) -> bool:
    """Delete some points that no operation after the cut has written; False where none is left."""
    ids = leaving(store.view, cut)[:AT_ONCE]
    if len(ids):
        _commit(store, [_here(store, CheckedDeletePoints(ids))])
    return bool(len(ids))


def follow_settings(base: ShardView, store: Store) -> None:
    """Have the vectors and the indexes that the base has and the store has not."""
    own = store.view
    missing: list[CheckedOperation] = []
    for name in base.config.names():
        params = base.config.params_of(name)
        if params is not None and own.config.params_of(name) is None:
            missing.append(CheckedCreateVector(name, params))
    fields = {path: field for path, field in base.schema.items() if path not in own.schema}
    missing += [CheckedCreateFieldIndex(path, field) for path, field in fields.items()]
    for operation in missing:
        _commit(store, [_here(store, operation)])


# -- changes


LOOKING: Final = (
    UpdateVectors,
    DeletePoints,
    DeleteVectors,
    SetPayload,
    OverwritePayload,
    DeletePayload,
    ClearPayload,
)
"""Operations that are about stored points."""


def looks(operation: UpdateOperation) -> bool:
    """Whether what the operation does depends on what is stored."""
    if isinstance(operation, UpsertPoints | UpsertArrays):
        return operation.condition is not None or operation.update_mode is not UpdateMode.Upsert
    return isinstance(operation, LOOKING)


def planned(
    operation: UpdateOperation, view: ShardView, below: int
) -> tuple[list[CheckedOperation], CheckedOperation]:
    """Return the operation by ids, and the upserts that must come before it: of the points that it
    edits and that lie in the first `below` segments of the view.

    Raises as `check`, and NotFound for a point that is not in the view.
    """
    checked = resolved(check(operation, view.config, view.settings.limits), view)
    named = EDITED.get(type(checked))
    if named is None:
        return [], checked
    ids = named(checked)
    owners, _ = located(ids, view, required=True)
    far = ids[id_kernels.distinct_last(ids)][owners < below]
    pieces = [far[first : first + AT_ONCE] for first in range(0, len(far), AT_ONCE)]
    return [points_of(view, piece) for piece in pieces], checked


def _target(operation: Any) -> IdRows:
    return operation.target  # type: ignore[no-any-return]


EDITED: Final[dict[type, Callable[[Any], IdRows]]] = {
    CheckedUpdateVectors: lambda operation: operation.batch.ids,
    CheckedDeleteVectors: _target,
    CheckedSetPayload: _target,
    CheckedOverwritePayload: _target,
    CheckedDeletePayload: _target,
    CheckedClearPayload: _target,
}
"""The ids whose points an operation changes in part."""


@dataclass(frozen=True)
class Change:
    """An operation and the copies that come before it, checked against `config`."""

    copies: list[CheckedOperation]
    operation: CheckedOperation
    config: EdgeConfig
    durability: Durability | None
    mark: Mark | None

    def commit(self, store: Store) -> int:
        """Carry it out; return the operation's number, or raise why it was refused."""
        here = [
            Submission(copy, self.durability, _next(store, HERE, place), self.config)
            for place, copy in enumerate(self.copies)
        ]
        mark = self.mark
        if mark is None and isinstance(self.operation, CheckedDeletePoints):
            mark = _next(store, DELETED)
        change = Submission(self.operation, self.durability, mark, self.config)
        return _commit(store, [*here, change])


def _here(store: Store, operation: CheckedOperation) -> Submission:
    return Submission(operation, Durability.Os, _next(store, HERE), store.config)


def _next(store: Store, source: str, place: int = 0) -> Mark:
    known = store.view.marks.get(source)
    return Mark(source, 0, (0 if known is None else known.sequence) + 1 + place)


def _commit(store: Store, submissions: list[Submission]) -> int:
    outcomes: list[Outcome] = store.commit(submissions)
    for outcome in outcomes:
        if not isinstance(outcome, int):
            raise outcome
    return int(outcomes[-1])  # type: ignore[arg-type]
