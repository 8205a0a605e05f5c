"""The shape of the project: packaging, floors and walls, and the rules that a machine can check."""

from __future__ import annotations

import ast
import importlib.metadata
import inspect
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from types import ModuleType

import edge
import edge.blocking

ROOT = Path(__file__).resolve().parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PACKAGES = {"edge": ROOT / "edge", "edge_kernels": ROOT / "kernels" / "edge_kernels"}
SOURCES = sorted(path for folder in PACKAGES.values() for path in folder.rglob("*.py"))
LAYERS = [
    [name.strip(" ()") for name in layer.split("|")]
    for contract in PYPROJECT["tool"]["importlinter"]["contracts"]
    if contract["id"] == "floors"
    for layer in contract["layers"]
]
ABOVE_THE_STORE = ("edge/actors/", "edge/shard.py", "edge/endpoints/", "edge/sync/", "edge/cli/")
TREES = {
    path.relative_to(ROOT).as_posix(): ast.parse(path.read_text(encoding="utf-8"))
    for path in SOURCES
}


def imported(tree: ast.Module) -> set[str]:
    """Return the top-level names of all modules that a file imports."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.partition(".")[0])
    return found


def called(tree: ast.Module) -> set[str]:
    """Return the bare names that a file calls."""
    calls = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return {call.id for call in calls if isinstance(call, ast.Name)}


def swallowed(tree: ast.Module) -> list[int]:
    """Return the lines where everything is caught and not raised again."""
    handlers = [node for node in ast.walk(tree) if isinstance(node, ast.ExceptHandler)]
    return [
        handler.lineno
        for handler in handlers
        if handler.type is None
        or (
            isinstance(handler.type, ast.Name) and handler.type.id in {"Exception", "BaseException"}
        )
        if not isinstance(handler.body[-1], ast.Raise)
    ]


# ---- packaging ----


def test_the_installed_distribution_is_this_one() -> None:
    metadata = importlib.metadata.metadata("edgeshard")
    assert metadata["Version"] == PYPROJECT["project"]["version"]
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Requires-Python"] == ">=3.11"


def test_a_robot_installs_few_dependencies() -> None:
    names = {line.split(">")[0] for line in PYPROJECT["project"]["dependencies"]}
    assert {"anyio", "msgspec", "numba", "numpy", "pyzmq"} <= names
    assert len(names) <= 7


def test_the_changelog_knows_the_version() -> None:
    version = PYPROJECT["project"]["version"]
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"## [{version}]" in text or "## [Unreleased]" in text


def test_every_folder_of_source_is_a_package() -> None:
    folders = {path.parent for path in SOURCES}
    assert [folder for folder in folders if not (folder / "__init__.py").is_file()] == []
    assert all((folder / "py.typed").is_file() for folder in PACKAGES.values())


def test_the_wheel_holds_all_source_and_nothing_else(tmp_path: Path) -> None:
    # Built from links in a folder of its own: setuptools leaves a build folder where it works.
    for name in ("pyproject.toml", "README.md", "LICENSE", "edge", "kernels"):
        (tmp_path / name).symlink_to(ROOT / name)
    build = "from setuptools import build_meta; print(build_meta.build_wheel('out'))"
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", build], cwd=tmp_path, check=True, capture_output=True
    )
    (wheel,) = (tmp_path / "out").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    wanted = {
        f"{package}/{path.relative_to(folder).as_posix()}"
        for package, folder in PACKAGES.items()
        for pattern in ("*.py", "py.typed", "*.md", "*.txt")
        for path in folder.rglob(pattern)
    }
    assert names == wanted


# ---- the public face ----


def test_every_public_name_is_there_once() -> None:
    assert len(edge.__all__) == len(set(edge.__all__))
    assert [name for name in edge.__all__ if not hasattr(edge, name)] == []


def test_nothing_else_is_public() -> None:
    public = {name for name in vars(edge) if not name.startswith("_")}
    modules = {name for name in public if isinstance(getattr(edge, name), ModuleType)}
    assert public - modules - set(edge.__all__) <= {"version"}  # what __version__ is made by


def test_both_facades_have_the_same_names() -> None:
    names = set(edge.__all__) - {"__version__"}
    assert sorted(name for name in names if not hasattr(edge.blocking, name)) == []
    same = names - {"EdgeShard"}
    assert [name for name in same if getattr(edge, name) is not getattr(edge.blocking, name)] == []


def test_both_shards_have_the_same_methods_with_the_same_arguments() -> None:
    def methods(shard: type) -> dict[str, list[str]]:
        return {
            name: list(inspect.signature(member).parameters)
            for name, member in inspect.getmembers(shard, callable)
            if not name.startswith("_")
        }

    awaited, plain = methods(edge.EdgeShard), methods(edge.blocking.EdgeShard)
    awaited.pop("open")  # a plain shard is open as soon as it is made
    for name in ("follow", "outbox"):
        awaited.pop(name)  # wait for what others write, for which a plain shard has no loop
    assert awaited == plain


# ---- floors and walls (what import-linter does not see) ----


def test_every_room_has_its_floor() -> None:
    rooms = {
        f"edge.{path.stem}"
        for path in (ROOT / "edge").iterdir()
        if (path.suffix == ".py" or (path / "__init__.py").is_file()) and path.stem != "__init__"
    }
    floors = [name for layer in LAYERS for name in layer if name.startswith("edge.")]
    assert len(floors) == len(set(floors))
    assert sorted(rooms - set(floors)) == []


def test_every_file_says_what_it_is() -> None:
    first_lines = {
        name: (ast.get_docstring(tree) or "?").splitlines()[0] for name, tree in TREES.items()
    }
    assert [
        name for name, line in first_lines.items() if not line.endswith((".", ":", ";", ","))
    ] == []


def test_every_file_has_a_name_of_its_own() -> None:
    vague = {"utils", "util", "helpers", "base", "common", "misc", "manager"}
    assert [name for name in TREES if vague & set(name.removesuffix(".py").split("/"))] == []


def test_nothing_is_pickled() -> None:
    picklers = {"pickle", "cPickle", "dill", "cloudpickle", "marshal", "shelve"}
    assert [name for name, tree in TREES.items() if imported(tree) & picklers] == []


def test_only_the_disk_room_opens_files() -> None:
    openers = {"io", "mmap", "fcntl", "shutil", "tempfile"}
    offenders = [
        name
        for name, tree in TREES.items()
        if not name.startswith("edge/disk/")
        and (imported(tree) & openers or "open" in called(tree))
    ]
    assert offenders == []


def test_only_actors_catch_everything() -> None:
    offenders = [
        f"{name}:{line}"
        for name, tree in TREES.items()
        if not name.startswith(ABOVE_THE_STORE)
        for line in swallowed(tree)
    ]
    assert offenders == []
