"""How long a request may take, and what happens when that is over."""

from __future__ import annotations

from time import monotonic

from edge.errors import DeadlineExceeded


class Deadline:
    """A point in time by `time.monotonic`; `best_effort` asks for what was found until then.

    `within` is the deadline of what this is a part of, which ends with it.
    """

    __slots__ = ("_at", "_timeout", "_within", "best_effort")

    def __init__(
        self,
        timeout: float | None = None,
        best_effort: bool = False,
        within: Deadline | None = None,
    ) -> None:
        self._timeout = timeout
        self._within = within
        self._at = None if timeout is None else monotonic() + timeout
        self.best_effort = best_effort

    def left(self) -> float | None:
        """Return the seconds that are left, at least 0.0; None where there is no end."""
        return None if self._at is None else max(0.0, self._at - monotonic())

    def exceeded(self) -> DeadlineExceeded:
        """Return the error of a request whose time is over."""
        return DeadlineExceeded(f"no answer within the request's timeout of {self._timeout} s")

    def finishing(self) -> Deadline:
        """Return the deadline of what is done in any case: where best effort asks for an answer, it
        is over only when nobody waits any more."""
        return _Finishing(self) if self.best_effort else self

    def expire(self) -> None:
        """Be over at once, without an answer: nobody waits for it any more. From any thread."""
        self.best_effort = False
        self._at = 0.0

    def over(self) -> bool:
        """Tell whether to stop with what there is; without best effort raise DeadlineExceeded."""
        if self._within is not None:
            self._within.check()
        if self._at is None or monotonic() < self._at:
            return False
        if not self.best_effort:
            raise self.exceeded()
        return True

    def check(self) -> None:
        """Raise DeadlineExceeded when the time is over, best effort or not."""
        if self._within is not None:
            self._within.check()
        if self._at is not None and monotonic() >= self._at:
            raise self.exceeded()


class _Finishing(Deadline):
    __slots__ = ("_of",)

    def __init__(self, of: Deadline) -> None:
        super().__init__(best_effort=True)
        self._of = of

    def finishing(self) -> Deadline:
        return self

    def over(self) -> bool:
        self.check()
        return False

    def check(self) -> None:
        if not self._of.best_effort:  # it has expired
            self._of.check()


NEVER = Deadline()
