"""Marks: an update that its source sends again is applied once, whatever happened in between."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge.blocking import EdgeShard
from edge.errors import LimitExceeded, ValidationError
from edge.model import mark as marks
from edge.model.config import EdgeConfig
from edge.model.mark import Mark
from edge.model.point import Point
from edge.model.request import ScrollRequest
from edge.model.update import Nothing, UpdateOperation
from edge.model.vector_params import Distance, EdgeVectorParams

CONFIG = EdgeConfig(EdgeVectorParams(2, Distance.Dot), checkpoint_bytes=2_000)


def counted(point_id: int, n: int) -> UpdateOperation:
    return UpdateOperation.upsert_points([Point(point_id, [1.0, 2.0], {"n": n})])


def held(shard: EdgeShard) -> dict[object, int]:
    records, _ = shard.scroll(ScrollRequest(limit=1000))
    return {record.id: (record.payload or {})["n"] for record in records}


def test_what_was_applied_is_passed_over(tmp_path: Path) -> None:
    with EdgeShard(tmp_path / "shard", CONFIG) as shard:
        first = shard.update(counted(1, 1), mark=Mark("camera", 1, 1))
        assert shard.update(counted(1, 2), mark=Mark("camera", 1, 1)) == first
        assert shard.update(counted(1, 3), mark=Mark("camera", 0, 9)) == first
        assert held(shard) == {1: 1}
        shard.update(counted(1, 4), mark=Mark("arm", 1, 1))
        shard.update(counted(1, 5), mark=Mark("camera", 2, 1))
        assert held(shard) == {1: 5}
        assert shard.mark("camera") == Mark("camera", 2, 1)
        assert shard.mark("leg") is None


@pytest.mark.parametrize("seals", [False, True])
def test_marks_are_there_after_a_restart(tmp_path: Path, seals: bool) -> None:
    with EdgeShard(tmp_path / "shard", CONFIG) as shard:
        for n in range(1, 60 if seals else 4):
            shard.update(counted(n, n), mark=Mark("camera", 7, n))
        newest = shard.mark("camera")
        assert newest is not None
        assert shard.info().log_bytes < 5_000
    with EdgeShard(tmp_path / "shard") as shard:
        assert shard.mark("camera") == newest
        before = held(shard)
        shard.update(counted(1, -1), mark=newest)
        assert held(shard) == before


def test_an_update_that_changes_nothing_leaves_its_mark(tmp_path: Path) -> None:
    with EdgeShard(tmp_path / "shard", CONFIG) as shard:
        shard.update(UpdateOperation.delete_points([5]), mark=Mark("camera", 1, 1))
        shard.update(Nothing(), mark=Mark("camera", 1, 2))
    with EdgeShard(tmp_path / "shard") as shard:
        assert shard.mark("camera") == Mark("camera", 1, 2)


def test_a_refused_update_leaves_no_mark(tmp_path: Path) -> None:
    wrong = UpdateOperation.upsert_points([Point(1, [1.0])])
    with EdgeShard(tmp_path / "shard", CONFIG) as shard:
        with pytest.raises(ValidationError):
            shard.update(wrong, mark=Mark("camera", 1, 1))
        assert shard.mark("camera") is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("", 1, 1), "mark.source: expected 1 to 128 bytes"),
        (("é" * 65, 1, 1), "mark.source: expected 1 to 128 bytes"),
        ((1, 1, 1), "mark.source: expected a str"),
        (("a", -1, 1), "mark.epoch: expected 0"),
        (("a", True, 1), "mark.epoch: expected an int"),
        (("a", 1, 2**63), "mark.sequence: expected 0"),
    ],
)
def test_marks_are_checked(arguments: tuple[object, ...], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Mark(*arguments)  # type: ignore[arg-type]


def test_names_of_our_own_are_not_to_be_taken(tmp_path: Path) -> None:
    with EdgeShard(tmp_path / "shard", CONFIG) as shard:
        with pytest.raises(ValidationError, match=r"mark.source: names that begin with 'edge\.'"):
            shard.update(counted(1, 1), mark=Mark(marks.HERE, 1, 1))
        assert held(shard) == {}


def test_sources_are_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(marks, "MAX_SOURCES", 2)
    with EdgeShard(tmp_path / "shard", CONFIG) as shard:
        for source in ("a", "b"):
            shard.update(counted(1, 1), mark=Mark(source, 1, 1))
        with pytest.raises(LimitExceeded, match=r"mark.source: 2 sources"):
            shard.update(counted(1, 2), mark=Mark("c", 1, 1))
        shard.update(counted(1, 3), mark=Mark("b", 1, 2))
        assert held(shard) == {1: 3}
