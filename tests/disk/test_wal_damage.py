"""Damage to any byte, page or file of a log is found, or provably changes nothing."""

from __future__ import annotations

import pytest

from edge.errors import CorruptData
from tests.disk.damage import Damage, everything, flips
from tests.disk.log_model import LogModel, drained, log_names
from tests.disk.simulated import SimulatedStorage

SCRIPTS = {
    "one file, all synced": "aAaas",
    "three files, all synced": "aarAaraas",
    "a new file without records": "aaArAaar",
    "after dropping": "aaraaAdraas",
    "an unsynced tail": "aasaAa",
    "an unsynced tail in a later file": "aaArasaaA",
    "never synced": "aAaa",
}


def damaged(script: str) -> tuple[LogModel, list[Damage]]:
    model = LogModel(SimulatedStorage())
    model.run(script)
    image = model.storage.image()
    return model, list(everything(image, log_names(image)))


def found_in(model: LogModel, image: dict[str, bytes | None]) -> int | str:
    """The last sequence that a damaged log replays, which must be a true prefix; or the path that
    CorruptData names."""
    storage = SimulatedStorage(image)
    found: list[tuple[int, int, bytes]] = []
    damage: CorruptData | None = None
    try:
        found = drained(storage, first=model.first, durable=model.first - 1, create=False)
    except CorruptData as error:
        damage = error
    assert storage.calls == []
    if damage is not None:
        assert damage.path.startswith("/simulated/wal")
        assert damage.offset >= 0
        return damage.path
    assert found == model.records(model.first, model.first - 1 + len(found))
    return model.first - 1 + len(found)


@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS.keys())
def test_no_synced_record_is_lost_without_an_error(script: str) -> None:
    """Every byte flipped, every length, every page, every file: CorruptData, or all of it."""
    model, tried = damaged(script)
    assert len(tried) > 500
    for what, image in tried:
        found = found_in(model, image)
        assert isinstance(found, str) or found >= model.synced, what


@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS.keys())
def test_damage_before_the_last_sync_is_told_even_without_the_mark(script: str) -> None:
    """A power cut may lose the mark; what then proves a record is what was synced after it."""
    model = LogModel(SimulatedStorage())
    model.run(script + "sa")
    model.storage.unlink("wal/synced")
    image = model.storage.image()
    for name in log_names(image):
        for what, broken in flips(image, name):
            found = found_in(model, broken)
            assert isinstance(found, str) or found >= model.synced, what


def test_the_error_names_the_damaged_record() -> None:
    model = LogModel(SimulatedStorage())
    model.run("aaaas")
    image = model.storage.image()
    name, _ = log_names(image)
    data = image[name] or b""
    starts = [at for at in range(len(data)) if data.startswith(b"\xabREC", at)]
    assert len(starts) == 4
    for at in range(starts[0], len(data)):
        broken = bytearray(data)
        broken[at] ^= 0x10
        with pytest.raises(CorruptData) as caught:
            drained(SimulatedStorage({**image, name: bytes(broken)}))
        assert caught.value.path == f"/simulated/{name}"
        assert caught.value.offset == max(start for start in starts if start <= at)
