# Copyright 2026 The edgeshard contributors
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.

"""What /diagnostics says of a memory."""

from __future__ import annotations

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

from .memory import State

NEARLY_FULL = 0.8
"""The share of the queue from which on it is worth a warning."""
AHEAD_SECONDS = 1.0
"""Stamps that are further ahead of the clock than this come from another clock."""

Judged = tuple[bytes, str]


def status_of(name: str, path: str, state: State, before: State, ahead: float) -> DiagnosticStatus:
    """The status of an open memory.

    `before` is the state at the last report, from which new drops show; `ahead` is by how many
    seconds the newest stamp is ahead of the node's clock (negative: behind).
    """
    level, message = _judged(state, before, ahead)
    return DiagnosticStatus(
        level=level, name=name, message=message, hardware_id=path, values=_values(state, ahead)
    )


def closed_status(name: str, path: str) -> DiagnosticStatus:
    """The status of a node that has no memory open."""
    return DiagnosticStatus(
        level=DiagnosticStatus.OK, name=name, message="not configured", hardware_id=path
    )


def _judged(state: State, before: State, ahead: float) -> Judged:
    """The worst that there is to say."""
    counts, trouble = state.counts, state.counts.trouble
    if state.read_only:
        return DiagnosticStatus.ERROR, f"read-only: {state.read_only}"
    if counts.lost > before.counts.lost:
        return DiagnosticStatus.ERROR, f"{counts.lost} embeddings lost: {trouble}"
    if counts.dropped > before.counts.dropped:
        return DiagnosticStatus.WARN, f"{counts.dropped} embeddings dropped: the queue was full"
    if counts.refused > before.counts.refused:
        return DiagnosticStatus.WARN, f"{counts.refused} embeddings refused: {trouble}"
    if state.queue_depth > NEARLY_FULL * state.queue_capacity:
        return DiagnosticStatus.WARN, "the queue is nearly full"
    if ahead > AHEAD_SECONDS:
        return DiagnosticStatus.WARN, "stamps are ahead of the clock: is use_sim_time set alike?"
    return DiagnosticStatus.OK, f"{state.points} embeddings"


def _values(state: State, ahead: float) -> list[KeyValue]:
    counts, age = state.counts, state.last_write_age
    told = {
        "points": state.points,
        "indexed points": state.indexed,
        "recovered points": counts.recovered,
        "received": counts.received,
        "stored": counts.stored,
        "refused": counts.refused,
        "dropped": counts.dropped,
        "lost": counts.lost,
        "queue depth": state.queue_depth,
        "queue capacity": state.queue_capacity,
        "age of last write (s)": "none yet" if age is None else f"{age:.3f}",
        "age of newest stamp (s)": "none yet" if counts.newest_stamp is None else f"{-ahead:.3f}",
        "disk (bytes)": state.disk_bytes,
        "log (bytes)": state.log_bytes,
        "sequence": state.sequence,
        "durable sequence": state.durable_sequence,
        "optimizer": state.optimizer,
    }
    return [KeyValue(key=key, value=str(value)) for key, value in told.items()]
