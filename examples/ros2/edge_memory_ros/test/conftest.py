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

"""Fixtures: a robot for one test, and one whose memory node serves a whole module."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import Robot


@pytest.fixture
def robot(tmp_path: Path) -> Iterator[Robot]:
    """A robot of the test's own, with no node started yet."""
    found = Robot(tmp_path)
    yield found
    found.close()


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Robot]:
    """A robot whose memory node serves; tests of one module share it and what it remembers."""
    found = Robot(tmp_path_factory.mktemp("serving"))
    found.start_memory()
    yield found
    found.close()
