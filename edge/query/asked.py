"""What rows are compared with: one vector, or several examples and a rule that makes one rating.

Invariant: for every form of the rows, whole or small, it gives what kernels compare with them, and
keeps alive what that points to.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge.vectors.form import Form, Query
from edge.vectors.quantized_column import Quantized
from edge_kernels.combined import query_form
from edge_kernels.encodings import COMBINED

Floats = NDArray[np.float32]

NO_WEIGHTS: Floats = np.zeros(1, np.float32)


@dataclass(frozen=True, slots=True)
class Rule:
    """How the similarities to examples become a rating: see `edge_kernels.combined`."""

    kind: int
    first: int = 0
    weights: Floats | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """Vectors float32[dim] or, of a multivector, [k, dim]; without a rule there is one, with a rule
    there may be none."""

    vectors: tuple[Floats, ...]
    rule: Rule | None = None

    def query(self, form: Form) -> Query:
        """Return what is compared with rows of the form."""
        return self._combined(form.code, [form.query(vector) for vector in self.vectors])

    def small(self, form: Form, small: Quantized, whole: Query) -> Query:
        """Return what is compared with the small form of such rows; `whole` is what `query` gave
        for them."""
        wholes = [whole] if self.rule is None else whole.kept[0]
        return self._combined(small.code, [small.query(form.as_stored(one)) for one in wholes])

    def _combined(self, code: int, queries: list[Query]) -> Query:
        if self.rule is None:
            return queries[0]
        weights = NO_WEIGHTS if self.rule.weights is None else self.rule.weights
        forms = [query.form for query in queries]
        words = query_form(self.rule.kind, forms, self.rule.first, weights)
        return Query(code | COMBINED, words, (queries, weights))
