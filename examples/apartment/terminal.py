"""Words for a person: a progress bar and a little colour; plain lines where nobody watches.

Colour is left out where the output is not a terminal or NO_COLOR is set.
"""

from __future__ import annotations

import os
import sys

WIDTH = 32
WATCHED = sys.stdout.isatty()
COLOURED = WATCHED and "NO_COLOR" not in os.environ


def styled(code: str, words: str) -> str:
    """Return the words in a style of the terminal."""
    return f"\x1b[{code}m{words}\x1b[0m" if COLOURED else words


def bold(words: str) -> str:
    """Return the words in bold."""
    return styled("1", words)


def dim(words: str) -> str:
    """Return the words in a fainter colour."""
    return styled("2", words)


def good(words: str) -> str:
    """Return the words in green."""
    return styled("32", words)


def bad(words: str) -> str:
    """Return the words in red."""
    return styled("31", words)


class Progress:
    """A bar on the last line. `say` prints above it. Where nobody watches, a line each quarter."""

    def __init__(self, total: int, what: str) -> None:
        self.total = total
        self.what = what
        self.done = 0
        self.quarter = 0

    def advance(self, count: int) -> None:
        """Count what was done since."""
        self.done += count
        if WATCHED:
            self.draw()
        elif self.done * 4 // self.total > self.quarter:
            self.quarter = self.done * 4 // self.total
            print(f"  {self.done:,} of {self.total:,} {self.what}", flush=True)

    def draw(self) -> None:
        """Draw the bar over the last line."""
        filled = WIDTH * self.done // self.total
        bar = "━" * filled + dim("━" * (WIDTH - filled))
        sys.stdout.write(f"\r\x1b[K  {bar} {self.done:,} of {self.total:,} {self.what}")
        sys.stdout.flush()

    def say(self, words: str) -> None:
        """Print above the bar."""
        if WATCHED:
            sys.stdout.write("\r\x1b[K")
        print(words, flush=True)
        if WATCHED:
            self.draw()

    def finish(self) -> None:
        """Leave the bar behind."""
        if WATCHED:
            sys.stdout.write("\r\x1b[K")
            sys.stdout.flush()
