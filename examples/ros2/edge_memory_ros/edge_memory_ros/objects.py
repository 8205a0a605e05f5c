# Copyright 2026 The edgeshard contributors
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.

"""What examples/apartment/objects.npz holds: things of a home, questions, and their embeddings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .sighting import Vector

MODEL = "all-MiniLM-L6-v2"


@dataclass(frozen=True)
class Objects:
    """One entry, one row, for each object; vectors of unit length."""

    names: list[str]
    rooms: list[str]
    vectors: Vector
    """float32[n, 384]"""
    questions: dict[str, Vector]
    """words -> float32[384]"""

    @classmethod
    def load(cls, path: str | Path) -> Objects:
        """Read the file. Raises OSError, and ValueError or KeyError where it is another one."""
        with np.load(Path(path).expanduser()) as held:
            asked = held["query_vectors"].astype(np.float32)
            return cls(
                names=held["names"].tolist(),
                rooms=held["rooms"].tolist(),
                vectors=held["vectors"].astype(np.float32),
                questions=dict(zip(held["queries"].tolist(), asked, strict=True)),
            )
