"""What all tests share: hypothesis profiles, and a guard against what a test leaves behind.

Profiles: `dev` (the default) is short; `ci` (where CI is set) draws more, and the same examples
every time; `deep` is for a long look by hand: pytest --hypothesis-profile=deep.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

# A shared machine may be slow at any moment, which says nothing about the code.
settings.register_profile(
    "dev", max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile(
    "ci", settings.get_profile("dev"), max_examples=80, derandomize=True, print_blob=True
)
settings.register_profile("deep", settings.get_profile("dev"), max_examples=2_000, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "dev")

THREAD_GRACE_SECONDS = 5.0


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """Fail a test whose threads or child processes outlive it. (Open files fail as warnings do.)"""
    before = set(threading.enumerate())
    yield
    later = [thread for thread in threading.enumerate() if thread not in before]
    for thread in later:
        thread.join(THREAD_GRACE_SECONDS)
    assert [thread.name for thread in later if thread.is_alive()] == []
    assert multiprocessing.active_children() == []
