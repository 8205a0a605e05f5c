"""Exports of what changed: they hold what the receiver lacks, and no more, and the real engine has
the same points afterwards."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.model.config import EdgeConfig
from edge.model.schema import PayloadSchemaType
from edge.model.update import UpdateOperation
from edge.model.vector_params import Distance
from tests.congruence.histories import FEW
from tests.qdrant.copies import (
    DENSE,
    EVERY_KIND,
    ONE,
    Copy,
    New,
    any_id,
    files_sent,
    points,
)

U = UpdateOperation
REPORTED = [False, True]
"""Whether the receiver's own report is what an export begins from, or our last manifest."""

SMALL = {"id_tracker.deleted", "payload_index/config.json"}


def based(copy: Copy, manifest: dict, reported: bool) -> dict:
    return copy.theirs.snapshot_manifest() if reported else manifest


def start(new: New, config: EdgeConfig) -> tuple[Copy, dict]:
    """Two built segments and a tail, with a copy of them."""
    copy = new(config)
    copy.tell(U.create_field_index("number", PayloadSchemaType.Integer))
    copy.tell(U.upsert_points(points(config, range(40))))
    copy.seal()
    copy.tell(U.upsert_points(points(config, range(40, 60))))
    copy.seal()
    copy.tell(U.upsert_points(points(config, range(60, 70))))
    return copy, copy.copy("folder")


def built(copy: Copy, manifest: dict) -> list[str]:
    """The copies of built segments, in their order: each segment has one."""
    return list(manifest)[: len([v for v in copy.view.segments if v.segment.entry is not None])]


Act = Callable[[Copy], None]

CHANGES: dict[str, tuple[Act, list[set[str]]]] = {
    "nothing": (lambda copy: None, [set(), set()]),
    "new points": (
        lambda copy: copy.tell(U.upsert_points(points(copy.view.config, range(70, 80)))),
        [{"payload_index/config.json"}] * 2,
    ),
    "deletes": (
        lambda copy: copy.tell(U.delete_points([any_id(n) for n in (1, 2, 3)])),
        [SMALL, {"payload_index/config.json"}],
    ),
    "updates": (
        lambda copy: copy.tell(U.upsert_points(points(copy.view.config, range(30, 45)))),
        [SMALL, SMALL],
    ),
    "payload edits": (
        lambda copy: copy.tell(
            U.set_payload([any_id(n) for n in (5, 41, 65)], {"edited": {"a": [None]}})
        ),
        [SMALL, SMALL],
    ),
    "payloads taken away": (
        lambda copy: copy.tell(U.clear_payload([any_id(n) for n in range(50, 69)])),
        [{"payload_index/config.json"}, SMALL],
    ),
    "another index": (
        lambda copy: copy.tell(U.create_field_index("text", PayloadSchemaType.Text)),
        [{"payload_index/config.json"}] * 2,
    ),
    "an index less": (
        lambda copy: copy.tell(U.delete_field_index("number")),
        [{"payload_index/config.json"}] * 2,
    ),
}


@pytest.mark.parametrize("reported", REPORTED)
@pytest.mark.parametrize("change", CHANGES)
def test_what_changed_is_sent(new: New, change: str, reported: bool) -> None:
    copy, manifest = start(new, EVERY_KIND)
    segments = built(copy, manifest)
    act, expected = CHANGES[change]
    since = based(copy, manifest, reported)
    act(copy)
    names, after = copy.send(since)
    copy.compare_everything()
    copy.compare_schema()
    sent = files_sent(names)
    assert [sent[segment] for segment in segments] == expected
    assert f"wal/closed-{copy.view.sequence + 1}" in names
    copy.restart_theirs()
    copy.compare_everything()
    names, again = copy.send(based(copy, after, reported))
    assert again == after
    assert set().union(*files_sent(names).values()) == set()
    copy.compare_everything()


@pytest.mark.parametrize("reported", REPORTED)
def test_a_tail_that_did_not_change_is_not_sent(new: New, reported: bool) -> None:
    copy, manifest = start(new, EVERY_KIND)
    copy.tell(U.delete_points([any_id(1)]))
    sent = files_sent(copy.send(based(copy, manifest, reported))[0])
    assert sorted(map(len, sent.values())) == [1, 1, 2]


@pytest.mark.parametrize("reported", REPORTED)
def test_segments_that_were_merged(new: New, reported: bool) -> None:
    """New ones come whole, and the old ones go."""
    copy, manifest = start(new, EVERY_KIND)
    copy.tell(U.delete_points([any_id(n) for n in range(10, 30)]))
    since = based(copy, manifest, reported)
    assert copy.merge()
    names, after = copy.send(since)
    copy.compare_everything()
    assert not after.keys() & manifest.keys()
    assert after.keys() == files_sent(names).keys()
    assert copy.theirs.snapshot_manifest().keys() - after.keys() != manifest.keys()


@pytest.mark.parametrize("reported", REPORTED)
def test_vector_names_that_come_and_go(new: New, reported: bool) -> None:
    """The receiver keeps its own config when it is updated, so it is told too."""
    config = EdgeConfig({"old": DENSE[""], "kept": DENSE["half"]})
    copy, manifest = start(new, config)
    first = built(copy, manifest)[0]
    copy.update(U.create_dense_vector("new", 3, Distance.Dot))
    copy.tell(U.upsert_points(points(copy.view.config, range(70, 80))))
    names, manifest = copy.send(based(copy, manifest, reported))
    copy.compare_everything()
    assert folders(files_sent(names)[first]) == {"payload_index", "vector_storage-new"}
    copy.update(U.delete_vector_name("old"))
    names, manifest = copy.send(based(copy, manifest, reported))
    copy.compare_everything()
    assert not {name for name in manifest[first]["file_versions"] if "old" in name}
    copy.update(U.create_dense_vector("old", 5, Distance.Euclid))
    copy.tell(U.upsert_points(points(copy.view.config, range(5, 75))))
    names, manifest = copy.send(based(copy, manifest, reported))
    copy.compare_everything()
    assert "vector_storage-old" in folders(files_sent(names)[first])
    copy.restart_theirs()
    copy.compare_everything()


def folders(names: set[str]) -> set[str]:
    return {name.partition("/")[0] for name in names if "/" in name}


def test_a_shard_that_was_emptied(new: New) -> None:
    copy, manifest = start(new, ONE)
    copy.tell(U.delete_points([any_id(n) for n in range(70)]))
    _, manifest = copy.send(manifest)
    assert manifest == {}
    copy.compare()
    copy.tell(U.upsert_points(points(ONE, range(3))))
    copy.send(manifest)
    copy.compare_everything()


@pytest.mark.parametrize("reported", REPORTED)
def test_the_receiver_goes_on_where_it_is_told_to(new: New, reported: bool) -> None:
    """An operation that comes after a partial snapshot is never one that was seen."""
    copy, manifest = start(new, ONE)
    copy.tell(U.delete_points([any_id(1)]))
    copy.send(based(copy, manifest, reported))
    for number in (2, 41, 65):
        copy.update(U.set_payload([any_id(number)], {"after": number}))
    copy.compare_everything()
    copy.restart_theirs()
    copy.compare_everything()


CHANGE = st.one_of(
    st.tuples(st.just("upsert"), st.integers(0, 60), st.integers(1, 25)),
    st.tuples(st.just("delete"), st.integers(0, 60), st.integers(1, 25)),
    st.tuples(st.just("edit"), st.integers(0, 60), st.integers(1, 25)),
    st.tuples(st.sampled_from(["seal", "merge", "send", "send reported"])),
)


@FEW
@given(changes=st.lists(CHANGE, max_size=12))
def test_any_history(new: New, changes) -> None:
    """After every one that is sent the copy is the same."""
    copy = new(TWO)
    manifest = copy.copy("folder")
    for step, (kind, *numbers) in enumerate([*changes, ("send",)]):
        if kind.startswith("send"):
            _, manifest = copy.send(based(copy, manifest, kind == "send reported"))
            copy.compare()
        elif not numbers:
            getattr(copy, kind)()
        else:
            first, count = numbers
            ids = [any_id(n) for n in range(first, first + count)]
            if kind == "upsert":
                copy.tell(U.upsert_points(points(TWO, range(first, first + count))))
            elif kind == "delete":
                copy.tell(U.delete_points(ids))
            else:
                known = [record.id for record in copy.ours.retrieve(ids, False, False)]
                copy.tell(U.set_payload(known, {"step": step}))


TWO = EdgeConfig({"": DENSE[""]}, {"sparse": EVERY_KIND.sparse_vectors["sparse"]})
