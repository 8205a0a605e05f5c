"""The ROS 2 packages as far as they can be held to their word without ROS.

Their nodes are tested with ROS by `make ros2`; here are the packages' metadata, the launch files
(read, not executed), and that the engine knows nothing of ROS.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

import edge

ROOT = Path(__file__).resolve().parents[2]
ROS2 = ROOT / "examples" / "ros2"
INTERFACES = ROS2 / "edge_memory_interfaces"
NODES = ROS2 / "edge_memory_ros"
MODULES = NODES / "edge_memory_ros"
SOURCES = sorted([*NODES.rglob("*.py")])
LAUNCHES = sorted((NODES / "launch").glob("*.launch.py"))
ROSDEP = {"numpy": "python3-numpy", "pytest": "python3-pytest"}
NOT_ROS = {"edge", "edge_memory_ros", "harness", "setuptools"}
"""What has no package.xml: ours, and what comes from the package index."""


def tree(path: Path) -> ast.Module:
    """A file's syntax tree."""
    return ast.parse(path.read_text(encoding="utf-8"))


def calls(path: Path, *names: str) -> Iterator[dict[str, ast.expr]]:
    """The keyword arguments of every call of one of these names."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in names:
            yield {keyword.arg or "": keyword.value for keyword in node.keywords}


def imported(path: Path) -> set[str]:
    """Top-level names of what a file imports from elsewhere."""
    found = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return found


def manifest(package: Path) -> ElementTree.Element:
    """A package.xml."""
    return ElementTree.parse(package / "package.xml").getroot()


def depends(package: Path, *kinds: str) -> set[str]:
    """The packages that a package.xml names as these kinds of dependency."""
    return {found.text or "" for kind in kinds for found in manifest(package).iter(kind)}


def executables() -> dict[str, Path]:
    """The console scripts of setup.py, and the files that they run."""
    text = (NODES / "setup.py").read_text(encoding="utf-8")
    found = re.findall(r"(\w+) = \{PACKAGE\}\.(\w+):main", text)
    return {name: MODULES / f"{module}.py" for name, module in found}


def node_names(path: Path) -> set[str]:
    """The node names that a file gives in super().__init__."""
    found = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "super().__init__":
            found |= {arg.value for arg in node.args if isinstance(arg, ast.Constant)}
    return found


@pytest.mark.parametrize("package", [INTERFACES, NODES], ids=lambda path: path.name)
def test_metadata(package: Path) -> None:
    found = manifest(package)
    assert found.get("format") == "3"
    assert found.findtext("name") == package.name
    assert found.findtext("version") == "0.1.0"
    assert found.findtext("license") == "Apache-2.0"
    assert "@" in (found.find("maintainer").attrib["email"])  # type: ignore[union-attr]
    assert (package / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()


def test_setup_says_what_the_manifest_says() -> None:
    (said,) = calls(NODES / "setup.py", "setup")
    found = manifest(NODES)
    for key in ("version", "license"):
        assert ast.literal_eval(said[key]) == found.findtext(key)
    assert (NODES / "resource" / "edge_memory_ros").read_bytes() == b""
    assert found.findtext("export/build_type") == "ament_python"


def test_every_interface_is_built() -> None:
    files = {path.relative_to(INTERFACES).as_posix() for path in INTERFACES.glob("*/*.*")}
    text = (INTERFACES / "CMakeLists.txt").read_text(encoding="utf-8")
    listed = re.findall(r'"(\w+/\w+\.\w+)"', text)
    assert set(listed) == {name for name in files if name.endswith((".msg", ".srv", ".action"))}
    assert listed == sorted(listed)
    assert manifest(INTERFACES).findtext("member_of_group") == "rosidl_interface_packages"


def test_interfaces_depend_on_what_they_use() -> None:
    used = set()
    for path in INTERFACES.glob("*/*.*"):
        for line in path.read_text(encoding="utf-8").splitlines():
            used |= set(re.findall(r"^(\w+)/\w+", line))
    assert used - {"edge_memory_interfaces"} == depends(INTERFACES, "depend") - {"action_msgs"}


def test_nodes_depend_on_what_they_import() -> None:
    test_files = {path for path in SOURCES if "test" in path.relative_to(NODES).parts}
    stdlib = __import__("sys").stdlib_module_names
    for files, kinds in (
        ({*SOURCES} - test_files, ("exec_depend",)),
        (test_files, ("exec_depend", "test_depend")),
    ):
        names = {name for path in files for name in imported(path)} - NOT_ROS - stdlib
        missing = {ROSDEP.get(name, name) for name in names} - depends(NODES, *kinds)
        assert missing == set()


def test_every_executable_has_a_main_that_takes_arguments() -> None:
    assert {*executables()} == {"memory_node", "query_node", "source_node"}
    for path in executables().values():
        (main,) = (
            node
            for node in tree(path).body
            if isinstance(node, ast.FunctionDef) and node.name == "main"
        )
        assert [arg.arg for arg in main.args.args] == ["args"]
        assert len(main.args.defaults) == 1


@pytest.mark.parametrize("path", LAUNCHES, ids=lambda path: path.name)
def test_launch_files_start_nodes_that_exist_by_their_names(path: Path) -> None:
    started = list(calls(path, "Node", "LifecycleNode"))
    assert started
    for arguments in started:
        assert ast.literal_eval(arguments["package"]) == "edge_memory_ros"
        executable = executables()[ast.literal_eval(arguments["executable"])]
        assert ast.literal_eval(arguments["name"]) in node_names(executable)


@pytest.mark.parametrize("path", LAUNCHES, ids=lambda path: path.name)
def test_launch_files_name_files_that_are_installed(path: Path) -> None:
    literals = [
        node.value
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    for name in literals:
        if name.endswith(".yaml") and "/" not in name:
            assert (NODES / "config" / name).is_file()
        elif name.endswith(".launch.py") and "\n" not in name:
            assert (NODES / "launch" / name).is_file()
    functions = {node.name for node in tree(path).body if isinstance(node, ast.FunctionDef)}
    assert "generate_launch_description" in functions


def test_launch_files_declare_every_argument_that_they_use() -> None:
    for path in LAUNCHES:
        names: dict[str, set[str]] = {"DeclareLaunchArgument": set(), "LaunchConfiguration": set()}
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in names:
                names[ast.unparse(node.func)].add(ast.literal_eval(node.args[0]))
        assert names["DeclareLaunchArgument"] == names["LaunchConfiguration"]


@pytest.mark.parametrize("path", sorted((NODES / "config").glob("*.yaml")), ids=lambda p: p.name)
def test_config_files_are_for_nodes_that_exist(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    named = re.findall(r"^(\w+):\n  ros__parameters:\n", text, re.MULTILINE)
    assert named
    known = {name for file in executables().values() for name in node_names(file)}
    assert {*named} <= known
    assert len(re.findall(r"^\S", re.sub(r"^#.*\n", "", text, flags=re.MULTILINE), re.M)) == len(
        named
    )


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_every_source_says_its_licence(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.startswith("# Copyright 2026 The edgeshard contributors\n")
    assert 'Licensed under the Apache License, Version 2.0 (the "License");' in text


def test_the_engine_knows_nothing_of_ros() -> None:
    ros = depends(NODES, "exec_depend", "test_depend") - {*ROSDEP.values()}
    assert "rclpy" in ros
    engine = [path for folder in ("edge", "kernels") for path in (ROOT / folder).rglob("*.py")]
    assert Path(edge.__file__) in engine
    for path in engine:
        assert not imported(path) & ros, path
