"""Numbers that are held in single precision, as scores are."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from edge.errors import ValidationError
from edge.model import fields


def single(value: Any, field: str) -> float:
    """The float32 next to a number. Raises ValidationError where it is not finite."""
    number = fields.number(value, field)
    with np.errstate(over="ignore"):
        found = float(np.float32(number))
    if not math.isfinite(found):
        raise ValidationError(f"{field}: expected a finite float32, got {number}")
    return found


def single_or_none(value: Any, field: str) -> float | None:
    """As `single`, and None."""
    return None if value is None else single(value, field)


def single_or(default: float, value: Any, field: str) -> float:
    """As `single`, and `default` for None."""
    return default if value is None else single(value, field)
