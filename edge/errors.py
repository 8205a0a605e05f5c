"""Every error that edgeshard raises, in one tree.

    EdgeError
      CallerError            (ValueError) the request was wrong; nothing was logged or changed
        ValidationError      a field has a value it may not have
          UnknownVector      a vector name that the shard's config does not know
          WrongDimension     a vector of another length than the config says
          UnknownField       a payload field that the operation needs and the schema does not know
          LimitExceeded      a request larger than a limit that the shard sets
          OutOfOrder         an update of a source that comes before the one ahead of it
        AlreadyExists        create() found data, or a name is taken
        NotFound             load() found no data, or an operation names a point that is not there
        WrongBase            a partial snapshot that is a difference to something else
      ShardError             the shard cannot serve this now
        ShardClosed          used before open() or after close(), or in a child made by fork
        ShardBusy            more requests wait than the shard admits
        ShardReadOnly        a fault stopped writing; the view still serves, a reopen writes again
        ShardLocked          another process (or another shard object) has the folder open
        DeadlineExceeded     the request's timeout ran out
        OutboxLost           what an outbox has not handed over is gone; it has to begin anew
      RemoteError            what another machine is asked for was not done, or nobody knows
        Unreachable          no connection to it, or one that ended before the whole answer
        RemoteBusy           it asks for patience, or has failed for now
        Refused              it does not take the request, now and later
          Unauthorized       it wants another key
      Fault                  ours or the disk's
        StorageFault         (OSError) an operating-system error on a file
          StorageFull        no space is left for the write; reads and deletes go on
        CorruptData          bytes on disk are not what was written there
        ActorCrashed         an actor ended by an error that nobody expected

Invariant: everything that leaves a public method is one of these (never a group, never a bare
exception of a library), each has a stable `code`, and each survives pickling.
"""

from __future__ import annotations

from typing import ClassVar


class EdgeError(Exception):
    """The root: catch this to catch whatever edgeshard raises."""

    code: ClassVar[str] = "edge"


class CallerError(EdgeError, ValueError):
    """The request itself is wrong. Nothing was logged, nothing was changed."""

    code = "caller"


class ValidationError(CallerError):
    """A field has a value that it may not have; the message names the field and the limit."""

    code = "validation"


class UnknownVector(ValidationError):
    """A vector name that the shard's config does not know."""

    code = "unknown-vector"


class WrongDimension(ValidationError):
    """A vector whose length is not the one the config gives for its name."""

    code = "wrong-dimension"


class UnknownField(ValidationError):
    """A payload field that the operation needs indexed, and that the schema does not know."""

    code = "unknown-field"


class LimitExceeded(ValidationError):
    """A request that is larger or deeper than the shard's limits allow."""

    code = "limit-exceeded"


class OutOfOrder(ValidationError):
    """An update whose mark says that another one of its source comes first."""

    code = "out-of-order"


class AlreadyExists(CallerError):
    """`create` found data in the folder, or a name is taken by something else."""

    code = "already-exists"


class NotFound(CallerError):
    """`load` found no shard in the folder, or an operation names a point that is not there."""

    code = "not-found"


class WrongBase(CallerError):
    """A partial snapshot that is the difference to something else than the shard holds."""

    code = "wrong-base"


class ShardError(EdgeError):
    """The shard cannot serve this request now; the request itself may be right."""

    code = "shard"


class ShardClosed(ShardError):
    """The shard is not open: before `open`, after `close`, or in a forked child."""

    code = "closed"


class ShardBusy(ShardError):
    """More requests wait than the shard admits."""

    code = "busy"


class ShardReadOnly(ShardError):
    """A fault stopped all writing. What was acknowledged still serves; reopen to write again."""

    code = "read-only"


class ShardLocked(ShardError):
    """Somebody else has the folder open; the message names the process."""

    code = "locked"


class DeadlineExceeded(ShardError):
    """The request's timeout ran out before there was an answer."""

    code = "deadline"


class OutboxLost(ShardError):
    """What an outbox has not handed over yet is not in the log any more: it has to begin anew."""

    code = "outbox-lost"


class RemoteError(EdgeError):
    """What another machine was asked for was not done, or nobody knows whether it was.

    `status` is that of its answer over HTTP, 0 where there was none; `after` are the seconds for
    which it asked to be left alone, if it did.
    """

    code = "remote"

    def __init__(self, message: str, status: int = 0, after: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.after = after

    def __reduce__(self) -> tuple[type[RemoteError], tuple[str, int, float | None]]:
        return type(self), (self.message, self.status, self.after)


class Unreachable(RemoteError):
    """There was no connection to it, or one that ended before the whole answer had come."""

    code = "unreachable"


class RemoteBusy(RemoteError):
    """It has too much to do, or failed (`status` 408, 425, 429, 5xx): the same request may be right
    later."""

    code = "remote-busy"


class Refused(RemoteError):
    """It does not take the request (`status` 4xx), and would not later."""

    code = "refused"


class Unauthorized(Refused):
    """It wants a key, or another one (`status` 401, 403)."""

    code = "unauthorized"


class Fault(EdgeError):
    """Not the caller's doing: the disk's, or a defect of ours."""

    code = "fault"


class StorageFault(Fault, OSError):
    """The operating system refused a file operation on `path`."""

    code = "storage"

    def __init__(self, message: str, path: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.path = path

    def __reduce__(self) -> tuple[type[StorageFault], tuple[str, str]]:
        return type(self), (self.message, self.path)

    def __str__(self) -> str:
        return f"{self.message} ({self.path})" if self.path else self.message


class StorageFull(StorageFault):
    """No space is left for the write. Nothing of it stays; reads and deletes go on."""

    code = "storage-full"


class CorruptData(Fault):
    """The bytes at `offset` of `path` are not what was written there."""

    code = "corrupt"

    def __init__(self, message: str, path: str = "", offset: int = 0) -> None:
        super().__init__(message)
        self.message = message
        self.path = path
        self.offset = offset

    def __reduce__(self) -> tuple[type[CorruptData], tuple[str, str, int]]:
        return type(self), (self.message, self.path, self.offset)

    def __str__(self) -> str:
        return f"{self.message} ({self.path} at byte {self.offset})" if self.path else self.message


class ActorCrashed(Fault):
    """The actor called `name` ended by an error that nobody expected."""

    code = "actor-crashed"

    def __init__(self, message: str, name: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.name = name

    def __reduce__(self) -> tuple[type[ActorCrashed], tuple[str, str]]:
        return type(self), (self.message, self.name)
