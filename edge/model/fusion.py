"""How several rankings become one: by places, or by scores."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar

from msgspec import Struct
from msgspec.structs import force_setattr

from edge.errors import ValidationError
from edge.model import fields
from edge.model.single import single

_MAX_K = 2**32 - 1


class Fusion(Struct, frozen=True):
    """The kinds of fusion: `Fusion.Rrf(k, weights=None)` and `Fusion.Dbsf()`.

    Both add up what a point gets from each prefetch that found it.
    """

    Rrf: ClassVar[type[RrfFusion]]
    Dbsf: ClassVar[type[DbsfFusion]]

    def __post_init__(self) -> None:
        if type(self) is Fusion:
            raise ValidationError("Fusion: expected one of its kinds, Fusion.Rrf or Fusion.Dbsf")


class RrfFusion(Fusion, frozen=True):
    """Reciprocal rank fusion: 1 / ((rank + 1) / weight + k - 1), with ranks from 0.

    `k` (1 or more; 2 is Qdrant's usual) says how much the first places count for. `weights`, one
    for each prefetch (None: 1 each), are finite, 0 or more, and held as float32; what has the
    weight 0 gives 0. From G. V. Cormack et al., "Reciprocal Rank Fusion Outperforms Condorcet and
    Individual Rank Learning Methods", SIGIR 2009; weights as in Qdrant.
    """

    k: int
    weights: tuple[float, ...] | None = None

    if TYPE_CHECKING:

        def __init__(self, k: int, weights: Iterable[float] | None = None) -> None: ...

    def __post_init__(self) -> None:
        force_setattr(self, "k", fields.integer(self.k, "k", 1, _MAX_K))
        if self.weights is not None:
            given = enumerate(fields.sequence(self.weights, "weights"))
            force_setattr(self, "weights", tuple(_weight(value, i) for i, value in given))

    def __repr__(self) -> str:
        weights = "" if self.weights is None else f", weights={list(self.weights)}"
        return f"Fusion.Rrf(k={self.k}{weights})"


class DbsfFusion(Fusion, frozen=True):
    """Distribution-based score fusion: what of three standard deviations around the mean a score
    has passed, (score - (mean - 3 sd)) / (6 sd), within its prefetch; 0.5 where all are alike."""

    def __repr__(self) -> str:
        return "Fusion.Dbsf()"


def _weight(value: object, place: int) -> float:
    found = single(value, f"weights[{place}]")
    if found < 0.0:
        raise ValidationError(f"weights[{place}]: expected 0 or more, got {value}")
    return found


Fusion.Rrf = RrfFusion
Fusion.Dbsf = DbsfFusion
