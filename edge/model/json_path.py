"""Json paths: how a filter or an edit names places inside a payload.

    path  = key step*                     a   a.b   a[].b   a[0]   "a.b"[].c   größe.z
    step  = "." key | "[" number "]" | "[]"
    key   = letters, digits, "_", "-" and combining marks of any script, or any text without
            '"' and "\\" in double quotes

Invariants: a Path is a value (frozen, hashable, equal when its steps are equal); its first step is
a key; it has at most MAX_STEPS steps, so walking one is bounded whatever the payload holds; no
function here recurses or changes what it is given.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final, TypeAlias

import msgspec

from edge.errors import LimitExceeded, ValidationError

Step: TypeAlias = str | int | None
"""One step of a path: a key (str), an index (int), or every element of an array (None)."""

MAX_STEPS: Final = 64
"""More steps than any payload is deep (its hard limit), so a longer path could reach nothing."""

_MAX_INDEX: Final = 2**64 - 1
_CACHED_LENGTH: Final = 256
_TOKEN: Final = re.compile(r'(\[\])|\[0*([0-9]{1,20})\]|(\.?)(?:"([^"\\]*)"|([^"\\.\[\]]+))')


class Path(msgspec.Struct, frozen=True, order=False):
    """A parsed path; `str(path)` is its canonical text, which parses to an equal path."""

    steps: tuple[Step, ...]

    def __str__(self) -> str:
        return "".join(map(_step_text, self.steps))[1:]

    def every_element(self) -> Path:
        """This path with a closing `[]`; itself when it has one (how nested conditions walk)."""
        return self if self.steps[-1] is None else Path((*self.steps, None))


def parse(text: str) -> Path:
    """Parse a path such as `a.b`, `a[].b`, `a[0]` or `"a.b"`; short texts are cached.

    Raises ValidationError when `text` is not a path, LimitExceeded beyond MAX_STEPS steps.
    """
    if not isinstance(text, str):
        raise ValidationError(f"a payload path must be a str, not {type(text).__name__}")
    return _parse_cached(text) if len(text) <= _CACHED_LENGTH else _parse(text)


@lru_cache(maxsize=4096)
def canonical(text: str) -> str:
    """The canonical text of a path; see `parse` for the errors."""
    return str(parse(text))


def values(payload: Mapping[str, Any], path: Path) -> list[Any]:
    """The values that `path` reaches in `payload`, in payload order; empty when it reaches none.

    A key steps only into objects, `[i]` and `[]` only into arrays. A null that is there is a value
    (None); an array at the end of the path is one value, not its elements.
    """
    first = path.steps[0]
    reached: list[Any] = [payload[first]] if first in payload else []  # type: ignore[index]
    for step in path.steps[1:]:
        reached = _stepped(reached, step)
        if not reached:
            break
    return reached


def _stepped(reached: list[Any], step: Step) -> list[Any]:
    if isinstance(step, str):
        return [value[step] for value in reached if isinstance(value, dict) and step in value]
    arrays = [value for value in reached if isinstance(value, list)]
    if step is None:
        return [element for array in arrays for element in array]
    return [array[step] for array in arrays if step < len(array)]


def _parse(text: str) -> Path:
    _check_encodable(text)
    steps: list[Step] = []
    place = 0
    while place < len(text):
        token = _TOKEN.match(text, place)
        if token is None:
            raise _refused(text)
        steps.append(_step(token, text, first=not steps))
        place = token.end()
    if not steps:
        raise _refused(text)
    if len(steps) > MAX_STEPS:
        raise LimitExceeded(f"a payload path may have {MAX_STEPS} steps, not {len(steps)}")
    return Path(tuple(steps))


_parse_cached = lru_cache(maxsize=4096)(_parse)


def _step(token: re.Match[str], text: str, *, first: bool) -> Step:
    every, index, dot, quoted, raw = token.groups()
    if every is not None or index is not None:
        if first or (index is not None and int(index) > _MAX_INDEX):
            raise _refused(text)
        return None if index is None else int(index)
    if bool(dot) == first or (raw is not None and not _is_raw_key(raw)):
        raise _refused(text)
    return str(quoted if raw is None else raw)


def _is_raw_key(key: str) -> bool:
    return bool(key) and all(map(_is_raw_letter, key))


def _is_raw_letter(letter: str) -> bool:
    # Marks are part of words in many scripts: without them most Hindi keys would need quotes.
    return letter.isalnum() or letter in "_-" or unicodedata.category(letter)[0] == "M"


def _step_text(step: Step) -> str:
    if step is None:
        return "[]"
    if isinstance(step, int):
        return f"[{step}]"
    return f".{step}" if _is_raw_key(step) else f'."{step}"'


def _check_encodable(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise _refused(text) from None


def _refused(text: str) -> ValidationError:
    shown = ascii(text if len(text) <= 80 else text[:80] + "...")
    return ValidationError(f"not a payload path: {shown}")
