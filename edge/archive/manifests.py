"""What a shard says that it has, in the words of who is to make a partial snapshot for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from edge.archive import restore, writing
from edge.disk.storage import Storage
from edge.errors import ValidationError
from edge.store.live_files import Held

MANIFESTS: Final[Mapping[str, Callable[[Storage, Held], dict[str, Any]]]] = {
    "edgeshard": writing.manifest_of,
    "qdrant": lambda storage, held: restore.manifest_of_base(storage, held.manifest),
}
"""By format. That for Qdrant tells of the Qdrant files that the shard was made of."""


def manifest_format(given: Any) -> str:
    """The name of a format; ValidationError where it is none."""
    if given not in MANIFESTS:
        raise ValidationError(f"format: expected one of {list(MANIFESTS)}, got {given!r}")
    return str(given)
