"""Which parts of a payload an answer shows.

A part is kept or dropped by its path, in which every array element is `[]`; as in Qdrant, an
included path keeps all that lies on the way to it and all below it, and empty containers stay.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from edge.model.json_path import Path, Step

Steps = tuple[Step, ...]
Keeps = Callable[[Steps], bool]
Payload = dict[str, Any]


def include(payload: Payload, paths: Sequence[Path]) -> Payload:
    """Return what lies on the way to, or below, one of the paths."""
    wanted = [path.steps for path in paths]

    def keeps(here: Steps) -> bool:
        return any(all(a == b for a, b in zip(steps, here, strict=False)) for steps in wanted)

    return _kept_keys(payload, (), keeps)


def exclude(payload: Payload, paths: Sequence[Path]) -> Payload:
    """Return the payload without what the paths name."""
    unwanted = {path.steps for path in paths}
    lengths = {len(steps) for steps in unwanted}

    def keeps(here: Steps) -> bool:
        return not any(here[:length] in unwanted for length in lengths if length <= len(here))

    return _kept_keys(payload, (), keeps)


def _kept_keys(values: Payload, here: Steps, keeps: Keeps) -> Payload:
    return {
        key: _kept(value, path, keeps)
        for key, value in values.items()
        if keeps(path := (*here, key))
    }


def _kept(value: Any, here: Steps, keeps: Keeps) -> Any:
    if isinstance(value, dict):
        return _kept_keys(value, here, keeps)
    if isinstance(value, list):
        path = (*here, None)
        return [_kept(element, path, keeps) for element in value] if keeps(path) else []
    return value
