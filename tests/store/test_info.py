"""What a shard says of itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edge.model.config import EdgeConfig, EdgeOptimizersConfig
from edge.model.update import UpdateOperation
from edge.model.vector_params import Distance, EdgeVectorParams, HnswIndexConfig
from edge.store.info import info_of
from edge.store.store import Store, Submission

CONFIG = EdgeConfig(
    {"": EdgeVectorParams(16, Distance.Dot), "b": EdgeVectorParams(16, Distance.Dot)},
    hnsw_config=HnswIndexConfig(4, 16, 0),
    optimizers=EdgeOptimizersConfig(indexing_threshold=1),
)


def test_the_figures_are_those_of_view_and_files(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "shard", CONFIG)
    empty = info_of(store, store.view, "idle", {})
    assert (empty.segments_count, empty.points_count, empty.sequence) == (1, 0, 0)
    both = {"": np.ones((40, 16)), "b": np.ones((40, 16))}
    updates = [
        UpdateOperation.upsert_arrays(range(40), both),
        UpdateOperation.delete_vectors(range(10), ["b"]),
        UpdateOperation.upsert_arrays(range(100, 105), {"": np.ones((5, 16))}),
    ]
    store.commit([Submission(update) for update in updates[:2]])
    job = store.seal()
    assert job is not None
    store.finish(job, job.run(store.storage, lambda done: None))
    plan = store.plan(durable=True)
    assert plan is not None
    job = store.start(plan)
    store.finish(job, job.run(store.storage, lambda done: None))
    deleted = UpdateOperation.delete_points([0, 39])
    store.commit([Submission(updates[2]), Submission(deleted)])
    found = info_of(store, store.view, "idle", {})
    assert (found.segments_count, found.points_count, found.deleted_count) == (2, 43, 2)
    assert found.indexed_vectors_count == 38 + 29
    assert found.sequence == 4
    assert 0 < found.log_bytes < found.disk_bytes
    assert (found.optimizer, found.read_only) == ("idle", None)
    store.sync()
    assert info_of(store, store.view, "idle", {}).durable_sequence == 4
    fallen = info_of(
        store, store.view, "off", {"optimizer": "failed: disk", "query": "failed: bug"}
    )
    assert fallen.optimizer == "off; optimizer failed: disk; query failed: bug"
    store.close()
