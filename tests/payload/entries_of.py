"""What the tests of entries share: growing entries filled row by row, and sets of rows."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from edge_kernels import bits

Rows = Sequence[Sequence[Any]]
"""The keys of each row."""


def filled(growing: Any, rows: Rows, step: int = 3, first: int = 0) -> Any:
    """The growing entries, after these rows were added, `step` rows at a time."""
    for start in range(0, len(rows), step):
        owners: list[int] = []
        keys: list[Any] = []
        for row, found in enumerate(rows[start : start + step], first + start):
            owners += [row] * len(found)
            keys += found
        growing.extend(owners, keys)
    return growing


def bitset(rows: Iterable[int], count: int) -> np.ndarray:
    return bits.from_offsets(count, np.array(sorted(rows), np.uint32))


def members(found: np.ndarray, count: int) -> set[int]:
    assert found.dtype == np.uint64
    assert found.size == bits.words_for(count)
    return set(bits.to_offsets(found, count).tolist())


def alongside(write: Callable[[], None], look: Callable[[], object], times: int = 400) -> None:
    """Look so many times while another thread writes; the writer begins after the first look."""
    failures: list[BaseException] = []
    looked, written = threading.Event(), threading.Event()

    def written_beside() -> None:
        try:
            looked.wait()
            write()
        except BaseException as failure:
            failures.append(failure)
        finally:
            written.set()

    writer = threading.Thread(target=written_beside)
    writer.start()
    try:
        for turn in range(times):
            done = written.is_set()
            look()
            looked.set()
            if done and turn > 1:
                break
    finally:
        looked.set()
        writer.join()
    assert failures == []
    look()


# -- damage


def damaged(arrays: dict[str, np.ndarray], name: str, change: Any) -> dict[str, np.ndarray]:
    changed = change(arrays[name].copy())
    assert changed.tobytes() != arrays[name].tobytes()
    return {**arrays, name: changed}


def put(place: int, value: int) -> Callable[[np.ndarray], np.ndarray]:
    def change(array: np.ndarray) -> np.ndarray:
        array[place] = value
        return array

    return change


def shorter(array: np.ndarray) -> np.ndarray:
    return array[:-1]


def longer(array: np.ndarray) -> np.ndarray:
    return np.append(array, array[-1:])
