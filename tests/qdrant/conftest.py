"""Shards of ours and their copies, closed when the test is over."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from edge.model.config import EdgeConfig
from tests.qdrant.copies import Copy, New

MEMORY = Path("/dev/shm")


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """In memory where there is such a place: for each load Qdrant syncs some hundred files."""
    with TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else tmp_path) as found:
        yield Path(found)


@pytest.fixture
def new(folder: Path) -> Iterator[New]:
    """Makes empty shards."""
    made: list[Copy] = []

    def make(config: EdgeConfig) -> Copy:
        place = folder / str(len(made))
        place.mkdir()
        made.append(Copy(place, config))
        return made[-1]

    yield make
    for copy in made:
        copy.close()
