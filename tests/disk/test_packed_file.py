"""Several arrays in one file: what was written comes back, and neither a damaged byte nor a layout
that lies gives an array."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.disk.manifest import FileEntry
from edge.disk.packed_file import Layout, read_packed, write_packed
from edge.disk.storage import DiskStorage
from edge.errors import CorruptData, StorageFault, StorageFull
from tests.disk.damage import cuts, flips, moved, zeroed
from tests.disk.simulated import FAULTS, FaultyStorage, SimulatedStorage
from tests.disk.test_array_file import numbers

DTYPES = ("i1", "u1", "<i2", "<u2", "<i4", "<u4", "<i8", "<u8", "<f2", "<f4", "<f8", ">i8")
SHAPES = st.lists(st.integers(0, 9), min_size=1, max_size=3).map(tuple)
ARRAYS = st.dictionaries(
    st.text(max_size=3), st.builds(numbers, SHAPES, st.sampled_from(DTYPES)), max_size=5
)


def as_read(layout: Layout) -> Any:
    """A layout as a manifest gives it back: lists for tuples."""
    return [list(part) for part in layout]


@given(ARRAYS)
def test_what_was_written_is_read(arrays: dict[str, np.ndarray]) -> None:
    storage = SimulatedStorage()
    entry, layout = write_packed(storage, "packed", arrays)
    assert entry.length == storage.size("packed")
    for resident in (True, False):
        found = read_packed(storage, entry, as_read(layout), resident=resident)
        assert list(found) == list(arrays)
        for name, array in found.items():
            assert (array.dtype, array.shape) == (arrays[name].dtype, arrays[name].shape)
            assert array.tobytes() == arrays[name].tobytes()
            assert not array.flags.writeable


def test_strided_arrays_are_written_in_row_order() -> None:
    storage = SimulatedStorage()
    array = numbers((10, 8))
    entry, layout = write_packed(storage, "a", {"turned": array.T, "every other": array[::2]})
    found = read_packed(storage, entry, layout)
    assert found["turned"].tolist() == array.T.tolist()
    assert found["every other"].tolist() == array[::2].tolist()


@pytest.mark.parametrize("resident", [True, False])
def test_on_a_real_disk_every_array_is_aligned(tmp_path, resident: bool) -> None:
    storage = DiskStorage(tmp_path / "shard")
    storage.mkdir("")
    arrays = {str(n): numbers((n,), "u1", n) for n in (1, 63, 64, 65, 70_000)}
    entry, layout = write_packed(storage, "a", arrays)
    found = read_packed(storage, entry, layout, resident=resident)
    assert {name: array.tobytes() for name, array in found.items()} == {
        name: array.tobytes() for name, array in arrays.items()
    }
    assert {array.ctypes.data % 64 for array in found.values()} == {0}


def test_mapped_arrays_are_no_copies_and_outlive_the_name(
    tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = DiskStorage(tmp_path / "shard")
    storage.mkdir("")
    entry, layout = write_packed(storage, "a", {"x": numbers((9, 9)), "y": numbers((3,), "u1")})
    maps = []
    original = DiskStorage.map
    monkeypatch.setattr(DiskStorage, "map", lambda *args: maps.append(original(*args)) or maps[-1])
    for resident, expected in ((True, 0), (False, 1)):
        maps.clear()
        found = read_packed(storage, entry, layout, resident=resident)
        assert len(maps) == expected
        for mapped in maps:
            whole = np.frombuffer(mapped, np.uint8)
            assert all(np.shares_memory(array, whole) for array in found.values())
    storage.unlink("a")
    assert found["x"].tobytes() == numbers((9, 9)).tobytes()


def test_every_damage_is_found() -> None:
    storage = SimulatedStorage()
    written = {
        "some": write_packed(storage, "some", {"a": numbers((7,), "<u4"), "b": numbers((2, 3))}),
        "twin": write_packed(storage, "twin", {"a": numbers((7,), "<u4", 1), "b": numbers((2, 3))}),
        "none": write_packed(storage, "none", {}),
    }
    image = storage.image()
    tried = [
        *(damage for name in ("some", "none") for damage in flips(image, name)),
        *(damage for name in ("some", "none") for damage in cuts(image, name)),
        *zeroed(image, "some"),
        *moved(image, list(written)),
    ]
    assert len(tried) > 300
    for what, broken in tried:
        for name in [name for name in written if broken.get(name) != image[name]]:
            entry, layout = written[name]
            for resident in (True, False):
                with pytest.raises(CorruptData) as caught:
                    read_packed(SimulatedStorage(broken), entry, layout, resident=resident)
                assert caught.value.path == f"/simulated/{name}", what


def sample() -> tuple[SimulatedStorage, FileEntry, Layout]:
    storage = SimulatedStorage()
    arrays = {"a": numbers((10,), "<u4"), "b": numbers((2, 8), "<f8"), "c": numbers((0,), "<i8")}
    return storage, *write_packed(storage, "packed", arrays)


LIES: dict[str, Any] = {
    "none": None,
    "a number": 7,
    "a text": "a",
    "nothing": [],
    "cut": [["a", "<u4", [10]]],
    "one more": [["a", "<u4", [10]], ["b", "<f8", [2, 8]], ["c", "<i8", [0]], ["d", "u1", [1]]],
    "twice": [["a", "<u4", [10]], ["a", "<u4", [10]], ["b", "<f8", [2, 8]]],
    "longer": [["a", "<u4", [99]], ["b", "<f8", [2, 8]], ["c", "<i8", [0]]],
    "far longer": [["a", "<u4", [2**62]]],
    "beyond any size": [["a", "<u4", [2**70, 0]], ["b", "u1", [192]]],
    "negative": [["a", "<u4", [-10]], ["b", "<f8", [2, 8]]],
    "negative twice": [["a", "<u4", [-10, -1]], ["b", "<f8", [2, 8]], ["c", "<i8", [0]]],
    "a shape of floats": [["a", "<u4", [10.0]], ["b", "<f8", [2, 8]]],
    "a shape that is a text": [["a", "<u4", "10"], ["b", "<f8", [2, 8]]],
    "a shape that is a number": [["a", "<u4", 10], ["b", "<f8", [2, 8]]],
    "no shape": [["a", "<u4"], ["b", "<f8"]],
    "objects": [["a", "O", [5]], ["b", "<f8", [2, 8]]],
    "texts": [["a", "<U10", [1]], ["b", "<f8", [2, 8]]],
    "records": [["a", "u4,u4", [5]], ["b", "<f8", [2, 8]]],
    "moments": [["a", "<M8[s]", [5]], ["b", "<f8", [2, 8]]],
    "bools": [["a", "?", [40]], ["b", "<f8", [2, 8]]],
    "no dtype": [["a", "what", [5]], ["b", "<f8", [2, 8]]],
    "a dtype that is half one": [["a", ",", [5]], ["b", "<f8", [2, 8]]],
    "a dtype that is a number": [["a", 4, [5]], ["b", "<f8", [2, 8]]],
}


@pytest.mark.parametrize("name", LIES)
def test_layouts_that_lie_are_corrupt_data(name: str) -> None:
    storage, entry, layout = sample()
    for resident in (True, False):
        with pytest.raises(CorruptData, match="layout") as caught:
            read_packed(storage, entry, LIES[name], resident=resident)
        assert caught.value.path == "packed"
    assert read_packed(storage, entry, layout).keys() == {"a", "b", "c"}


def test_no_dtype_makes_it_fail_otherwise() -> None:
    """numpy reads dtypes by a grammar of its own; whatever it says of one, it is CorruptData."""
    storage, entry, _ = sample()
    draw = random.Random(1)
    for _ in range(3000):
        dtype = "".join(draw.choices("iu48f<>|,{}[]: 0?VO", k=draw.randint(1, 5)))
        with pytest.raises(CorruptData):
            read_packed(storage, entry, [["a", dtype, [1]]])


@pytest.mark.parametrize("fault", FAULTS)
def test_any_call_may_fail(fault: str) -> None:
    struck = 0
    for nth in range(1, 60):
        inner = SimulatedStorage()
        storage = FaultyStorage(inner, fault, nth, forever=False)
        try:
            entry, layout = write_packed(storage, "a", {"x": numbers((300, 4))})
            found = read_packed(storage, entry, layout)
            assert found["x"].tobytes() == numbers((300, 4)).tobytes()
        except StorageFull:
            struck += fault in {"enospc", "short"}
        except StorageFault:
            struck += fault in {"eio", "eio-after", "sync"}
        if not storage.struck:
            break
    assert struck
    assert not storage.struck
