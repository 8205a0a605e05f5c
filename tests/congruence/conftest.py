"""The pairs of shards that congruence tests compare."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from edge.model.config import EdgeConfig
from tests.congruence.both import Both
from tests.congruence.engines import Pair

MEMORY = Path("/dev/shm")


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    pair = Both(tmp_path_factory.mktemp("filters") / "shard")
    yield pair
    pair.shard.close()


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[EdgeConfig], Pair]]:
    """Makes pairs of empty shards, in memory where there is such a folder: for each rebuild Qdrant
    syncs some hundred files."""
    place = MEMORY if MEMORY.is_dir() else tmp_path_factory.mktemp("pairs")
    made: list[Pair] = []
    with TemporaryDirectory(dir=place) as folder:

        def new(config: EdgeConfig) -> Pair:
            made.append(Pair(Path(folder) / str(len(made)), config))
            return made[-1]

        yield new
        for pair in made:
            pair.close()
