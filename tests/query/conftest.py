"""One shard of each moment for all tests of this room: they only read it."""

from __future__ import annotations

import pytest

from edge.disk.storage import DiskStorage
from tests.query import ranked_shards
from tests.query.indexed_shards import MOMENTS, Shard, spread


@pytest.fixture(scope="session")
def every_indexed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Shard]:
    """By the moment at which the indexes were asked for."""
    return {
        moment: spread(DiskStorage(str(tmp_path_factory.mktemp(f"indexed-{moment}"))), moment)
        for moment in MOMENTS
    }


@pytest.fixture(params=MOMENTS)
def indexed(request: pytest.FixtureRequest, every_indexed: dict[str, Shard]) -> Shard:
    return every_indexed[request.param]


@pytest.fixture(scope="session")
def ranked(tmp_path_factory: pytest.TempPathFactory) -> ranked_shards.Shard:
    """A shard with vectors of every kind."""
    return ranked_shards.spread(DiskStorage(str(tmp_path_factory.mktemp("ranked"))))
