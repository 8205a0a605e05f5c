"""The pair of shards that congruence tests compare."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.congruence.both import Both


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    pair = Both(tmp_path_factory.mktemp("filters") / "shard")
    yield pair
    pair.shard.close()
