"""Payload edits: set, overwrite, delete and clear, as pure functions from payload to payload.

Invariants: no function changes a payload or a patch it is given; a result shares with them what the
edit did not touch, so whoever changes a result in place must copy it first; work is bounded by the
places a path reaches, and nothing recurses.

Two deliberate differences from Qdrant Edge, each because it loses data there without a word:
`overwrite` honours its path (there it replaces the whole payload), and `set_payload` leaves a value
alone when the path needs an array where that value is none (there it becomes an empty array, or an
object around one, and the patch is written nowhere).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

from edge.model.json_path import Path, Step

Payload: TypeAlias = dict[str, Any]

_Container: TypeAlias = dict[Any, Any] | list[Any]
_Slot: TypeAlias = tuple[_Container, Any]
"""A place to write: a container that this edit has copied, and a key or an index in it."""


def set_payload(payload: Payload, patch: Payload, path: Path | None = None) -> Payload:
    """Merge `patch` into the payload, or into every object that `path` reaches.

    A None in the patch removes its key (deeper ones are kept, as values are replaced whole). A
    missing place is made; a value that is no object is replaced by one; an index beyond the array
    reaches nothing; `[]` or `[i]` on a missing or null place makes an empty array.
    """
    if path is None:
        return _merged(payload, patch)
    return _written(payload, path, lambda value: _merged(value, patch))


def overwrite(payload: Payload, patch: Payload, path: Path | None = None) -> Payload:
    """Replace the payload, or every value that `path` reaches, by `patch`; None values stay.

    Places are made and reached as in `set_payload`.
    """
    if path is None:
        return dict(patch)
    return _written(payload, path, lambda _: dict(patch))


def delete_keys(payload: Payload, paths: Iterable[Path]) -> Payload:
    """Remove what the paths reach, one path after the other; what is not there is no error.

    `a[].b` removes b from every object in a; `a[]` empties the array; `a[0]` removes nothing
    (positions shift, so a replayed removal would hit another element).
    """
    result = dict(payload)
    for path in paths:
        _remove(result, path)
    return result


def clear(payload: Payload) -> Payload:
    """The empty payload, whatever the payload was."""
    return {}


def _merged(value: object, patch: Mapping[str, Any]) -> Payload:
    kept = dict(value) if isinstance(value, dict) else {}
    for key, new in patch.items():
        if new is None:
            kept.pop(key, None)
        else:
            kept[key] = new
    return kept


def _written(payload: Payload, path: Path, change: Callable[[object], Payload]) -> Payload:
    result = dict(payload)
    slots: list[_Slot] = [(result, path.steps[0])]
    for place in range(1, len(path.steps)):
        slots = [deeper for slot in slots for deeper in _opened(slot, path.steps[place:])]
    for slot in slots:
        container, at = slot
        container[at] = change(_value(slot))
    return result


def _opened(slot: _Slot, steps: tuple[Step, ...]) -> list[_Slot]:
    """Put a fresh container that the first step fits into the slot; the slots that step names."""
    container, at = slot
    value = _value(slot)
    if _would_lose(value, steps):
        return []
    step = steps[0]
    if isinstance(step, str):
        fields = container[at] = dict(value) if isinstance(value, dict) else {}
        return [(fields, step)]
    array = container[at] = list(value) if isinstance(value, list) else []
    return [(array, index) for index in _indices(step, array)]


def _would_lose(value: object, steps: tuple[Step, ...]) -> bool:
    """Whether `value` would have to go although the patch cannot arrive: a new array is empty."""
    fits = isinstance(value, dict if isinstance(steps[0], str) else list)
    return not fits and value is not None and not all(isinstance(step, str) for step in steps)


def _remove(result: Payload, path: Path) -> None:
    *inner, last = path.steps
    containers: list[_Container] = [result]
    for step in inner:
        containers = [deeper for each in containers for deeper in _copied_below(each, step)]
    for container in containers:
        if isinstance(container, dict) and isinstance(last, str):
            container.pop(last, None)
        elif isinstance(container, list) and last is None:
            container.clear()


def _copied_below(container: _Container, step: Step) -> list[_Container]:
    """What `step` reaches in a container of this edit, each replaced there by a copy of its own."""
    copies: list[_Container] = []
    for at in _places(container, step):
        value = _value((container, at))
        if isinstance(value, dict | list):
            container[at] = value.copy()
            copies.append(container[at])
    return copies


def _places(container: _Container, step: Step) -> Iterable[Any]:
    if isinstance(container, dict):
        return (step,) if step in container else ()
    return () if isinstance(step, str) else _indices(step, container)


def _indices(step: int | None, array: list[Any]) -> range:
    if step is None:
        return range(len(array))
    return range(step, step + 1) if step < len(array) else range(0)


def _value(slot: _Slot) -> object:
    container, at = slot
    return container.get(at) if isinstance(container, dict) else container[at]
