"""The command line: edgeshard serve PATH --query ADDRESS ...

Invariants: what goes wrong is one line on standard error and the exit status 1 (a wrong argument: 2
and the usage); SIGINT and SIGTERM close doors and shard, which is status 0.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from edge.cli import serve
from edge.errors import EdgeError


def parser() -> argparse.ArgumentParser:
    """The arguments of all commands."""
    found = argparse.ArgumentParser(
        prog="edgeshard", description="An embedded vector search engine for robots."
    )
    commands = found.add_subparsers(dest="command", required=True, metavar="COMMAND")
    serve.add_arguments(
        commands.add_parser(
            "serve", help="open a shard and its doors", description=serve.DESCRIPTION
        )
    )
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return its exit status."""
    asked = parser().parse_args(arguments)
    try:
        asked.run(asked)
    except EdgeError as error:
        print(f"edgeshard: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0
