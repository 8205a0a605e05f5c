"""The real disk: modes, locks, names, and every error of the system as a StorageFault."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.disk import files
from edge.disk import storage as storage_module
from edge.disk.storage import DiskStorage
from edge.errors import ShardLocked, StorageFault, StorageFull


@pytest.fixture
def storage(tmp_path: Path) -> DiskStorage:
    made = DiskStorage(tmp_path / "shard")
    made.mkdir("")
    return made


@pytest.fixture(params=[0o000, 0o077, 0o777], ids=oct)
def umask(request):
    before = os.umask(request.param)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


@pytest.mark.usefixtures("umask")
def test_modes_whatever_the_umask(tmp_path: Path) -> None:
    storage = DiskStorage(tmp_path / "above" / "shard")
    storage.lock()
    storage.mkdir("segments/00000001")
    for name in ("segments/00000001/a", "b"):
        storage.create(name).close()
    storage.append("c").close()
    storage.unlock()
    root = tmp_path / "above" / "shard"
    assert {mode(path) for path in root.rglob("*") if path.is_file()} == {0o600}
    assert {mode(path) for path in [root, *root.rglob("*")] if path.is_dir()} == {0o700}
    assert len(list(root.rglob("*"))) == 6


def test_nothing_is_made_by_looking(tmp_path: Path) -> None:
    storage = DiskStorage(tmp_path / "a" / "b")
    assert not storage.exists("manifest")
    assert storage.list("") == []
    assert list(tmp_path.iterdir()) == []


def test_a_root_that_is_not_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "dangling").symlink_to("nowhere")
    for name in ("file", "dangling"):
        with pytest.raises(StorageFault, match="not a folder"):
            DiskStorage(tmp_path / name)
    with pytest.raises(StorageFault):
        DiskStorage(tmp_path / "file" / "below").lock()


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "../x", "a/../../x", "a//b", "a/", ".hidden", "a\0b", "a\n", "ä", "a b"]
)
def test_only_names_inside_the_folder(storage: DiskStorage, name: str) -> None:
    for call in (storage.create, storage.read, storage.unlink, storage.remove_tree, storage.list):
        with pytest.raises(StorageFault, match="not the name"):
            call(name)


def test_links_are_not_followed(storage: DiskStorage, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_bytes(b"secret")
    os.symlink(target, f"{storage.path}/link")
    for call in (storage.read, storage.append, storage.map, storage.create):
        with pytest.raises(StorageFault):
            call("link")
    storage.remove_tree("link")
    assert target.read_bytes() == b"secret"


def test_remove_tree_stays_inside(storage: DiskStorage, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("x")
    storage.mkdir("segments/00000001")
    storage.create("segments/00000001/ids").close()
    os.symlink(outside, f"{storage.path}/segments/00000001/link")
    storage.remove_tree("segments")
    storage.remove_tree("segments")
    assert (outside / "kept").exists()
    assert storage.list("") == []


def test_descriptors_do_not_leak(storage: DiskStorage) -> None:
    def count() -> int:
        return len(os.listdir("/proc/self/fd"))

    before = count()
    storage.lock()
    for call in (storage.read, storage.map, storage.unlink, storage.size):
        with pytest.raises(StorageFault):
            call("missing")
    with pytest.raises(ShardLocked):
        DiskStorage(storage.path).lock()
    storage.create("a").close()
    with pytest.raises(StorageFault):
        storage.create("a")
    writer = storage.append("a")
    writer.close()
    writer.close()
    storage.sync_folder("")
    storage.pread("a", 0, 5)
    storage.unlock()
    assert count() == before


def test_descriptors_are_not_inherited(storage: DiskStorage) -> None:
    storage.lock()
    writer = storage.create("a")
    code = (
        "import os\n"
        "for name in os.listdir('/proc/self/fd'):\n"
        "    path = '/proc/self/fd/' + name\n"
        "    if os.path.lexists(path): print(os.readlink(path))"
    )
    command = [sys.executable, "-c", code]
    child = subprocess.run(command, capture_output=True, text=True, check=True, close_fds=False)
    assert "pipe:" in child.stdout
    assert storage.path not in child.stdout
    writer.close()
    storage.unlock()


# -- the lock -------------------------------------------------------------------------------------


def test_two_objects_exclude_each_other(storage: DiskStorage) -> None:
    other = DiskStorage(storage.path)
    storage.lock()
    storage.lock()
    with pytest.raises(ShardLocked, match=f"open in process {os.getpid()}"):
        other.lock()
    storage.unlock()
    storage.unlock()
    other.lock()
    with pytest.raises(ShardLocked):
        storage.lock()
    other.unlock()


def test_another_process_is_named_and_its_death_frees(storage: DiskStorage) -> None:
    code = (
        "import sys, signal; from edge.disk.storage import DiskStorage\n"
        "DiskStorage(sys.argv[1]).lock(); print('locked', flush=True); signal.pause()"
    )
    command = [sys.executable, "-c", code, storage.path]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "locked\n"
        with pytest.raises(ShardLocked, match=f"open in process {child.pid}"):
            storage.lock()
        child.kill()
    storage.lock()
    assert Path(storage.path, files.LOCK).read_text() == f"{os.getpid()}\n"
    storage.unlock()


@pytest.mark.parametrize("content", [b"", b"999999999\n", b"\xff\0garbage" * 9])
def test_what_the_lock_file_says_does_not_matter(storage: DiskStorage, content: bytes) -> None:
    Path(storage.path, files.LOCK).write_bytes(content)
    storage.lock()
    assert storage.read(files.LOCK) == b"%d\n" % os.getpid()
    storage.unlock()


def test_a_full_disk_can_still_be_locked(storage: DiskStorage, monkeypatch) -> None:
    def full(*args: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    storage.lock()
    with pytest.raises(ShardLocked, match="unknown"):
        DiskStorage(storage.path).lock()
    storage.unlock()


def test_a_read_only_disk_can_still_be_locked(storage: DiskStorage, monkeypatch) -> None:
    storage.create(files.LOCK).close()
    real = os.open

    def read_only(path: str, flags: int, *rest: int) -> int:
        if flags & (os.O_RDWR | os.O_WRONLY):
            raise OSError(errno.EROFS, "Read-only file system")
        return real(path, flags, *rest)

    monkeypatch.setattr(os, "open", read_only)
    storage.lock()
    with pytest.raises(ShardLocked):
        DiskStorage(storage.path).lock()
    storage.unlock()


# -- writing and reading --------------------------------------------------------------------------


def few_at_a_time(monkeypatch, name: str, most: int) -> None:
    """The system call takes at most `most` bytes at once."""
    real = getattr(os, name)

    def short(descriptor: int, buffers: list[bytes], *offset: int) -> int:
        joined = memoryview(b"".join(bytes(buffer) for buffer in buffers))
        return real(descriptor, [joined[:most]], *offset)

    monkeypatch.setattr(os, name, short)


@pytest.mark.parametrize("most", [1, 3, 7, 1000])
def test_short_writes_are_gone_on_with(storage: DiskStorage, monkeypatch, most: int) -> None:
    few_at_a_time(monkeypatch, "writev", most)
    few_at_a_time(monkeypatch, "pwritev", most)
    writer = storage.create("a")
    assert writer.write(b"", b"abc", memoryview(b"defgh"), bytearray(b"ij"), b"") == 10
    assert writer.write() == 0
    storage.overwrite("a", 2, b"CD", b"EFG")
    assert (storage.read("a"), writer.size) == (b"abCDEFGhij", 10)
    writer.close()


def test_short_reads_are_gone_on_with(storage: DiskStorage, monkeypatch) -> None:
    writer = storage.create("a")
    writer.write(bytes(range(100)))
    writer.close()
    real = os.preadv
    monkeypatch.setattr(
        os, "preadv", lambda descriptor, buffers, at: real(descriptor, [buffers[0][:7]], at)
    )
    assert storage.pread("a", 10, 50) == bytes(range(10, 60))
    assert storage.pread("a", 90, 50) == bytes(range(90, 100))
    assert storage.pread("a", 200, 50) == b""
    buffer = bytearray(60)
    assert storage.read_into("a", 50, memoryview(buffer)) == 50
    assert buffer == bytes(range(50, 100)) + bytes(10)


def test_a_write_that_goes_nowhere_is_a_fault(storage: DiskStorage, monkeypatch) -> None:
    writer = storage.create("a")
    monkeypatch.setattr(os, "writev", lambda *args: 0)
    with pytest.raises(StorageFault, match="took no byte"):
        writer.write(b"x")
    writer.close()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO])
def test_errors_keep_their_number_and_path(storage: DiskStorage, monkeypatch, number: int) -> None:
    writer = storage.create("a")

    def failing(*args: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "writev", failing)
    with pytest.raises(StorageFault, match=os.strerror(number)) as caught:
        writer.write(b"x")
    assert isinstance(caught.value, StorageFull) == (number != errno.EIO)
    assert (caught.value.errno, caught.value.path) == (number, f"{storage.path}/a")
    assert writer.size == 0
    writer.close()


def test_a_file_size_limit_is_storage_full(storage: DiskStorage) -> None:
    """For real, in a process of its own: an error it is, not the end of the process."""
    code = (
        "import resource, sys; from edge.disk.storage import DiskStorage\n"
        "from edge.errors import StorageFull\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "writer = DiskStorage(sys.argv[1]).create('a')\n"
        "try: writer.write(bytes(600), bytes(600))\n"
        "except StorageFull as error: print(type(error).__name__, writer.size)\n"
        "writer.truncate(writer.size); writer.write(b'good'); writer.sync()"
    )
    command = [sys.executable, "-c", code, storage.path]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "StorageFull 0\n"
    assert storage.read("a") == b"good"


def test_a_signal_does_not_break_a_write(storage: DiskStorage) -> None:
    seen: list[int] = []
    before = signal.signal(signal.SIGALRM, lambda number, frame: seen.append(number))
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
    try:
        writer = storage.create("a")
        block = bytes(1 << 20)
        rounds = 0
        while len(seen) < 20:
            writer.write(block, b"x")
            rounds += 1
        assert storage.read("a") == (block + b"x") * rounds
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    writer.close()


@pytest.mark.parametrize("call", ["writev", "fdatasync", "ftruncate"])
def test_a_writers_errors_are_faults(storage: DiskStorage, monkeypatch, call: str) -> None:
    writer = storage.create("a")

    def failing(*args: object) -> int:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, call, failing)
    does = {
        "writev": lambda: writer.write(b"x"),
        "fdatasync": writer.sync,
        "ftruncate": lambda: writer.truncate(0),
    }
    with pytest.raises(StorageFault, match="Input/output error"):
        does[call]()
    writer.close()


def test_every_storage_error_is_a_fault(storage: DiskStorage, monkeypatch) -> None:
    storage.create("a").close()
    storage.mkdir("folder")

    def failing(*args: object, **more: object) -> int:
        raise OSError(errno.EIO, "Input/output error")

    names = ("open", "mkdir", "rename", "unlink", "stat", "lstat", "listdir", "statvfs", "fsync")
    for name in names:
        monkeypatch.setattr(storage_module.os, name, failing)
    calls = [
        lambda: storage.create("b"),
        lambda: storage.append("a"),
        lambda: storage.read("a"),
        lambda: storage.pread("a", 0, 1),
        lambda: storage.read_into("a", 0, memoryview(bytearray(1))),
        lambda: storage.map("a"),
        lambda: storage.size("a"),
        lambda: storage.exists("a"),
        lambda: storage.list("folder"),
        lambda: storage.mkdir("new"),
        lambda: storage.rename("a", "b"),
        lambda: storage.unlink("a"),
        lambda: storage.remove_tree("a"),
        lambda: storage.truncate("a", 0),
        lambda: storage.overwrite("a", 0, b"x"),
        lambda: storage.sync_folder(""),
        storage.free_bytes,
        storage.lock,
    ]
    for call in calls:
        with pytest.raises(StorageFault, match="Input/output error"):
            call()


def test_free_bytes_are_what_the_system_says(storage: DiskStorage) -> None:
    figures = os.statvfs(storage.path)
    assert abs(storage.free_bytes() - figures.f_bavail * figures.f_frsize) < 1 << 30


def test_an_empty_file_maps_to_nothing(storage: DiskStorage) -> None:
    storage.create("a").close()
    assert storage.map("a") == b""


# -- names ----------------------------------------------------------------------------------------


@given(st.integers(1, 10**18))
def test_log_numbers_come_back_from_their_names(number: int) -> None:
    assert files.log_number(files.log_file("", number)) == number


@pytest.mark.parametrize(
    "name", ["0.log", "00000000.log", "000000001.log", "1.log", "00000001.lo", "synced", "x.log"]
)
def test_other_names_are_no_logs(name: str) -> None:
    assert files.log_number(name) is None


@pytest.mark.parametrize("role", ["", ".", "..", "A", "a/b", "ä", "x" * 65, "a b"])
def test_roles_are_plain_words(role: str) -> None:
    with pytest.raises(ValueError, match="role"):
        files.segment_file(1, role)
