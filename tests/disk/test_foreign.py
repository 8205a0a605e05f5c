"""Folders of other programs: names of any characters, and a lock on a folder inside."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge.disk.foreign import ForeignStorage
from edge.errors import ShardLocked, StorageFault


@pytest.mark.parametrize("name", ["plain", "with space/é ü", "..a", ".hidden", "a" * 250])
def test_names_of_any_characters(name: str, tmp_path: Path) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(b"content")
    storage = ForeignStorage(tmp_path, "log")
    assert storage.read(name) == b"content"
    assert storage.exists(name)


@pytest.mark.parametrize("name", ["..", "a/../../b", "/etc/passwd", "a//b", "./a", "a/.", "a\0b"])
def test_names_that_lead_elsewhere(name: str, tmp_path: Path) -> None:
    storage = ForeignStorage(tmp_path / "root", "log")
    for ask in (storage.exists, storage.read, storage.map, storage.list, storage.size):
        with pytest.raises(StorageFault, match="not the name of a file"):
            ask(name)


def test_one_holds_the_lock_at_a_time(tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    first, second = ForeignStorage(tmp_path, "log"), ForeignStorage(tmp_path, "log")
    first.lock()
    first.lock()
    with pytest.raises(ShardLocked, match="another program"):
        second.lock()
    first.unlock()
    second.lock()
    second.unlock()
    assert list(tmp_path.iterdir()) == [tmp_path / "log"]


def test_without_the_folder_there_is_no_lock(tmp_path: Path) -> None:
    first, second = ForeignStorage(tmp_path, "log"), ForeignStorage(tmp_path, "log")
    first.lock()
    second.lock()
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"")
    with pytest.raises(StorageFault, match="Not a directory"):
        ForeignStorage(tmp_path, "log").lock()
