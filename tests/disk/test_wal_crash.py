"""The log when the power goes, or a call fails, at any point of any short script."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from random import Random

import pytest

from edge.disk.wal import Wal
from edge.errors import StorageFault
from tests.disk.log_model import OPERATIONS, SHARD, LogModel, drained
from tests.disk.simulated import FAULTS, FaultyStorage, Image, SimulatedStorage


class PowerCuts:
    """Checks recovery in every state that a cut after each call from now on may leave."""

    def __init__(self, model: LogModel, seed: int, most: int) -> None:
        self.states = 0
        self._model = model
        self._random = Random(seed)
        self._most = most
        model.storage.after_call = self._cut
        self._cut("at rest")

    def _cut(self, call: str) -> None:
        for image in self._model.storage.power_cuts(self._random, self._most):
            self._model.check(image)
            self.states += 1


def scripts(length: int) -> Iterator[str]:
    return map("".join, product(OPERATIONS, repeat=length))


@pytest.mark.parametrize("length", [1, 2, 3])
def test_power_cuts_in_every_short_script(length: int) -> None:
    """All scripts; cuts in the last operation (those before it are the end of a shorter script)."""
    states = 0
    for script in scripts(length):
        model = LogModel(SimulatedStorage())
        model.run(script[:-1])
        cuts = PowerCuts(model, seed=length, most=24)
        model.run(script[-1])
        states += cuts.states
    assert states > 20 * 6 ** (length - 1)


def test_power_cuts_in_long_scripts() -> None:
    random = Random(20)
    for seed in range(12):
        model = LogModel(SimulatedStorage())
        cuts = PowerCuts(model, seed, most=8)
        model.run("".join(random.choices(OPERATIONS, weights=(6, 3, 3, 1, 1, 1), k=25)))
        assert cuts.states > 100


def test_power_cuts_while_a_log_is_made() -> None:
    """Until opening has returned there is no shard; then `create` must start afresh."""
    images: list[Image] = []
    storage = SimulatedStorage()
    storage.after_call = lambda call: images.extend(storage.power_cuts(Random(3)))
    Wal.open(storage, shard=SHARD)
    assert len(images) > 20
    for image in images:
        left = SimulatedStorage(image)
        assert drained(left) == []
        Wal.open(left, shard=SHARD, create=False).append(1, [b"x"])
        assert len(drained(left, create=False)) == 1


@pytest.mark.parametrize("then", ["Asa", "r", "sra", "dars", "oro"])
def test_power_cuts_during_recovery(then: str) -> None:
    """Cut, recover, and cut again while the recovered log is mended and goes on."""
    states = 0
    for script in ("asAaA", "aArsaAA", "aAsraA", "aAar", "arard"):
        for image, first in cut_in_the_last(script):
            model = LogModel.__new__(LogModel)
            model.__dict__ = {**first, "storage": SimulatedStorage(image)}
            last = model.check(image)
            model.keep(last)
            model.wal = Wal.open(
                model.storage, first=model.first, durable=model.first - 1, shard=SHARD, create=False
            )
            cuts = PowerCuts(model, seed=1, most=3)
            model.run(then)
            states += cuts.states
    assert states > 500


def cut_in_the_last(script: str) -> Iterator[tuple[Image, dict[str, object]]]:
    """States after each call of the script's last operation, and the model's own of that moment."""
    model = LogModel(SimulatedStorage())
    model.run(script[:-1])
    found: list[tuple[Image, dict[str, object]]] = []
    random = Random(5)

    def cut(call: str) -> None:
        known = {**model.__dict__, "written": list(model.written)}
        found.extend((image, known) for image in model.storage.power_cuts(random, 12, torn=8))

    model.storage.after_call = cut
    model.run(script[-1])
    return iter(found)


SCENARIOS = ["as", "aAasa", "ars", "aarasaA", "aarasdra", "asaoas", "aaooA", "aAarAsoAsaraos"]


def attempts(script: str, fault: str, forever: bool) -> Iterator[tuple[int, LogModel]]:
    """The script with the first, second, third ... call failing, until none fails any more."""
    for nth in range(1, 400):
        inner = SimulatedStorage()
        Wal.open(inner, shard=SHARD)
        model = LogModel(inner)
        storage = FaultyStorage(inner, fault, nth, forever)
        model.storage = storage
        model.wal = Wal.open(storage.inner, shard=SHARD, create=False)
        model.wal._storage = storage
        survive(model, script)
        if not storage.struck:
            return
        model.storage = inner
        yield nth, model
    raise AssertionError("the script never ends")


def survive(model: LogModel, script: str) -> None:
    """Run the script as a store would: what failed is not done, and the next thing is tried; a
    broken log is left alone until it is opened again, and for good if it may hold what it refused.
    """
    for operation in script:
        if model.wal.broken and operation != "o":
            continue
        try:
            model.run(operation)
        except StorageFault:
            if operation == "o" or (model.wal.broken and model.underway):
                return
            model.underway = None


@pytest.mark.parametrize("forever", [False, True], ids=["once", "for ever"])
@pytest.mark.parametrize("fault", FAULTS)
def test_any_call_may_fail(fault: str, forever: bool) -> None:
    """Nothing acknowledged is lost when the process then ends; nothing synced when the power goes;
    nothing refused comes back."""
    failed = 0
    for script in SCENARIOS:
        for nth, model in attempts(script, fault, forever):
            failed += 1
            inner = model.storage
            assert model.check(inner.image()) >= len(model.written), (script, nth)
            for image in inner.power_cuts(Random(nth), most=6):
                model.check(image)
    assert failed > len(SCENARIOS)
