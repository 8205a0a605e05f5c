"""What a constructor argument may be: one function for each kind, each naming the field it refuses.

Every function takes the value and the field's name, gives back the canonical value, and raises
ValidationError (LimitExceeded where only the size is wrong). A bool is never taken for a number.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Any, NoReturn, TypeVar

import numpy as np

from edge.errors import LimitExceeded, ValidationError

E = TypeVar("E", bound=Enum)
T = TypeVar("T")

UINT64_MAX = 2**64 - 1
INT64_MIN = -(2**63)


def shown(value: object) -> str:
    """The value for an error message: its type, and itself where that is short and plain."""
    kind = type(value).__name__
    if isinstance(value, int) and value.bit_length() > 200:
        return f"a number of {value.bit_length()} bits ({kind})"
    if isinstance(value, (int, float, str, type(None))):
        plain = repr(value)
        return f"{plain if len(plain) <= 60 else plain[:60] + '…'} ({kind})"
    return kind


def refuse(field: str, expected: str, value: object) -> NoReturn:
    """Raise the ValidationError of a field that holds the wrong kind of value."""
    raise ValidationError(f"{field}: expected {expected}, got {shown(value)}")


def integer(value: Any, field: str, low: int = 0, high: int = UINT64_MAX) -> int:
    """An int (numpy integers are taken) between low and high, both included."""
    if type(value) is not int:
        if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)):
            refuse(field, "an int", value)
        value = int(value)
    if not low <= value <= high:
        raise ValidationError(f"{field}: expected {low} to {high}, got {shown(value)}")
    return value  # type: ignore[no-any-return]


def integer_or_none(value: Any, field: str, low: int = 0, high: int = UINT64_MAX) -> int | None:
    """As `integer`, and None."""
    return None if value is None else integer(value, field, low, high)


def number(value: Any, field: str) -> float:
    """A float, not NaN; ints and numpy numbers are taken, infinities too."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(
        value, (float, int, np.integer, np.floating)
    ):
        refuse(field, "a number", value)
    try:
        result = float(value)
    except OverflowError:
        refuse(field, "a number that fits in a float", value)
    if result != result:
        refuse(field, "a number", value)
    return result


def number_or_none(value: Any, field: str) -> float | None:
    """As `number`, and None."""
    return None if value is None else number(value, field)


def text(value: Any, field: str) -> str:
    """A str that UTF-8 can hold: a lone surrogate is refused."""
    if not isinstance(value, str):
        refuse(field, "a str", value)
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise ValidationError(f"{field}: holds a lone surrogate, UTF-8 cannot") from None
    return value if type(value) is str else str.__str__(value)


def text_or_none(value: Any, field: str) -> str | None:
    """As `text`, and None."""
    return None if value is None else text(value, field)


def flag(value: Any, field: str) -> bool:
    """A bool; numpy's is taken."""
    if not isinstance(value, (bool, np.bool_)):
        refuse(field, "a bool", value)
    return bool(value)


def flag_or_none(value: Any, field: str) -> bool | None:
    """As `flag`, and None."""
    return None if value is None else flag(value, field)


def member(value: Any, field: str, kind: type[E]) -> E:
    """A member of the enum `kind` itself, not its value or name."""
    if not isinstance(value, kind):
        refuse(field, f"a {kind.__name__}", value)
    return value


def member_or_none(value: Any, field: str, kind: type[E]) -> E | None:
    """As `member`, and None."""
    return None if value is None else member(value, field, kind)


def instance(value: Any, field: str, kind: type[T]) -> T:
    """An instance of the class `kind`."""
    if not isinstance(value, kind):
        refuse(field, f"a {kind.__name__}", value)
    return value


def instance_or_none(value: Any, field: str, kind: type[T]) -> T | None:
    """As `instance`, and None."""
    return None if value is None else instance(value, field, kind)


def sequence(value: Any, field: str, high: int | None = None) -> tuple[Any, ...]:
    """The members of any iterable that is not a str, bytes or mapping; at most `high` of them."""
    if isinstance(value, (str, bytes, bytearray, Mapping)) or not isinstance(value, Iterable):
        refuse(field, "a list", value)
    result = tuple(value)
    if high is not None and len(result) > high:
        raise LimitExceeded(f"{field}: {len(result)} entries, at most {high} are taken")
    return result


def texts(value: Any, field: str) -> tuple[str, ...]:
    """The strings of any iterable of str; a lone str is refused, it is no list."""
    return tuple(text(item, f"{field}[{i}]") for i, item in enumerate(sequence(value, field)))


def unsupported(value: object, field: str) -> None:
    """Refuse anything but None: the argument exists for compatibility and has no meaning yet."""
    if value is not None:
        raise ValidationError(f"{field}: {shown(value)} is not supported yet")
