"""Tar archives: ours read by others, others' read by us, and what a stranger might send."""

from __future__ import annotations

import gzip
import io
import os
import shutil
import subprocess
import tarfile
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.disk import files, tar_header
from edge.disk.storage import DiskStorage
from edge.disk.tar_file import TarReader, TarWriter, extents_of
from edge.disk.tar_members import Caps, Member
from edge.errors import (
    CorruptData,
    EdgeError,
    LimitExceeded,
    StorageFault,
    StorageFull,
    ValidationError,
)
from tests.disk.simulated import FAULTS, FaultyStorage, SimulatedStorage

CAPS = Caps(members=1000, file_bytes=1 << 25, total_bytes=1 << 25, reserve=0)
LONG = "/".join(["long" * 20] * 5) + "/ü"
CONTENTS = {"a": b"abc", "b/empty": b"", "b/c": bytes(range(256)) * 9, LONG: b"deep"}


@pytest.fixture
def folder(tmp_path: Path) -> DiskStorage:
    return DiskStorage(tmp_path, files.is_foreign_name)


def written(storage, contents: dict[str, bytes], sparse: bool = False) -> None:
    with TarWriter(storage, "x.tar") as tar:
        for name, data in contents.items():
            extents = extents_of([data]) if sparse else None
            pieces = [data] if extents is None else [data[s : s + n] for s, n in extents]
            tar.add(name, len(data), pieces, extents)


def contents_of(reader: TarReader) -> dict[str, bytes]:
    return {member.name: reader.read(member) for member in reader.members if not member.is_folder}


def read(data: bytes, caps: Caps = CAPS) -> dict[str, bytes]:
    return contents_of(TarReader.open(SimulatedStorage({"x.tar": data}), "x.tar", caps))


def archive(*members: tarfile.TarInfo | tuple[str, bytes], form: int = tarfile.GNU_FORMAT) -> bytes:
    """An archive by the standard library."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=form) as tar:
        for member in members:
            if isinstance(member, tuple):
                name, data = member
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
            else:
                tar.addfile(member)
    return file.getvalue()


def of_kind(kind: bytes, name: str = "x", link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type = kind
    info.linkname = link
    return info


# -- ours -------------------------------------------------------------------------------------


@pytest.mark.parametrize("sparse", [False, True])
def test_what_was_written_is_read_again(folder: DiskStorage, sparse: bool) -> None:
    written(folder, CONTENTS, sparse)
    assert contents_of(TarReader.open(folder, "x.tar", CAPS)) == CONTENTS


@pytest.mark.parametrize("sparse", [False, True])
def test_the_standard_library_reads_ours(folder: DiskStorage, sparse: bool) -> None:
    contents = CONTENTS | {"holes": holes()}
    written(folder, contents, sparse)
    with tarfile.open(Path(folder.path) / "x.tar") as tar:
        found = tar.getmembers()
        assert {info.name: tar.extractfile(info).read() for info in found} == contents
        assert all(info.mode == 0o600 and info.mtime == info.uid == info.gid == 0 for info in found)


@pytest.mark.skipif(shutil.which("tar") is None, reason="there is no tar program")
@pytest.mark.parametrize("sparse", [False, True])
def test_the_tar_program_reads_ours(folder: DiskStorage, tmp_path: Path, sparse: bool) -> None:
    contents = CONTENTS | {"holes": holes()}
    written(folder, contents, sparse)
    (tmp_path / "out").mkdir()
    done = subprocess.run(
        ["tar", "-xf", "x.tar", "-C", "out"], cwd=tmp_path, capture_output=True, check=True
    )
    assert done.stderr == b""
    found = (path for path in (tmp_path / "out").rglob("*") if path.is_file())
    assert {str(p.relative_to(tmp_path / "out")): p.read_bytes() for p in found} == contents


@pytest.mark.skipif(shutil.which("tar") is None, reason="there is no tar program")
@pytest.mark.parametrize("form", ["gnu", "oldgnu", "ustar", "pax"])
@pytest.mark.parametrize("what", [["."], ["data"]])
def test_we_read_what_the_tar_program_writes(
    folder: DiskStorage, tmp_path: Path, form: str, what: list[str]
) -> None:
    made = {"data/" + name: data for name, data in (CONTENTS | {"holes": holes()}).items()}
    if form == "ustar":
        del made[f"data/{LONG}"]
    for name, data in made.items():
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    os.truncate(tmp_path / "in/data/holes", len(holes()))
    sparse = ["--sparse"] if "gnu" in form else []
    command = ["tar", f"--format={form}", *sparse, "-cf", "../x.tar", *what]
    subprocess.run(command, cwd=tmp_path / "in", check=True)
    assert contents_of(TarReader.open(folder, "x.tar", CAPS)) == made


def holes() -> bytes:
    """Runs of data between holes, more than one header block holds, and a hole at the end."""
    return b"".join(bytes(8192) + bytes([n]) * 4096 for n in range(1, 60)) + bytes(100_001)


def test_runs_of_zeros_take_no_place(folder: DiskStorage) -> None:
    data = bytes(10 << 20) + b"x" + bytes(10 << 20)
    written(folder, {"page": data}, sparse=True)
    assert folder.size("x.tar") < 8192
    reader = TarReader.open(folder, "x.tar", CAPS)
    [member] = reader.members
    assert (member.size, member.stored) == (len(data), 4096)
    reader.unpack(member, folder, "page")
    assert folder.read("page") == data
    unpacked = (Path(folder.path) / "page").stat()
    assert unpacked.st_blocks * 512 < 1 << 20
    assert unpacked.st_mode & 0o777 == 0o600


@given(
    st.lists(st.tuples(st.booleans(), st.integers(1, 9000)), max_size=8),
    st.integers(1, 7000),
    st.data(),
)
def test_any_file_survives_as_a_sparse_one(runs, cut: int, data) -> None:
    content = b"".join((b"\1" if full else b"\0") * length for full, length in runs)
    pieces = [content[at : at + cut] for at in range(0, len(content), cut)]
    extents = extents_of(pieces)
    assert extents == extents_of([content])
    assert all(place % 4096 == 0 and length for place, length in extents)
    storage = SimulatedStorage()
    with TarWriter(storage, "x.tar") as tar:
        tar.add("f", len(content), [content[s : s + n] for s, n in extents], extents)
    reader = TarReader.open(storage, "x.tar", CAPS)
    [member] = reader.members
    assert reader.read(member) == content
    offset = data.draw(st.integers(0, len(content) + 1))
    buffer = bytearray(b"\xff" * data.draw(st.integers(0, 9000)))
    filled = reader.read_into(member, offset, memoryview(buffer))
    assert buffer[:filled] == content[offset : offset + len(buffer)]
    reader.unpack(member, storage, "f")
    assert storage.read("f") == content


def test_sizes_beyond_octal_digits() -> None:
    large = (8 << 30) + 5
    header = tar_header.encode_sparse(b"f", large, [(large - 5, 5)])
    data = header + b"abcde".ljust(512, b"\0") + bytes(1024)
    caps = Caps(members=1, file_bytes=1 << 40, total_bytes=1 << 40, reserve=0)
    reader = TarReader.open(SimulatedStorage({"x.tar": data}), "x.tar", caps)
    assert reader.members == (Member("f", large, False, 512, ((large - 5, 5, 512),)),)
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        assert tar.getmembers()[0].size == large


def test_equal_members_make_equal_archives(tmp_path: Path) -> None:
    made = []
    for name in ("one", "two"):
        storage = DiskStorage(tmp_path / name)
        storage.mkdir("")
        written(storage, CONTENTS)
        made.append(storage.read("x.tar"))
    assert made[0] == made[1]


@pytest.mark.parametrize("name", ["../a", "/a", "a//b", "a/", ".", "", "a\\b", "a\0", "x" * 256])
def test_no_name_is_written_that_would_not_be_read(folder: DiskStorage, name: str) -> None:
    with pytest.raises(ValidationError, match=r"x\.tar"), TarWriter(folder, "x.tar") as tar:
        tar.add(name, 0, [])
    assert not folder.exists("x.tar")


def test_a_name_is_written_once(folder: DiskStorage) -> None:
    with TarWriter(folder, "x.tar") as tar:
        tar.add("a", 0, [])
        with pytest.raises(ValidationError, match="'a'"):
            tar.add("a", 0, [])


def test_pieces_of_another_length_leave_no_archive(folder: DiskStorage) -> None:
    with pytest.raises(ValueError, match="not 5"), TarWriter(folder, "x.tar") as tar:
        tar.add("a", 5, [b"abc"])
    assert folder.list("") == []


@pytest.mark.parametrize("fault", ["eio", "enospc", "short", "sync"])
def test_no_archive_stays_where_writing_fails(fault: str) -> None:
    struck = 0
    for nth in range(1, 100):
        inner = SimulatedStorage()
        storage = FaultyStorage(inner, fault, nth, forever=False)
        try:
            written(storage, CONTENTS)
        except StorageFault:
            # An archive of which even the removal failed may stay; nothing else may.
            assert inner.image() == {}
            struck += 1
        else:
            break
    assert struck > 0
    assert fault in FAULTS


# -- others' ----------------------------------------------------------------------------------


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_we_read_what_the_standard_library_writes(form: int) -> None:
    contents = {"a/b": b"x" * 1000, "a/" + "d" * 90 + "/" + "n" * 60: b"", "./z": b"z"}
    if form != tarfile.USTAR_FORMAT:
        contents |= {LONG: b"deep", "é": b"acute"}
    data = archive(of_kind(tarfile.DIRTYPE, "a"), *contents.items(), form=form)
    assert read(data) == {name.removeprefix("./"): data for name, data in contents.items()}


def test_an_archive_in_an_archive(folder: DiskStorage) -> None:
    inner = archive(*CONTENTS.items()) + bytes(8192)
    for sparse in (False, True):
        written(folder, {"segments/1.tar": inner}, sparse)
        reader = TarReader.open(folder, "x.tar", CAPS)
        nested = reader.nested(reader.members[0])
        assert contents_of(nested) == CONTENTS
        with pytest.raises(CorruptData, match=r"x\.tar: segments/1\.tar: a at byte 0"):
            nested.nested(nested.members[0])
        folder.unlink("x.tar")


def test_all_is_unpacked(folder: DiskStorage) -> None:
    folder.create("x.tar").write(
        archive(of_kind(tarfile.DIRTYPE, "empty/folder"), *CONTENTS.items())
    )
    TarReader.open(folder, "x.tar", CAPS).unpack_all(folder, "out")
    root = Path(folder.path) / "out"
    found = {str(path.relative_to(root)): path for path in root.rglob("*")}
    assert {n: p.read_bytes() for n, p in found.items() if p.is_file()} == CONTENTS
    assert found["empty/folder"].is_dir()
    modes = {(path.is_dir(), path.stat().st_mode & 0o7777) for path in found.values()}
    assert modes == {(True, 0o700), (False, 0o600)}


def test_nothing_is_overwritten(folder: DiskStorage) -> None:
    written(folder, CONTENTS)
    reader = TarReader.open(folder, "x.tar", CAPS)
    folder.mkdir("out")
    folder.create("mine").write(b"mine")
    with pytest.raises(StorageFault, match="there already"):
        reader.unpack_all(folder, "out")
    with pytest.raises(StorageFault):
        reader.unpack(reader.members[0], folder, "mine")
    assert folder.read("mine") == b"mine"


@pytest.mark.parametrize("fault", ["eio", "enospc", "sync"])
def test_nothing_stays_where_unpacking_fails(fault: str) -> None:
    data = archive(*CONTENTS.items())
    for nth in range(1, 200):
        inner = SimulatedStorage({"x.tar": data})
        storage = FaultyStorage(inner, fault, nth, forever=False)
        try:
            TarReader.open(storage, "x.tar", CAPS).unpack_all(storage, "out")
        except StorageFault:
            assert inner.image() == {"x.tar": data}
        else:
            break
    assert nth > 5


# -- attacks ----------------------------------------------------------------------------------

REFUSED_NAMES = [
    "../evil", "segments/../../evil", "/etc/passwd", "a/./b", "a//b", "..", "a\\b",
    "e\u0301", "x" * 256, "/".join(["y" * 100] * 11),
]  # fmt: skip


@pytest.mark.parametrize("name", REFUSED_NAMES)
@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_names_that_lead_elsewhere(name: str, form: int) -> None:
    with pytest.raises(ValidationError, match=r"simulated/x\.tar"):
        read(archive(("good", b""), (name, b"x"), form=form))


@pytest.mark.parametrize(
    ("kind", "word"),
    [
        (tarfile.LNKTYPE, "hard link"),
        (tarfile.SYMTYPE, "symbolic link"),
        (tarfile.CHRTYPE, "character device"),
        (tarfile.BLKTYPE, "block device"),
        (tarfile.FIFOTYPE, "fifo"),
        (tarfile.CONTTYPE, "contiguous"),
        (b"Z", "kind b'Z'"),
    ],
)
def test_one_member_of_another_kind_refuses_all(kind: bytes, word: str) -> None:
    with pytest.raises(ValidationError, match=f"'bad' is .*{word}"):
        read(archive(("good", b"x"), of_kind(kind, "bad", "good")))


@pytest.mark.parametrize(
    ("names", "word"),
    [
        (["a", "b", "a"], "twice"),
        (["a", "./a"], "twice"),
        (["a", "a-b", "a/b"], "folder of 'a/b'"),
        (["a/b/c", "b", "a/b"], "folder of 'a/b/c'"),
    ],
)
def test_names_that_clash(names: list[str], word: str) -> None:
    with pytest.raises(ValidationError, match=word):
        read(archive(*[(name, b"") for name in names]))


def test_compressed_archives_are_refused_by_name() -> None:
    with pytest.raises(ValidationError, match="gzip"):
        read(gzip.compress(archive(("a", b"x"))))
    for mode in ("bz2", "xz"):
        file = io.BytesIO()
        tarfile.open(fileobj=file, mode=f"w:{mode}").close()
        with pytest.raises(ValidationError, match=mode.replace("bz2", "bzip2")):
            read(file.getvalue())


@pytest.mark.parametrize(
    "data", [b"", b"x", b"not a tar" * 100, bytes(512), Random(0).randbytes(10240)]
)
def test_what_is_no_archive(data: bytes) -> None:
    with pytest.raises(CorruptData, match=r"x\.tar"):
        read(data)


def test_pax_that_says_more_than_a_name() -> None:
    info = tarfile.TarInfo("a")
    for key in ("GNU.sparse.major", "hdrcharset"):
        info.pax_headers = {key: "1"}
        with pytest.raises(ValidationError, match=key):
            read(archive(info, form=tarfile.PAX_FORMAT))


def test_headers_for_no_member_and_twice() -> None:
    long = tar_header.encode(b"n" * 101, tar_header.FILE, 0)
    name, member = long[:1024], long[1024:]
    assert read(name + member + bytes(1024)) == {"n" * 101: b""}
    for data in (name + bytes(1024), name + name + member + bytes(1024), name * 5000):
        with pytest.raises(CorruptData):
            read(data)


CAPPED = [("a", b"x" * 10), ("b", b"y" * 20), ("c/d", b"")]


@pytest.mark.parametrize(
    ("caps", "word"),
    [
        (Caps(2, 100, 100, 0), "'c/d' is one member more than the 2"),
        (Caps(9, 19, 100, 0), "'b' has 20 bytes, not 19"),
        (Caps(9, 100, 29, 0), "'b' makes more than 29 bytes"),
    ],
)
def test_caps(caps: Caps, word: str) -> None:
    assert len(read(archive(*CAPPED), Caps(3, 20, 30, 0))) == 3
    with pytest.raises(LimitExceeded, match=word):
        read(archive(*CAPPED), caps)


def test_folders_that_names_imply_are_counted() -> None:
    deep = [(f"{n}/" + "a/" * 50 + "f", b"") for n in range(10)]
    caps = Caps(members=510, file_bytes=1, total_bytes=1, reserve=0)
    assert len(read(archive(*deep), caps)) == 10
    with pytest.raises(LimitExceeded, match="509 folders"):
        read(archive(*deep), Caps(509, 1, 1, 0))


def test_a_sparse_bomb_counts_with_its_full_size() -> None:
    bomb = tar_header.encode_sparse(b"bomb", 1 << 40, []) + bytes(1024)
    with pytest.raises(LimitExceeded, match=r"'bomb' has 1099511627776 bytes"):
        read(bomb)


def test_what_would_fill_the_disk_is_not_begun(folder: DiskStorage) -> None:
    written(folder, CONTENTS)
    free = folder.free_bytes()
    reader = TarReader.open(folder, "x.tar", Caps(1000, 1 << 30, 1 << 30, free + (1 << 40)))
    with pytest.raises(StorageFull, match="to stay free"):
        reader.unpack_all(folder, "out")
    with pytest.raises(StorageFull):
        reader.unpack(reader.members[0], folder, "a")
    assert folder.list("") == ["x.tar"]


@pytest.mark.parametrize(
    ("logical", "slots"),
    [
        (100, [(0, 101)]),
        (5000, [(4096, 512), (0, 512)]),
        (5000, [(0, 1024), (512, 512)]),
        (1, [((1 << 63) - 1, (1 << 63) - 1)]),
    ],
)
def test_runs_that_lie(logical: int, slots) -> None:
    with pytest.raises(CorruptData, match=r"runs of data|beyond"):
        read(tar_header.encode_sparse(b"f", logical, slots) + bytes(4096))


# -- damage -----------------------------------------------------------------------------------

GOOD = archive(
    ("a", b"abc"), of_kind(tarfile.DIRTYPE, "b"), ("b/c", b"d" * 600), (LONG, b"e"), ("é", b"f")
)
END = 512 * 2 + 512 + 512 * 3 + 512 * 4 + 512 * 2
"""Where the zeros begin that end it."""


def same_or_refused(data: bytes, same) -> None:
    try:
        same(read(data))
    except EdgeError as error:
        if "x.tar" not in str(error):
            raise


@pytest.mark.parametrize("length", range(0, END + 1024, 64))
def test_no_truncated_archive_is_taken(length: int) -> None:
    with pytest.raises(CorruptData, match=r"x\.tar"):
        read(GOOD[:length])


def test_every_flip_in_a_header_is_found() -> None:
    """Sums that flips leave as they are would be another matter: one bit always changes them."""
    offset = 0
    tested = 0
    good = read(GOOD)

    def equal(found: dict[str, bytes]) -> None:
        assert found == good

    while any(GOOD[offset : offset + 512]):
        header = tar_header.decode(GOOD[offset : offset + 512])
        for bit in range(512 * 8):
            damaged = bytearray(GOOD)
            damaged[offset + bit // 8] ^= 1 << bit % 8
            same_or_refused(bytes(damaged), equal)
            tested += 1
        offset += 512 + tar_header.padded(header.size)
    assert tested == 6 * 4096


@settings(max_examples=300)
@given(st.data())
def test_any_damage_is_refused_or_reads_within_the_rules(data) -> None:
    damaged = bytearray(data.draw(st.sampled_from([GOOD, SPARSE, PAX])))
    for _ in range(data.draw(st.integers(1, 4))):
        kind = data.draw(st.sampled_from(["set", "cut", "zero", "double"]))
        at = data.draw(st.integers(0, max(0, len(damaged) - 1)))
        if kind == "set" and damaged:
            damaged[at] = data.draw(st.integers(0, 255))
        elif kind == "cut":
            del damaged[at:]
        elif kind == "zero":
            damaged[at : at + 512] = bytes(len(damaged[at : at + 512]))
        else:
            damaged[at:at] = damaged[at // 512 * 512 : at // 512 * 512 + 512]

    def within(found: dict[str, bytes]) -> None:
        assert all(files.is_foreign_name(name) for name in found)

    same_or_refused(bytes(damaged), within)


def sparse_archive() -> bytes:
    storage = SimulatedStorage()
    written(storage, {"holes": holes()[:200_000], "b": b"b"}, sparse=True)
    return storage.read("x.tar")


SPARSE = sparse_archive()
PAX = archive(("é" * 60, b"x"), (LONG, b"y"), form=tarfile.PAX_FORMAT)
