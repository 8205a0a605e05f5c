"""The program in examples/drop_in runs on either engine, and both say the same."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples" / "drop_in"
PATIENCE = 300.0
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "kernels")])}
WITHOUT = """
import runpy, sys
sys.modules[{hidden!r}] = None  # importing it fails
sys.argv = [{program!r}]
runpy.run_path({program!r}, run_name="__main__")
"""


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", *arguments],
        env={**ENVIRONMENT, **environment},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def said(engine: str) -> list[str]:
    """What the program prints on an engine, the other one being out of reach."""
    hidden = {"edge.blocking": "qdrant_edge", "qdrant_edge": "edge"}[engine]
    code = WITHOUT.format(hidden=hidden, program=str(EXAMPLES / "patrol.py"))
    done = run("-c", code, ENGINE=engine)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_both_engines_say_the_same() -> None:
    ours = said("edge.blocking")
    assert ours == said("qdrant_edge")
    titles = [line for line in ours if line.startswith("-- ")]
    assert len(titles) >= 20
    assert len(ours) >= 90
    for title in titles[:-1]:
        answers = ours[ours.index(title) + 1 :]
        assert answers[0].startswith("   "), title


def test_they_are_shown_side_by_side() -> None:
    done = run(str(EXAMPLES / "side_by_side.py"))
    assert done.returncode == 0, done.stderr
    first, *lines, last = done.stdout.splitlines()
    assert first.split() == ["edge.blocking", "qdrant_edge"]
    assert last == f"{len(lines)} lines are the same, 0 differ"


@pytest.mark.parametrize("engine", ["edge.blocking", "qdrant_edge"])
def test_a_difference_is_marked(engine: str, tmp_path: Path) -> None:
    """With a program that says who answers."""
    for name in ("side_by_side.py",):
        (tmp_path / name).write_text((EXAMPLES / name).read_text(encoding="utf-8"), "utf-8")
    program = f"import os\nprint('same')\nif os.environ['ENGINE'] == {engine!r}: print('other')\n"
    (tmp_path / "patrol.py").write_text(program, "utf-8")
    done = run(str(tmp_path / "side_by_side.py"), PYTHONIOENCODING="utf-8")
    assert done.returncode == 1
    assert done.stdout.splitlines()[-1] == "1 lines are the same, 1 differ"
    assert "≠" in done.stdout.splitlines()[2]


def test_one_variable_chooses_the_engine() -> None:
    """No other line of the program knows their names."""
    source = (EXAMPLES / "patrol.py").read_text(encoding="utf-8")
    tree = ast.parse(source)
    code = source.replace(ast.get_docstring(tree, clean=False) or "", "")
    naming = [
        line for line in code.splitlines() if "edge.blocking" in line or "qdrant" in line.lower()
    ]
    assert [line.split("#")[0].strip() for line in naming] == [
        'ENGINE = os.environ.get("ENGINE", "edge.blocking")',
        "q: Any = import_module(ENGINE)",
    ]


@pytest.mark.parametrize("page", [EXAMPLES / "README.md", ROOT / "docs" / "migration.md"])
def test_pages_point_to_what_there_is(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8"))
    assert links
    assert [link for link in links if not (page.parent / link).exists()] == []
