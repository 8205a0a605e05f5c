"""A shard of which vectors were created while it ran is opened again with its first config."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge.blocking import (
    Distance,
    EdgeConfig,
    EdgeShard,
    EdgeVectorParams,
    Point,
    UpdateOperation,
    ValidationError,
)

CONFIG = EdgeConfig({"a": EdgeVectorParams(2, Distance.Dot)})


def test_the_first_config_opens_a_shard_that_has_more_vectors_since(tmp_path: Path) -> None:
    with EdgeShard(tmp_path / "s", CONFIG) as shard:
        shard.update(UpdateOperation.create_dense_vector("b", 3, Distance.Dot))
        shard.update(UpdateOperation.upsert_points([Point(1, {"a": [1, 2], "b": [1, 2, 3]})]))
    for _ in range(2):
        with EdgeShard(tmp_path / "s", CONFIG) as shard:
            (record,) = shard.retrieve([1], with_vector=True)
            assert record.vector == {"a": [1, 2], "b": [1, 2, 3]}
            shard.optimize()


def test_a_config_that_lacks_a_vector_of_the_first_is_refused(tmp_path: Path) -> None:
    both = EdgeConfig({**CONFIG.vectors, "c": EdgeVectorParams(2, Distance.Dot)})
    EdgeShard.create(tmp_path / "s", both).close()
    with pytest.raises(ValidationError, match="expected names"):
        EdgeShard.load(tmp_path / "s", CONFIG)
    with EdgeShard.load(tmp_path / "s", both) as shard:
        assert shard.count() == 0


@pytest.mark.parametrize("sealed", [False, True])
def test_a_vector_that_was_taken_away_and_given_anew_is_what_the_config_has_to_say(
    tmp_path: Path, sealed: bool
) -> None:
    """Also while only the log knows of it."""
    other = EdgeVectorParams(2, Distance.Dot)
    first = EdgeConfig({**CONFIG.vectors, "k": other})
    with EdgeShard(tmp_path / "s", first) as shard:
        shard.update(UpdateOperation.upsert_points([Point(1, {"a": [1, 2]})]))
        shard.update(UpdateOperation.delete_vector_name("a"))
        shard.update(UpdateOperation.create_dense_vector("a", 3, Distance.Euclid))
        shard.update(UpdateOperation.upsert_points([Point(2, {"a": [1, 2, 3]})]))
        if sealed:
            shard.optimize()
    with pytest.raises(ValidationError, match="vector 'a': expected size 3 as stored, got 2"):
        EdgeShard.load(tmp_path / "s", first)
    newest = EdgeConfig({"a": EdgeVectorParams(3, Distance.Euclid), "k": other})
    for config in (newest, None):
        with EdgeShard.load(tmp_path / "s", config) as shard:
            records = shard.retrieve([1, 2], with_vector=True)
            assert [record.vector for record in records] == [{}, {"a": [1, 2, 3]}]
            assert shard._store.config.vectors == newest.vectors
