"""How long a request may take, and what happens when that is over."""

from __future__ import annotations

from time import monotonic

from edge.errors import DeadlineExceeded


class Deadline:
    """A point in time by `time.monotonic`; `best_effort` asks for what was found until then."""

    __slots__ = ("_at", "_timeout", "best_effort")

    def __init__(self, timeout: float | None = None, best_effort: bool = False) -> None:
        self._timeout = timeout
        self._at = None if timeout is None else monotonic() + timeout
        self.best_effort = best_effort

    def over(self) -> bool:
        """Tell whether to stop with what there is; without best effort raise DeadlineExceeded."""
        if self._at is None or monotonic() < self._at:
            return False
        if not self.best_effort:
            raise DeadlineExceeded(f"no answer within the request's timeout of {self._timeout} s")
        return True

    def check(self) -> None:
        """Raise DeadlineExceeded when the time is over, best effort or not."""
        if self._at is not None and monotonic() >= self._at:
            raise DeadlineExceeded(f"no answer within the request's timeout of {self._timeout} s")


NEVER = Deadline()
