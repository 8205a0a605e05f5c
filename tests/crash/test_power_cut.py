"""The power goes after any call to the storage, and leaves whatever a power cut may leave.

What loads is the state after operations 1..k, k at least the last durable acknowledgement.
"""

from __future__ import annotations

from random import Random

import pytest

from edge import NotFound
from edge.store.store import Store
from tests.crash.driven import STEPS, Driven, loaded
from tests.crash.history import config
from tests.disk.simulated import Image, SimulatedStorage


class PowerCuts:
    """Checks recovery from every state that a cut after each call from now on may leave."""

    def __init__(self, driven: Driven, seed: int, most: int) -> None:
        self.states = 0
        self._driven = driven
        self._random = Random(seed)
        self._most = most
        self._seen: set[int] = set()
        driven.storage.after_call = self._cut
        self._cut("at rest")

    def _cut(self, call: str) -> None:
        for image in self._driven.storage.power_cuts(self._random, self._most):
            key = hash((frozenset(image.items()), self._driven.durable))
            if key not in self._seen:
                self._seen.add(key)
                self._recover(image)

    def _recover(self, image: Image) -> None:
        self.states += 1
        if self.states % 16:
            self._driven.check(image)
        else:
            self._driven.check_goes_on(image, 1000 + self.states)

    def end(self) -> int:
        self._driven.storage.after_call = None
        return self.states


@pytest.mark.parametrize("first", STEPS)
def test_in_every_two_steps(first: str) -> None:
    """After some updates, one step whole, and the power goes in any call of the next."""
    states = 0
    for second in STEPS:
        driven = Driven(SimulatedStorage())
        driven.run("uxauxsuu" + first)
        cuts = PowerCuts(driven, seed=7, most=3)
        driven.run(second)
        states += cuts.end()
    assert states > 30


@pytest.mark.parametrize("seed", range(3))
def test_in_long_scripts(seed: int) -> None:
    random = Random(seed)
    driven = Driven(SimulatedStorage())
    driven.number = 100 * seed
    cuts = PowerCuts(driven, seed, most=2)
    driven.run("".join(random.choices(STEPS, weights=(8, 4, 1, 1, 3, 2, 1, 1, 1), k=24)))
    assert cuts.end() > 100


@pytest.mark.parametrize("script", ["xuxoudxo", "uxadoxco"])
def test_while_indexes_are_made_and_dropped(script: str) -> None:
    """The schema is that of some prefix, and whatever index is there answers as none would."""
    driven = Driven(SimulatedStorage())
    driven.run("uuxusuxuo")
    cuts = PowerCuts(driven, seed=5, most=3)
    driven.run(script)
    assert cuts.end() > 150
    for part in driven.store.view.segments[:-1]:
        assert part.segment.is_indexed_by(driven.store.view.schema)


def test_between_the_halves_of_seal_and_rebuild() -> None:
    """Updates go on while a tail is being written to files and while a segment is rebuilt."""
    driven = Driven(SimulatedStorage())
    driven.number = 6
    driven.run("uusuusxuus")
    cuts = PowerCuts(driven, seed=3, most=2)
    for turn in range(2):
        choose = driven.store.plan if turn else driven.store.plan_fields
        plan = choose(durable=True)
        assert plan is not None
        rebuild = driven.store.start(plan)
        driven.run("ua")
        seal = driven.store.seal()
        assert seal is not None
        driven.run("uaxu")
        driven.carry_out(rebuild)
        driven.run("ua")
        driven.carry_out(seal)
        driven.run("ua")
    assert cuts.end() > 200


def test_while_a_shard_is_made() -> None:
    """Before `create` returned there is a shard, an empty one, or none and it can be made."""
    images: list[Image] = []
    storage = SimulatedStorage()
    storage.after_call = lambda call: images.extend(storage.power_cuts(Random(4)))
    Store.over(storage, config(), existing=False)
    made = 0
    for image in images:
        try:
            store = loaded(image)
        except NotFound:
            store = Store.over(SimulatedStorage(image), config(), existing=False)
            made += 1
        assert (store.sequence, store.view.points) == (0, 0)
    assert 10 < made < len(images)


@pytest.mark.parametrize("script", ["auuus", "auusuuo", "axsuxdo"])
def test_again_while_what_a_cut_left_is_mended(script: str) -> None:
    """Cut, load, go on, and cut again."""
    states = 0
    random = Random(9)
    first = Driven(SimulatedStorage())
    first.run("uau")
    images: list[tuple[int, int, Image]] = []

    def cut(call: str) -> None:
        durable, known = first.durable, first.history.sequence
        images.extend((durable, known, image) for image in first.storage.power_cuts(random, 4))

    first.storage.after_call = cut
    first.run(script)
    for durable, known, image in random.sample(images, 8):
        second = Driven.__new__(Driven)
        second.__dict__ = {**first.__dict__, "storage": SimulatedStorage(image)}
        second.history = type(first.history)()
        second.history.states = first.history.states[: known + 1]
        second.durable = durable
        cuts = PowerCuts(second, seed=2, most=3)
        second.store = Store.over(second.storage, None, existing=True)
        second.history.forget_after(second.store.sequence)
        second.number = 500
        second.run("aus")
        states += cuts.end()
    assert states > 200


def test_the_cuts_lose_what_was_not_durable() -> None:
    """The tests above could not see a loss if none of their states had one."""
    driven = Driven(SimulatedStorage())
    driven.run("auuu")
    found = {driven.check(image) for image in driven.storage.power_cuts(Random(0), 200)}
    assert found >= {driven.durable, driven.history.sequence}
