"""Arrays in files: what was written comes back, and no damaged byte with it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.disk import advice, array_file
from edge.disk.advice import ahead_of
from edge.disk.array_file import aligned, read_array, write_array
from edge.disk.manifest import FileEntry
from edge.disk.sealed_file import BLOCK
from edge.disk.storage import DiskStorage
from edge.errors import CorruptData, StorageFault, StorageFull, ValidationError
from edge_kernels.rows import ask_for
from tests.disk.damage import cuts, flips, moved, zeroed
from tests.disk.simulated import FAULTS, FaultyStorage, SimulatedStorage

DTYPES = ("?", "i1", "u1", "<i2", "<u2", "<i4", "<u4", "<i8", "<u8", "<f2", "<f4", "<f8")


def numbers(shape: tuple[int, ...], dtype: str = "<f4", seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    raw = random.integers(0, 2 if dtype == "?" else 256, size, np.uint8)
    return raw.view(dtype).reshape(shape)


def both(storage, entry: FileEntry) -> list[np.ndarray]:
    return [read_array(storage, entry), read_array(storage, entry, resident=False)]


@given(
    dtype=st.sampled_from(DTYPES),
    shape=st.lists(st.integers(0, 40), max_size=4).map(tuple),
    cut=st.integers(0, 40),
)
def test_what_was_written_is_read(dtype: str, shape: tuple[int, ...], cut: int) -> None:
    storage = SimulatedStorage()
    array = numbers(shape, dtype)
    blocks = [array[:cut], array[cut:]] if shape else array
    entry = write_array(storage, "array", blocks, dtype, shape)
    assert entry.length == storage.size("array")
    for found in both(storage, entry):
        assert (found.dtype, found.shape) == (np.dtype(dtype), shape)
        assert found.tobytes() == array.tobytes()
        assert not found.flags.writeable
        assert found.flags.c_contiguous


@pytest.mark.parametrize("rows", [0, 1, 255, 256, 257, 4096, 70_000])
def test_sizes_around_blocks_on_a_real_disk(tmp_path, rows: int) -> None:
    storage = DiskStorage(tmp_path / "shard")
    storage.mkdir("")
    array = numbers((rows, BLOCK // 256 // 4), "<f4", rows)
    entry = write_array(
        storage, "array", (array[i : i + 97] for i in range(0, rows, 97)), "<f4", array.shape
    )
    for found in both(storage, entry):
        assert found.tobytes() == array.tobytes()
        assert not rows or found.ctypes.data % 64 == 0


def test_a_mapped_array_outlives_its_name(tmp_path) -> None:
    storage = DiskStorage(tmp_path / "shard")
    storage.mkdir("")
    array = numbers((50, 3))
    found = read_array(storage, write_array(storage, "a", array, "<f4", (50, 3)), resident=False)
    storage.unlink("a")
    assert found.tobytes() == array.tobytes()


@pytest.mark.parametrize("length", [1, 63, 64, 65, 5 << 20])
def test_aligned_memory(length: int) -> None:
    raw = aligned(length)
    assert (raw.nbytes, raw.ctypes.data % 64, raw.flags.writeable) == (length, 0, True)


def test_strided_blocks_are_written_in_row_order() -> None:
    storage = SimulatedStorage()
    array = numbers((10, 8))
    entry = write_array(storage, "a", [array[::2].T, array[1::2].T], "<f4", (16, 5))
    expected = np.concatenate([array[::2].T, array[1::2].T])
    assert read_array(storage, entry).tobytes() == expected.tobytes()


@pytest.mark.parametrize(
    ("array", "dtype", "shape"),
    [
        (numbers((3, 2)), "<f4", (3, 3)),
        (numbers((3, 2)), "<f8", (3, 2)),
        (numbers((3, 2)), "<f4", (2, 2)),
        (np.array(["text"]), "<U4", (1,)),
        (np.array([object()]), object, (1,)),
        (np.array([b"x"]), "V1", (1,)),
    ],
)
def test_what_does_not_fit_is_refused_and_leaves_nothing(array, dtype, shape) -> None:
    storage = SimulatedStorage()
    with pytest.raises(ValidationError):
        write_array(storage, "a", array, dtype, shape)
    assert storage.list("") == []


def test_blocks_that_fail_leave_nothing() -> None:
    storage = SimulatedStorage()

    def blocks():
        yield numbers((3, 2))
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_array(storage, "a", blocks(), "<f4", (6, 2))
    assert storage.list("") == []


def test_an_existing_file_is_never_overwritten() -> None:
    storage = SimulatedStorage({"a": b"precious"})
    with pytest.raises(StorageFault, match="exists"):
        write_array(storage, "a", numbers((3, 2)), "<f4", (3, 2))
    assert storage.read("a") == b"precious"


def test_every_damage_is_found() -> None:
    """Both ways of reading, for an array of one block and for one of two blocks and a bit."""
    storage = SimulatedStorage()
    entries = {
        "ids": write_array(storage, "ids", numbers((40, 3), "<u8"), "<u8", (40, 3)),
        "twin": write_array(storage, "twin", numbers((40, 3), "<u8"), "<u8", (40, 3)),
        "other": write_array(storage, "other", numbers((120, 1), "<u8", 1), "<u8", (120, 1)),
        "empty": write_array(storage, "empty", numbers((0,)), "<f4", (0,)),
    }
    image = storage.image()
    tried = [
        *(damage for name in ("ids", "empty") for damage in flips(image, name)),
        *(damage for name in ("ids", "empty") for damage in cuts(image, name)),
        *zeroed(image, "ids"),
        *moved(image, list(entries)),
    ]
    assert len(tried) > 1500
    for what, broken in tried:
        names = [name for name in entries if broken.get(name) != image[name]]
        assert names, what
        for name in names:
            for resident in (True, False):
                with pytest.raises(CorruptData) as caught:
                    read_array(SimulatedStorage(broken), entries[name], resident=resident)
                assert caught.value.path == f"/simulated/{name}", what


def test_the_error_names_the_wrong_length() -> None:
    storage = SimulatedStorage()
    entry = write_array(storage, "a", numbers((5,)), "<f4", (5,))
    storage.append("a").write(b"x")
    message = f"has {entry.length + 1} bytes, not {entry.length}"
    with pytest.raises(CorruptData, match=message) as caught:
        read_array(storage, entry)
    assert caught.value.offset == entry.length


def test_the_error_names_the_block() -> None:
    storage = SimulatedStorage()
    array = numbers((3 * BLOCK // 4 + 5,))
    entry = write_array(storage, "a", array, "<f4", array.shape)
    for at in (0, BLOCK - 1, BLOCK, 2 * BLOCK + 7, 3 * BLOCK, 3 * BLOCK + 19):
        broken = SimulatedStorage(storage.image())
        broken.overwrite("a", at, bytes([broken.read("a")[at] ^ 1]))
        for resident in (True, False):
            with pytest.raises(CorruptData) as caught:
                read_array(broken, entry, resident=resident)
            assert caught.value.offset == at // BLOCK * BLOCK


def test_a_file_of_another_kind_or_version_is_named() -> None:
    storage = SimulatedStorage()
    array = numbers((5,))
    entry = write_array(storage, "a", array, "<f4", (5,))
    storage.overwrite("a", entry.length - 20, b"\x07")
    with pytest.raises(CorruptData, match="version 7; this program reads version 1"):
        read_array(storage, entry)


@pytest.mark.parametrize("forever", [False, True], ids=["once", "for ever"])
@pytest.mark.parametrize("fault", FAULTS)
def test_any_call_may_fail(fault: str, forever: bool) -> None:
    """An error, never a wrong array; a failed write leaves no file unless removing it fails too."""
    array = numbers((300, 4))
    struck = 0
    for nth in range(1, 60):
        inner = SimulatedStorage()
        storage = FaultyStorage(inner, fault, nth, forever)
        try:
            entry = write_array(storage, "a", [array[:100], array[100:]], "<f4", array.shape)
            assert read_array(storage, entry).tobytes() == array.tobytes()
            assert read_array(storage, entry, resident=False).tobytes() == array.tobytes()
        except StorageFull:
            struck += fault in {"enospc", "short"}
        except StorageFault:
            struck += fault in {"eio", "eio-after", "sync"}
        if not storage.struck:
            break
    assert struck
    assert not storage.struck
    assert inner.list("") == ["a"]


def test_rows_of_a_mapped_array_are_asked_for_ahead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = DiskStorage(str(tmp_path))
    array = np.arange(30_000, dtype=np.float32).reshape(1000, 30)
    entry = write_array(storage, "a", array, "<f4", (1000, 30))
    assert ahead_of(read_array(storage, entry)) == 0
    mapped = read_array(storage, entry, resident=False)
    ahead = ahead_of(mapped)
    assert ahead != 0
    ask_for(mapped, np.array([], np.uint32), ahead)
    ask_for(mapped, np.array([0, 999, 34, 35], np.uint32), ahead)
    with pytest.raises(IndexError, match="offset 1000"):
        ask_for(mapped, np.array([1000], np.uint32), ahead)
    assert (mapped == array).all()
    monkeypatch.setattr(advice, "_REQUEST", None)  # as where the system takes none
    assert ahead_of(mapped) == 0


def test_a_mapped_file_is_read_on_while_it_is_checked_and_let_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Page by page from the first advice to read at random, it took sixteen times as long."""
    storage = DiskStorage(str(tmp_path))
    array = numbers((5 * BLOCK // 4,), "<f4")
    entry = write_array(storage, "a", array, "<f4", array.shape)
    advised: list[tuple[str, *tuple[int, ...]]] = []
    monkeypatch.setattr(array_file, "_FORGET_EVERY", 2 * BLOCK)
    monkeypatch.setattr(array_file, "_advise", lambda _, *words: advised.append(words))
    assert read_array(storage, entry, resident=False).tobytes() == array.tobytes()
    pieces = [(0, 2 * BLOCK), (2 * BLOCK, 2 * BLOCK), (4 * BLOCK, BLOCK)]
    gone = [("MADV_DONTNEED", *piece) for piece in pieces]
    assert advised == [("MADV_SEQUENTIAL",), *gone, ("MADV_RANDOM",)]
