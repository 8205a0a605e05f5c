"""Any call to the storage fails: once, or from then on; with an error, without space, half done.

Only EdgeErrors leave. What was refused leaves no trace, now or after a reload; reads go on; when
the disk works again, so does the shard, unless what the disk holds is no longer known: then it is
read-only and says why.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from random import Random

import pytest

from edge import AlreadyExists, EdgeConfig, NotFound, ShardReadOnly, StorageFault, StorageFull
from edge.disk import manifest
from edge.store.store import Store
from tests.crash.driven import Driven, loaded
from tests.crash.history import EMPTY, History, State, config, read
from tests.disk.simulated import CHANGES, FAULTS, READS, FaultyStorage, Image, SimulatedStorage

FULL_DISK = ("enospc", "short")


class Struck(Driven):
    """Drives a store on a disk that fails, as a caller would: what failed is tried no more.

    `allowed` are the states that a reload may show; `doubtful` those among them with an operation
    that was refused while the log could not be mended.
    """

    def __init__(self, base: Driven, fault: str, nth: int, forever: bool) -> None:
        self.inner = SimulatedStorage(base.storage.image())
        self.disk = FaultyStorage(self.inner, fault, nth, forever)
        self.storage = self.disk
        self.history = History()
        self.history.states = list(base.history.states)
        self.durable = base.history.sequence
        self.number = base.number
        self.created, self.dropped = base.created, base.dropped
        self.doubtful: list[State] = []
        self.store = Store.over(self.inner, None, existing=True)

    def strike(self) -> None:
        """From here on the disk fails."""
        self.store._files.storage = self.disk
        self.store._wal._storage = self.disk

    def heal(self) -> None:
        self.disk._forever, self.disk._left = False, 0

    def attempt(self, script: str) -> None:
        for step in script:
            before = self.history.sequence
            try:
                self.run(step)
            except (StorageFault, ShardReadOnly):
                self._refused(before)
            shown = self.history.check(self.store.view)
            assert shown == self.history.sequence, "not what was acknowledged"

    def _refused(self, before: int) -> None:
        if self.store.read_only is not None:
            self.doubtful.extend(self.history.states[before + 1 :])
        self.history.forget_after(before)

    def check_reload(self) -> None:
        """After the death of the process, and after a power cut."""
        found = read(loaded(self.inner.image()).view)
        assert found in [self.history.states[-1], *self.doubtful[:1]]
        for image in self.inner.power_cuts(Random(1), most=2):
            view = loaded(image).view
            assert view.sequence >= self.durable
            assert read(view) in [*self.history.states[self.durable :], *self.doubtful[:1]]

    def check_goes_on_or_says_why(self) -> None:
        """On a healed disk: all works again, or nothing is written and the reason is told."""
        if self.store.read_only is None:
            self.run("uasuofc")
            assert read(self.store.view) == self.history.states[-1]
            assert manifest.orphans(self.inner, manifest.load(self.inner)) == []
            return
        before = self.history.sequence
        with pytest.raises(ShardReadOnly, match=r"error|failed|space|reopen"):
            self.update()
        self.history.forget_after(before)
        assert read(self.store.view) == self.history.states[-1]
        self.store.close()
        self.store = Store.over(self.inner, None, existing=True)
        self.history.states = [*self.history.states[: self.store.sequence], read(self.store.view)]
        self.run("uas")


@cache
def base() -> Driven:
    """A shard with segments, a graph, indexes, tombstones and a log, to be copied."""
    driven = Driven(SimulatedStorage())
    driven.number = 5
    driven.run("uuuxuuouuxuosuuc")
    return driven


def strikes(
    fault: str, forever: bool, play: Callable[[Struck], None], stride: int = 1
) -> Iterator[tuple[int, Struck]]:
    """Play the scene with the first, second, ... call failing, until none fails any more.

    With a stride some are left out, others for each fault: what one leaves out another strikes.
    """
    first = 1 + (2 * list(FAULTS).index(fault) + forever) % stride
    for nth in range(first, 2000, stride):
        struck = Struck(base(), fault, nth, forever)
        struck.strike()
        play(struck)
        if not struck.disk.struck:
            return
        yield nth, struck
    raise AssertionError("the scene never ends")


SCENES = {"uaau": 1, "ufuif": 1, "usus": 3, "uuo": 5, "uosuo": 13, "xo": 7, "oxdo": 17}
"""Scripts with the stride of their strikes: updates, flushes, seals, one rebuild, several, an index
that is made, one more and one less."""
EVERY_WAY = [
    pytest.param(fault, forever, id=f"{fault}, {'for ever' if forever else 'once'}")
    for fault in FAULTS
    for forever in (False, True)
]


@pytest.mark.parametrize(("fault", "forever"), EVERY_WAY)
@pytest.mark.parametrize("scene", SCENES)
def test_writing(scene: str, fault: str, forever: bool) -> None:
    done = 0
    for nth, struck in strikes(fault, forever, lambda s: s.attempt(scene), SCENES[scene]):
        done += 1
        if fault in FULL_DISK:
            assert struck.store.read_only is None, nth
        struck.check_reload()
        struck.heal()
        if struck.store.read_only is not None or done % 2:
            struck.check_goes_on_or_says_why()
    assert done


class Failing(FaultyStorage):
    """Fails one call of one name, after it did its work."""

    def __init__(self, inner: SimulatedStorage, call: str, name: str) -> None:
        super().__init__(inner, "eio-after", 1, forever=False)
        self._aim = (call, name)

    def __getattr__(self, call: str) -> Callable[..., object]:
        through = super().__getattr__(call)

        def aimed(*arguments: object) -> object:
            hit = not self.struck and (call, *arguments[:1]) == self._aim
            return (through if hit else getattr(self.inner, call))(*arguments)

        return aimed


@pytest.mark.parametrize("step", ["f", "s", "o"])
@pytest.mark.parametrize("aim", [("rename", "manifest.tmp"), ("sync_folder", "")])
def test_a_manifest_in_doubt_is_the_last(aim: tuple[str, str], step: str) -> None:
    """Whether the old or the new one is on the disk nobody knows: nothing more is written."""
    struck = Struck(base(), "eio", 10_000, forever=False)
    struck.run("uuu")
    struck.disk = Failing(struck.inner, *aim)
    struck.strike()
    struck.attempt(step)
    assert struck.disk.struck == 1
    assert "error" in str(struck.store.read_only)
    struck.check_reload()
    struck.check_goes_on_or_says_why()


@pytest.mark.parametrize("script", ["a", "ua", "uau"])
def test_what_could_not_be_synced_is_refused_and_gone(script: str) -> None:
    """The process ends, or goes on reading: as far as the file can be cut, no trace is left."""
    struck = Struck(base(), "sync", 1, forever=False)
    struck.strike()
    struck.attempt(script)
    assert struck.doubtful
    assert struck.store.read_only is not None
    assert read(struck.store.view) == struck.history.states[-1]
    assert read(loaded(struck.inner.image()).view) == struck.history.states[-1]


def close_and_look(struck: Struck) -> None:
    struck.attempt("u")
    try:
        struck.run("c")
    except StorageFault:
        struck.store = Store.over(struck.inner, None, existing=True)


@pytest.mark.parametrize(("fault", "forever"), EVERY_WAY)
def test_closing(fault: str, forever: bool) -> None:
    """Whatever fails, the lock is given back, and what was acknowledged is there."""
    for _, struck in strikes(fault, forever, close_and_look, 9 if fault == "eio" else 2):
        assert struck.history.check(struck.store.view) in {
            struck.history.sequence,
            struck.history.sequence + bool(struck.doubtful),
        }
        struck.check_reload()


@pytest.mark.parametrize("forever", [False, True])
@pytest.mark.parametrize("fault", FULL_DISK)
def test_closing_on_a_full_disk_is_no_error(fault: str, forever: bool) -> None:
    """All is on the disk; only a note of it finds no room."""
    for _ in strikes(fault, forever, lambda struck: struck.store.close()):
        pass
    for nth in range(1, 40):
        struck = Struck(base(), fault, nth, forever)
        struck.run("u")
        struck.strike()
        struck.store.close()
        if not struck.disk.struck:
            return


@pytest.mark.parametrize(("fault", "forever"), EVERY_WAY)
def test_loading(fault: str, forever: bool) -> None:
    """It loads, or says that the disk failed and lets go of the lock; then it loads."""
    expected = base().history.states[-1]
    for nth in range(1, 2000):
        disk = FaultyStorage(SimulatedStorage(left_by_a_kill()), fault, nth, forever)
        try:
            store = Store.over(disk, None, existing=True)
        except StorageFault:
            assert fault == "eio"
            store = Store.over(disk.inner, None, existing=True)
        assert store.sequence >= base().history.sequence
        assert len(read(store.view).points) >= len(expected.points) - 8
        if not disk.struck:
            return
    raise AssertionError("loading never ends")


@cache
def left_by_a_kill() -> Image:
    """A shard that was never closed: an unsynced log with a torn tail, half a segment."""
    driven = Struck(base(), "eio", 10_000, forever=False)
    driven.run("uuau")
    job = driven.store.seal()
    assert job is not None
    job.run(driven.store.storage, lambda share: None)
    driven.run("uu")
    image = driven.inner.image()
    log = max(name for name in image if name.endswith(".log"))
    return image | {log: (image[log] or b"") + b"\xabREC torn"}


class ReadOnlyDisk(FaultyStorage):
    """No call that changes anything gets through."""

    def strikes(self, call: str) -> bool:
        self.struck += call in CHANGES
        return call in CHANGES

    def fail(self, call: str, *_: object) -> StorageFault:
        assert call not in READS
        return StorageFault("Read-only file system", self.path)


def images() -> dict[str, Callable[[], Image]]:
    return {"closed": base().storage.image, "killed": left_by_a_kill}


@pytest.mark.parametrize("options", [None, config(sync_interval_ms=7)], ids=["as is", "changed"])
@pytest.mark.parametrize("state", ["closed", "killed"])
def test_a_read_only_disk_serves_reads(state: str, options: EdgeConfig | None) -> None:
    disk = ReadOnlyDisk(SimulatedStorage(images()[state]()), "eio", 1, forever=True)
    expected = read(loaded(images()[state]()).view)
    Store.over(disk, options, existing=True).close()
    store = Store.over(disk, options, existing=True)
    assert read(store.view) == expected
    driven = Driven.__new__(Driven)
    driven.__dict__ = {"store": store, "history": History(), "number": 900, "storage": disk}
    driven.created = base().created
    with pytest.raises((StorageFault, ShardReadOnly)):
        driven.update()
    with pytest.raises((StorageFault, ShardReadOnly)):
        driven.optimize()
    assert read(store.view) == expected
    store.close()
    assert disk.inner.image() == images()[state]()
    assert read(Store.over(disk, None, existing=True).view) == expected


@pytest.mark.parametrize("state", ["closed", "killed"])
@pytest.mark.parametrize("fault", FULL_DISK)
def test_a_full_disk_serves_reads_and_takes_writes_later(state: str, fault: str) -> None:
    disk = FaultyStorage(SimulatedStorage(images()[state]()), fault, 1, forever=True)
    expected = read(loaded(images()[state]()).view)
    store = Store.over(disk, config(sync_interval_ms=7), existing=True)
    driven = Driven.__new__(Driven)
    driven.__dict__ = {"store": store, "history": History(), "number": 900, "storage": disk}
    driven.created = base().created
    for step in ("u", "a", "x", "s", "o"):
        with pytest.raises(StorageFull):
            driven.run(step)
        assert read(store.view) == expected
    if state == "killed":
        with pytest.raises(StorageFull):  # what the dead process left cannot be written again
            store.flush()
    else:
        store.flush()
    assert store.read_only is None
    disk._forever, disk._left = False, 0
    driven.history.states = [EMPTY] * store.sequence + [expected]
    driven.run("uasuxoc")
    assert read(driven.store.view) == driven.history.states[-1]
    assert driven.store.config.sync_interval_ms == 7


@pytest.mark.parametrize("before", ["uu", "xx", "osxx"])
def test_attempts_on_a_full_disk_pile_nothing_up(before: str) -> None:
    """A rebuild that finds no room gives back what it took, each time."""
    for nth in (1, 4, 9, 12, 14, 16, 18, 20, 25, 30, 33):
        struck = Struck(base(), "enospc", nth, forever=True)
        struck.run(before)
        struck.strike()
        for _ in range(4):
            struck.attempt("o")
            kept = {name for name in struck.inner.image() if name.startswith("segments/")}
            named = {file.name for file in manifest.load(struck.inner).files()}
            folders = {name.rpartition("/")[0] for name in named}
            assert kept <= named | folders, nth
        struck.heal()
        struck.run("o")
        assert struck.store.plan(durable=True) is None


@pytest.mark.parametrize("fault", ["eio", "enospc", "short"])
def test_an_index_that_cannot_be_built_leaves_no_file(fault: str) -> None:
    """Whichever call fails, of the build or of the swap: until the manifest is in doubt."""
    done = 0
    for nth in range(1, 200):
        struck = Struck(base(), fault, nth, forever=False)
        struck.run("osxxs")
        plan = struck.store.plan_fields(durable=True)
        assert plan is not None
        job = struck.store.start(plan)
        struck.strike()
        try:
            struck.carry_out(job)
        except StorageFault:
            done += 1
            if struck.store.read_only is None:
                left = manifest.orphans(struck.inner, manifest.load(struck.inner))
                assert left == [], nth
        if not struck.disk.struck:
            break
    assert done > 20


@pytest.mark.parametrize(("fault", "forever"), EVERY_WAY)
def test_creating(fault: str, forever: bool) -> None:
    """It is made, or it is not and can be made later; a manifest in doubt may be there already."""
    for nth in range(1, 200):
        disk = FaultyStorage(SimulatedStorage(), fault, nth, forever)
        try:
            Store.over(disk, config(), existing=False).close()
        except StorageFault:
            disk._forever, disk._left = False, 0
            try:
                Store.over(disk, config(), existing=False).close()
            except AlreadyExists:
                assert fault in {"eio", "eio-after", "sync"}
        try:
            store = loaded(disk.inner.image())
        except NotFound:
            raise AssertionError("it was made, and is not there") from None
        assert (store.sequence, store.view.points) == (0, 0)
        if not disk.struck:
            return
    raise AssertionError("creating never ends")
