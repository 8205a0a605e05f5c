"""Every way to damage the files of a folder that the tests try: one list for all kinds of file."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations

from tests.disk.simulated import SECTOR, Image

Damage = tuple[str, Image]


def flips(image: Image, name: str) -> Iterator[Damage]:
    """One bit of every byte; which one goes round with the place."""
    data = image[name] or b""
    for at in range(len(data)):
        broken = bytearray(data)
        broken[at] ^= 1 << (at * 5 + at // 8) % 8
        yield f"flip {name} {at}", {**image, name: bytes(broken)}


def cuts(image: Image, name: str) -> Iterator[Damage]:
    """Every shorter length, and a few longer ones."""
    data = image[name] or b""
    for length in range(len(data)):
        yield f"cut {name} {length}", {**image, name: data[:length]}
    for tail in (b"\0", b"x" * 7, bytes(SECTOR), data):
        if tail:
            yield f"grow {name} {len(tail)}", {**image, name: data + tail}


def zeroed(image: Image, name: str) -> Iterator[Damage]:
    """Every page of 512 bytes turned to zeros, or to what another page holds."""
    data = image[name] or b""
    for start in range(0, len(data), SECTOR):
        page = data[start : start + SECTOR]
        others = {bytes(len(page)), data[: len(page)], data[-SECTOR:][: len(page)]}
        for other in sorted(others - {page}):
            broken = data[:start] + other.ljust(len(page), b"\0") + data[start + len(page) :]
            yield f"page {name} {start}", {**image, name: broken}


def moved(image: Image, names: list[str]) -> Iterator[Damage]:
    """Each file deleted, or in another's place, and each two swapped (emptied is one of `cuts`).

    Two files of the same bytes are left alone: to swap them changes nothing.
    """
    for name in names:
        yield f"delete {name}", {other: data for other, data in image.items() if other != name}
    for one, other in permutations(names, 2):
        if image[one] == image[other]:
            continue
        yield f"copy {one} over {other}", {**image, other: image[one]}
        if one < other:
            yield f"swap {one} {other}", {**image, one: image[other], other: image[one]}


def everything(image: Image, names: list[str]) -> Iterator[Damage]:
    """All of the above, for all `names`."""
    for name in names:
        yield from flips(image, name)
        yield from cuts(image, name)
        yield from zeroed(image, name)
    yield from moved(image, names)
