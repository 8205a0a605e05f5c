"""Qdrant's folders and snapshots, taken for our own: all three layouts, whole and partial, with
what was logged and never flushed. Killed after any change of a file, it is the old shard or the new
one."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import pytest
import qdrant_edge as qdrant

from edge import (
    AlreadyExists,
    Distance,
    EdgeConfig,
    EdgeError,
    EdgeOptimizersConfig,
    EdgeVectorParams,
    NotFound,
    ScrollRequest,
    ShardClosed,
    ShardLocked,
    UpdateOperation,
    ValidationError,
    WrongBase,
    blocking,
)
from edge.archive import foreign
from edge.blocking import EdgeShard
from edge.disk.storage import DiskStorage, DiskWriter
from edge.model.sparse import SparseVector
from edge.shard import EdgeShard as AsyncShard
from tests.actors.made import PATIENCE, Gate
from tests.qdrant import made
from tests.qdrant.made import Held, assert_same, change, create, every_kind, fill, real_points
from tests.sync import archives

Points = dict[Any, Held]
COUNT = 70


def our_points(shard: EdgeShard) -> Points:
    records, _ = shard.scroll(ScrollRequest(limit=10_000, with_vector=True))
    return {record.id: Held(record.payload or {}, _vectors(record.vector)) for record in records}


def _vectors(given: Any) -> dict[str, Any]:
    named = {"": given} if isinstance(given, list) else given or {}
    return {name: _plain(vector) for name, vector in named.items()}


def _plain(vector: Any) -> Any:
    if isinstance(vector, SparseVector):
        return dict(zip(vector.indices, vector.values, strict=True))
    return vector


@pytest.fixture(params=[False, True], ids=["as it grew", "optimized"])
def theirs(folder: Path, request: pytest.FixtureRequest) -> Any:
    shard = create(folder / "theirs", optimized=request.param, **every_kind())
    fill(shard, COUNT)
    if request.param:
        assert shard.optimize()
        change(shard, COUNT, random.Random(9))
    shard.update(made.U.create_field_index("set", qdrant.PayloadSchemaType.Integer))
    yield shard
    shard.close()


Layout = Callable[[Path, dict[str, Any], Any], None]
LAYOUTS: dict[str, Layout] = {
    "streamed": archives.write_full,
    "stored": archives.write_stored,
    "partial to nothing": lambda shard, manifest, sink: archives.write_partial(
        shard, manifest, {}, sink
    ),
}


def write(shard: Any, folder: Path, path: Path, layout: str) -> Path:
    shard.flush()
    with path.open("wb") as file:
        LAYOUTS[layout](folder, shard.snapshot_manifest(), file.write)
    return path


def goes_on(path: Path, points: Points, fields: Collection[str] = frozenset({"set"})) -> None:
    """The folder is a shard of ours that takes operations and is opened again."""
    with EdgeShard.load(path) as ours:
        assert_same(our_points(ours), points)
        one = next(iter(points))
        ours.update(UpdateOperation.delete_points([one]))
        ours.optimize()
    with EdgeShard.load(path) as ours:
        assert_same(our_points(ours), {id: held for id, held in points.items() if id != one})
        assert ours.info().payload_schema.keys() == fields


# -- folders


def test_a_folder_becomes_ours_where_it_lies(theirs: Any, folder: Path) -> None:
    points = real_points(theirs)
    with pytest.raises(ShardLocked):
        EdgeShard.load(folder / "theirs")
    theirs.close()
    with pytest.raises(AlreadyExists):
        EdgeShard.create(folder / "theirs", made_config())
    goes_on(folder / "theirs", points)
    again = qdrant.EdgeShard.load(str(folder / "theirs" / "qdrant-00000001"))
    assert_same(real_points(again), points)
    again.close()


def made_config() -> EdgeConfig:
    return EdgeConfig(vectors=EdgeVectorParams(6, Distance.Cosine))


QUESTIONS: dict[str, Any] = {
    "": [0.3, -1.0, 0.5, 2.0, -0.1, 0.7],
    "half": [0.5, 1.0, -2.0, 0.25, 3.0],
    "byte/é ü": [1.0, 200.0, 30.0, 4.0],
    "many": [[0.5, 1.0, -1.0], [2.0, 0.0, 1.0]],
    "half many": [[0.5, 1.0, -1.0]],
}


def nearest(api: Any, shard: Any, name: str, question: Any) -> list[tuple[Any, float]]:
    """The nearest that are found without an index; those of one score by id."""
    request = api.QueryRequest(
        query=api.Query.Nearest(question, name), limit=100, params=api.SearchParams(exact=True)
    )
    hits = [(hit.id, hit.score) for hit in shard.query(request)]
    return sorted(hits, key=lambda hit: (-round(hit[1], 4), str(hit[0])))


def test_exact_queries_find_the_same(theirs: Any, folder: Path) -> None:
    archive = write(theirs, folder / "theirs", folder / "a", "streamed")
    EdgeShard.unpack_snapshot(archive, folder / "ours")
    sparse = QUESTIONS | {"sparse": ([1, 7, 12, 40, 99, 1000], [1.0, 2.0, -1.0, 0.5, 3.0, 1.0])}
    with EdgeShard.load(folder / "ours") as ours:
        for name, question in sparse.items():
            is_sparse = name == "sparse"
            both = [
                nearest(api, shard, name, api.SparseVector(*question) if is_sparse else question)
                for api, shard in ((blocking, ours), (qdrant, theirs))
            ]
            assert [one for one, _ in both[0]] == [one for one, _ in both[1]], name
            scores = [[score for _, score in found] for found in both]
            assert scores[0] == pytest.approx(scores[1], rel=1e-5, abs=1e-5), name
            assert both[0] or is_sparse, name


def test_one_that_cannot_be_read_stays_as_it_is(folder: Path) -> None:
    types = qdrant.VectorStorageDatatype
    shard = create(folder / "x", vectors={"": made.params(datatype=types.Turbo8)})
    shard.update(made.U.upsert_points([qdrant.Point(1, {"": [1.0] * 6})]))
    shard.close()
    before = sorted(path for path in (folder / "x").rglob("*") if path.is_file())
    with pytest.raises(ValidationError, match=r"[Tt]urbo8"):
        EdgeShard.load(folder / "x")
    left = sorted(path for path in (folder / "x").rglob("*") if path.is_file())
    assert [path for path in left if path.name != "LOCK"] == before
    again = qdrant.EdgeShard.load(str(folder / "x"))
    assert again.count(qdrant.CountRequest()) == 1
    again.close()


KILLED = """
import os, sys
from pathlib import Path
from tests.qdrant import made
shard = made.create(Path(sys.argv[1]), **made.every_kind())
made.fill(shard, 40)
shard.flush()
import random
made.change(shard, 40, random.Random(3))
shard.update(made.U.upsert_points([made.point(i, random.Random(i)) for i in range(38, 60)]))
os._exit(0)
"""


def test_what_was_logged_and_never_flushed(folder: Path) -> None:
    root = Path(__file__).parents[2]
    paths = os.pathsep.join([str(root), str(root / "kernels")])
    command = [sys.executable, "-c", KILLED, str(folder / "killed")]
    subprocess.run(command, check=True, cwd=root, env={**os.environ, "PYTHONPATH": paths})
    shutil.copytree(folder / "killed", folder / "copy")
    real = qdrant.EdgeShard.load(str(folder / "copy"))
    points = real_points(real)
    real.close()
    with EdgeShard.load(folder / "killed") as ours:
        found = our_points(ours)
    assert found.keys() == points.keys()
    for one, held in points.items():
        assert found[one].payload == held.payload
        assert found[one].vectors.keys() == held.vectors.keys()
        for name, vector in held.vectors.items():  # cosine is normalised anew
            assert flat(found[one].vectors[name]) == pytest.approx(flat(vector), abs=1e-6)


def flat(vector: Any) -> list[float]:
    if isinstance(vector, dict):
        return [number for entry in sorted(vector.items()) for number in entry]
    return [number for part in vector for number in (part if isinstance(part, list) else [part])]


# -- snapshots


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_snapshot_is_unpacked_and_loaded(theirs: Any, folder: Path, layout: str) -> None:
    archive = write(theirs, folder / "theirs", folder / "a", layout)
    EdgeShard.unpack_snapshot(archive, folder / "ours")
    goes_on(folder / "ours", real_points(theirs))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_shard_becomes_what_a_snapshot_holds(theirs: Any, folder: Path, layout: str) -> None:
    archive = write(theirs, folder / "theirs", folder / "a", layout)
    with EdgeShard.create(folder / "ours", made_config()) as ours:
        ours.update(UpdateOperation.upsert_arrays([1, 2], [[1.0] * 6] * 2))
        ours.update_from_snapshot(archive)
        assert_same(our_points(ours), real_points(theirs))
    goes_on(folder / "ours", real_points(theirs))


def test_a_closed_folder_in_a_tar(theirs: Any, folder: Path) -> None:
    points = real_points(theirs)
    theirs.close()
    with tarfile.open(folder / "a", "w", format=tarfile.GNU_FORMAT) as tar:
        tar.add(folder / "theirs", ".")
    EdgeShard.unpack_snapshot(folder / "a", folder / "ours")
    goes_on(folder / "ours", points)


def later(theirs: Any, step: int) -> None:
    draw = random.Random(step)
    upsert = [made.point(i, draw) for i in range(COUNT, COUNT + 9)]
    old = [one for one in sorted(real_points(theirs), key=str) if str(one) < "5"]
    steps: list[Callable[[], Any]] = [
        lambda: None,
        lambda: theirs.update(made.U.upsert_points(upsert)),
        lambda: theirs.update(made.U.delete_points(old)),
        lambda: theirs.update(made.U.delete_vectors(old, ["", "sparse"])),
        lambda: change(theirs, COUNT, draw),
        lambda: theirs.update(made.U.delete_points_by_filter(qdrant.Filter())),
        lambda: (theirs.update(made.U.upsert_points(upsert)), theirs.optimize()),
    ]
    steps[step]()


def partial(theirs: Any, folder: Path, path: Path, base: dict[str, Any]) -> Path:
    theirs.flush()
    with path.open("wb") as file:
        archives.write_partial(folder, theirs.snapshot_manifest(), base, file.write)
    return path


@pytest.mark.parametrize("step", range(7))
def test_a_partial_one_brings_what_is_new(theirs: Any, folder: Path, step: int) -> None:
    first = write(theirs, folder / "theirs", folder / "a", "streamed")
    with EdgeShard.create(folder / "ours", made_config()) as ours:
        assert ours.snapshot_manifest("qdrant") == {}
        ours.update_from_snapshot(first)
        for turn in range(2):
            later(theirs, step if turn == 0 else 1)
            base = ours.snapshot_manifest("qdrant")
            archive = partial(theirs, folder / "theirs", folder / f"b{turn}", base)
            ours.update_from_snapshot(archive)
            assert_same(our_points(ours), real_points(theirs))
            assert ours.snapshot_manifest("qdrant").keys() == theirs.snapshot_manifest().keys()
        ours.optimize()
        assert_same(our_points(ours), real_points(theirs))
    assert len(list((folder / "ours").glob("qdrant-*"))) == 1


def test_what_did_not_change_keeps_its_graph(folder: Path) -> None:
    theirs = create(folder / "theirs", optimized=True, vectors={"": made.params(size=16)})
    draw = random.Random(4)

    def upsert(first: int, last: int) -> None:
        numbers = [[draw.gauss(0, 1) for _ in range(16)] for _ in range(first, last)]
        points = [qdrant.Point(first + i, {"": v}, {"n": i}) for i, v in enumerate(numbers)]
        theirs.update(made.U.upsert_points(points))

    upsert(0, 10)  # a file of version 0 is sent every time
    upsert(0, 300)
    theirs.optimize()
    options = EdgeOptimizersConfig(indexing_threshold=1)
    config = EdgeConfig(EdgeVectorParams(16, Distance.Dot), optimizers=options)
    with EdgeShard.create(folder / "ours", config) as ours:
        ours.update_from_snapshot(write(theirs, folder / "theirs", folder / "a", "streamed"))
        ours.optimize()
        [indexed] = [view for view in ours._store.view.segments if view.segment.graphs]
        upsert(290, 310)
        theirs.update(made.U.delete_points([1, 2, 3]))
        ours.update(UpdateOperation.delete_points([7]))  # ours alone: it comes back
        ours.update(UpdateOperation.set_payload([8], {"mine": 1}))
        ours.optimize()
        archive = partial(theirs, folder / "theirs", folder / "b", ours.snapshot_manifest("qdrant"))
        before = {view.segment.number: view.segment for view in ours._store.view.segments}
        ours.update_from_snapshot(archive)
        assert_same(our_points(ours), real_points(theirs))
        [still] = [view for view in ours._store.view.segments if view.segment.graphs]
        assert still.segment.entry is not None
        assert still.segment.entry.files["graph-0"] == indexed.segment.entry.files["graph-0"]
        assert still.live_count == 300 - 10 - 3  # what only ours changed is as it was
        assert still.segment is before[still.segment.number]  # nor was it read again
    goes_on(folder / "ours", real_points(theirs), fields=set())
    theirs.close()


@pytest.mark.parametrize("seed", range(3))
def test_a_copy_follows_through_any_history(folder: Path, seed: int) -> None:
    draw = random.Random(seed)
    theirs = create(folder / "theirs", optimized=True, **every_kind())
    fill(theirs, COUNT, seed)
    acts: list[Callable[[], Any]] = [
        lambda: theirs.update(
            made.U.upsert_points([made.point(draw.randrange(99), draw) for _ in range(9)])
        ),
        lambda: theirs.update(
            made.U.delete_points([made.id_of(draw.randrange(99)) for _ in range(5)])
        ),
        lambda: theirs.update(
            made.U.set_payload_by_filter(
                qdrant.Filter(must=[qdrant.SliceCondition(5, draw.randrange(5))]),
                {"set": [draw.random()]},
            )
        ),
        lambda: theirs.update(
            made.U.delete_vectors_by_filter(
                qdrant.Filter(must=[qdrant.SliceCondition(5, draw.randrange(5))]), ["half", "many"]
            )
        ),
        theirs.optimize,
    ]
    with EdgeShard.create(folder / "ours", made_config()) as ours:
        ours.update_from_snapshot(write(theirs, folder / "theirs", folder / "a", "streamed"))
        for _ in range(12):
            for act in draw.choices(acts, k=draw.randrange(4)):
                act()
            if draw.random() < 0.4:
                ours.update(UpdateOperation.delete_points([made.id_of(draw.randrange(99))]))
            if draw.random() < 0.4:
                ours.optimize()
            base = ours.snapshot_manifest("qdrant")
            ours.update_from_snapshot(partial(theirs, folder / "theirs", folder / "b", base))
            assert_same(our_points(ours), real_points(theirs))
    theirs.close()


def test_a_partial_one_wants_its_base(theirs: Any, folder: Path) -> None:
    base = theirs.snapshot_manifest()
    later(theirs, 2)
    archive = partial(theirs, folder / "theirs", folder / "b", base)
    with EdgeShard.create(folder / "ours", made_config()) as ours:
        ours.update(UpdateOperation.upsert_arrays([1], [[1.0] * 6]))
        before = our_points(ours)
        with pytest.raises(WrongBase):
            ours.update_from_snapshot(archive)
        assert_same(our_points(ours), before)
        with pytest.raises(WrongBase):
            EdgeShard.unpack_snapshot(archive, folder / "new")
    assert not (folder / "new").exists()


def test_qdrants_are_not_signed(theirs: Any, folder: Path) -> None:
    archive = write(theirs, folder / "theirs", folder / "a", "streamed")
    with pytest.raises(ValidationError, match="not signed"):
        EdgeShard.unpack_snapshot(archive, folder / "ours", key=bytes(32))
    assert not (folder / "ours").exists()


def test_archives_of_nothing(folder: Path) -> None:
    """Qdrant Edge empties a shard by one that holds an empty folder of segments."""
    with tarfile.open(folder / "a", "w") as tar:
        info = tarfile.TarInfo("segments")
        info.type = tarfile.DIRTYPE
        tar.addfile(info)
    with EdgeShard.create(folder / "ours", made_config()) as ours:
        ours.update(UpdateOperation.upsert_arrays([1], [[1.0] * 6]))
        with pytest.raises(ValidationError, match="not a snapshot"):
            ours.update_from_snapshot(folder / "a")
        with pytest.raises(NotFound):
            ours.update_from_snapshot(folder / "none")
        assert ours.count() == 1


def test_damaged_archives(theirs: Any, folder: Path) -> None:
    """A typed error, and nothing is changed; or what cannot be told from the real thing."""
    data = write(theirs, folder / "theirs", folder / "a", "stored").read_bytes()
    draw = random.Random(2)
    refused = 0
    with EdgeShard.create(folder / "ours", made_config()) as ours:
        ours.update(UpdateOperation.upsert_arrays([1], [[1.0] * 6]))
        before = our_points(ours)
        for turn in range(60):
            damaged = bytearray(data)
            if turn % 3:
                for _ in range(8):
                    damaged[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
            else:
                del damaged[
                    draw.randrange(len(data) - 1024) :
                ]  # of the zeros at the end some may go
            (folder / "b").write_bytes(damaged)
            try:
                EdgeShard.unpack_snapshot(folder / "b", folder / f"s{turn}")
                EdgeShard.load(folder / f"s{turn}").close()
            except EdgeError:
                refused += 1
                with pytest.raises(EdgeError):
                    ours.update_from_snapshot(folder / "b")
                assert_same(our_points(ours), before)
            shutil.rmtree(folder / f"s{turn}", ignore_errors=True)
    assert refused >= 20


async def test_a_shard_that_is_closed_in_the_midst(
    theirs: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = write(theirs, folder / "theirs", folder / "a", "streamed")
    shard = await AsyncShard.create(folder / "ours", made_config()).open()
    await shard.update(UpdateOperation.upsert_arrays([1], [[1.0] * 6]))
    gate = Gate()
    monkeypatch.setattr(foreign, "build_segment", gate.before(foreign.build_segment))
    task = asyncio.create_task(shard.update_from_snapshot(archive))
    await gate.reached()
    snapshot = shard.actors.snapshot
    closing = asyncio.create_task(shard.close())
    await asyncio.wait_for(snapshot._stopped.wait(), PATIENCE)
    gate.open()
    await asyncio.wait_for(closing, PATIENCE)
    with pytest.raises(ShardClosed):
        await task
    assert {path.name for path in (folder / "ours").iterdir()} <= {
        "LOCK", "manifest", "segments", "wal"
    }  # fmt: skip
    with EdgeShard.load(folder / "ours") as ours:
        assert ours.count() == 1


# -- killed


class Killed(BaseException):
    """The process ends here."""


CHANGES = ("create", "mkdir", "rename", "link", "unlink", "remove_tree", "sync_folder")


@pytest.fixture
def after_each(monkeypatch: pytest.MonkeyPatch) -> list[Callable[[], None]]:
    """What is called after each change of a file or folder."""
    acts: list[Callable[[], None]] = []

    def told(function: Callable[..., Any]) -> Callable[..., Any]:
        def changed(*args: Any) -> Any:
            result = function(*args)
            for act in acts:
                act()
            return result

        return changed

    for name in CHANGES:
        monkeypatch.setattr(DiskStorage, name, told(getattr(DiskStorage, name)))
    for name in ("write", "sync"):
        monkeypatch.setattr(DiskWriter, name, told(getattr(DiskWriter, name)))
    return acts


def states_after_kills(
    acts: list[Callable[[], None]], shard: Path, copies: Path, act: Callable[[], Any]
) -> list[Points]:
    """What is loaded from the folder as each change of a file, while `act` runs, left it."""
    images: list[Path] = []

    def keep() -> None:
        images.append(copies / str(len(images)))
        made.copied(shard, images[-1])

    acts.append(keep)
    act()
    acts.clear()
    found = []
    for image in images:
        (image / "LOCK").unlink(missing_ok=True)
        with EdgeShard.load(image) as again:
            found.append(our_points(again))
        with EdgeShard.load(image) as again:
            assert_same(our_points(again), found[-1])
        shutil.rmtree(image)
    return found


def old_then_new(states: list[Points], old: Points, new: Points) -> None:
    at = next(place for place, points in enumerate(states) if points.keys() == new.keys())
    assert 0 < at < len(states)
    for place, points in enumerate(states):
        assert_same(points, new if place >= at else old)


@pytest.mark.parametrize("kind", ["full", "partial"])
def test_killed_while_it_becomes_what_a_snapshot_holds(
    folder: Path, after_each: list[Callable[[], None]], kind: str
) -> None:
    theirs = create(folder / "theirs", vectors={"": made.params(), "é": made.params()})
    points = [qdrant.Point(i, {"": [float(i)] * 6}, {"n": i}) for i in range(20)]
    theirs.update(made.U.upsert_points(points))
    archive = write(theirs, folder / "theirs", folder / "a", "streamed")
    with EdgeShard.create(folder / "ours", made_config()) as ours:
        ours.update(UpdateOperation.upsert_arrays([1, 2], [[1.0] * 6] * 2))
        ours.flush()
        if kind == "partial":
            ours.update_from_snapshot(archive)
            theirs.update(made.U.delete_points([3, 4]))
            base = ours.snapshot_manifest("qdrant")
            archive = partial(theirs, folder / "theirs", folder / "b", base)
        old = our_points(ours)
        states = states_after_kills(
            after_each,
            folder / "ours",
            folder / "copies",
            lambda: ours.update_from_snapshot(archive),
        )
        new = our_points(ours)
        assert_same(new, real_points(theirs))
    theirs.close()
    old_then_new(states, old, new)
    assert len(states) > 40


def test_killed_while_a_folder_becomes_ours(
    folder: Path, after_each: list[Callable[[], None]]
) -> None:
    theirs = create(folder / "theirs", vectors={"": made.params()})
    points = [qdrant.Point(i, {"": [float(i)] * 6}, {"n": i}) for i in range(20)]
    theirs.update(made.U.upsert_points(points))
    held = real_points(theirs)
    theirs.close()
    states = states_after_kills(
        after_each,
        folder / "theirs",
        folder / "copies",
        lambda: EdgeShard.load(folder / "theirs").close(),
    )
    for state in states:
        assert_same(state, held)
    assert len(states) > 30
