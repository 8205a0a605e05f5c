"""Doors and routines: called from any thread, cached where that is possible, stamped with all their
sources.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edge_kernels import distance, floats, hnsw_search, jit, maxsim, measure

WORDS = st.integers(-(2**63), 2**63 - 1)


@jit.door
def _difference(block):
    return jit.load_i64(block) - jit.load_i64(block + 8)


@jit.door
def _bits(block):
    word = jit.load_i64(block)
    return jit.ctpop(word) * 1000 + jit.cttz(word)


@jit.door
def _shifted(block):
    return jit.shift_right(jit.load_i64(block), jit.load_i64(block + 8))


@jit.door
def _copy_and_fill(block):
    start, size = jit.load_i64(block), jit.load_i64(block + 8)
    jit.move_bytes(start + 3, start, size)
    jit.fill_bytes(start, 0x1FF, 3)
    return 0


def test_calls_from_many_threads_do_not_share_their_arguments():
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda i: jit.call(_difference, 3 * i, i), range(4000)))
    assert results == [2 * i for i in range(4000)]


@given(WORDS)
def test_bit_counts(word):
    pattern = word % 2**64
    lowest = (pattern & -pattern).bit_length() - 1 if pattern else 64
    assert jit.call(_bits, word) == pattern.bit_count() * 1000 + lowest


@given(WORDS, st.integers(0, 63))
def test_logical_shift(word, by):
    assert jit.call(_shifted, word, by) % 2**64 == (word % 2**64) >> by


def test_moves_may_overlap_and_fills_take_the_low_byte():
    values = np.arange(16, dtype=np.uint8)
    jit.call(_copy_and_fill, jit.address_of(values), 10)
    assert values.tolist() == [255] * 3 + list(range(10)) + [13, 14, 15]


def test_address_is_that_of_the_first_element():
    values = np.arange(12, dtype=np.float32)
    assert jit.address_of(values) == values.ctypes.data
    assert jit.address_of(values[4:]) == values.ctypes.data + 16


def test_a_door_works_where_no_cache_can_be_written():
    scope = {}
    source = "def doubled(block):\n    return 2 * block\n"
    exec(compile(source, "<no file>", "exec"), scope)
    assert jit.door(scope["doubled"])(21) == 42


def test_a_door_is_stale_when_a_file_it_includes_changes():
    files = jit.sources_of(hnsw_search.search_door.py_func)
    assert {jit.__file__, measure.__file__, hnsw_search.__file__} <= files
    assert files.isdisjoint({distance.__file__, floats.__file__})  # routines are entered, not held


def test_a_routine_is_stale_when_a_file_it_includes_changes():
    """Also one whose functions it holds only by way of another function's closure."""
    files = jit.sources_of(maxsim.multi_float32_distances.py_func)
    assert {floats.__file__, measure.__file__, maxsim.__file__} <= files


@jit.routine
def _nth(a, b, c, d, e, f, g):
    return a + 10 * b + 100 * c + 1000 * d + 10_000 * e + 100_000 * f + 1_000_000 * g


@jit.door
def _enter_nth(block):
    return jit.enter(jit.load_i64(block), 1, 2, 3, 4, 5, 6, jit.load_i64(block + 8))


def test_a_routine_is_entered_by_its_address():
    entry = jit.entry_of(_nth)
    assert jit.entry_of(_nth) == entry
    assert jit.call(_enter_nth, entry, -7) == 654_321 - 7_000_000


@jit.door
def _count_under_lock(block):
    counter = jit.load_i64(block + 8)
    for _ in range(jit.load_i64(block + 16)):
        jit.lock(jit.load_i64(block))
        jit.store_i64(counter, jit.load_i64(counter) + 1)
        jit.unlock(jit.load_i64(block))
    return 0


def test_a_lock_lets_one_thread_in_at_a_time():
    byte, counter = np.zeros(1, np.uint8), np.zeros(1, np.int64)
    words = jit.address_of(byte), jit.address_of(counter), 200_000
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda _: jit.call(_count_under_lock, *words), range(4))) == [0] * 4
    assert (counter[0], byte[0]) == (800_000, 0)


def test_half_floats_have_an_address():
    values = np.zeros((3, 4), np.float16)
    assert jit.address_of_any(values) == values.ctypes.data
    assert jit.address_of_any(values.view(np.int16)) == values.ctypes.data


def test_all_doors_compile():
    assert jit.compile_doors() >= 4


def test_what_a_factory_makes_has_a_name_of_its_own():
    """Machine code of several processes is linked by name."""

    def factory(step):
        @jit.inner
        def added(x):
            return x + step

        return added

    names = [factory(step).py_func.__qualname__ for step in (1, 2, 1)]
    assert names[0] != names[1]
    assert names[0] == names[2]
    assert factory(1).py_func.__qualname__ not in names, "made at another line"
