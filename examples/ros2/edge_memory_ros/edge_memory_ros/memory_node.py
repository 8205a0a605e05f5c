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

"""The memory node: a lifecycle node around one memory.

    configure   opens or recovers the memory, creates its indexes and its door; services answer "not
                active" yet
    activate    takes embeddings and serves
    deactivate  takes no more, stores what waits, and makes it survive a power cut
    cleanup     closes
    shutdown    all that is left of these, also on SIGINT and SIGTERM

`~/state` is latched, /diagnostics comes every `report_period` seconds of real time, in every state.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.exceptions import ParameterException
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.node import Node
from rclpy.timer import Timer

from edge import EdgeError

from .bridge import Bridge, serve
from .diagnostics import closed_status, status_of
from .door import Door, Host
from .memory import Memory, State
from .messages import NANOSECONDS
from .parameters import declare, rules_of, settings_of

STATE_SECONDS = 1.0
Failures = (EdgeError, ValueError, OSError, ImportError)
"""What a transition can fail by, TimeoutError included (an OSError)."""


class MemoryNode(LifecycleNode):
    """See the module."""

    def __init__(self, bridge: Bridge) -> None:
        super().__init__("edge_memory")
        declare(self)
        self._bridge = bridge
        self._host: Host | None = None
        self._door: Door | None = None
        self._before: State | None = None
        self._steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self._reporting = self.create_timer(
            self._number("report_period"),
            self._report,
            callback_group=MutuallyExclusiveCallbackGroup(),
            clock=self._steady,
        )
        self._starting: Timer | None = None
        if self.get_parameter("autostart").value:
            self._starting = self.create_timer(0.0, self._start, clock=self._steady)

    @property
    def node(self) -> Node:
        """The node itself."""
        return self

    @property
    def threads(self) -> int:
        """How many callbacks may run at the same time."""
        return int(self._number("threads"))

    def finish(self) -> None:
        """Shut down as the transition does, if that was not done yet."""
        if self._host is not None:
            self.trigger_shutdown()

    def _number(self, name: str) -> float:
        value: float = self.get_parameter(name).value
        return value

    # -- transitions

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Open or recover the memory; leave nothing open where that fails."""
        configured = self._carried_out("configure", self._configure)
        if configured != TransitionCallbackReturn.SUCCESS:
            self._carried_out("close what was begun", self._close)
        return configured

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Serve."""
        return self._carried_out("activate", self._activate)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Take no more, and make safe what there is."""
        return self._carried_out("deactivate", self._deactivate)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Close."""
        return self._carried_out("clean up", self._close)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Close, whatever the state is."""
        return self._carried_out("shut down", self._close)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Close, so that the node may be configured anew."""
        return self._carried_out("close after an error", self._close)

    def _carried_out(self, what: str, work: Callable[[], None]) -> TransitionCallbackReturn:
        """Do it; say why it failed, if it did (rclpy swallows whatever a transition raises)."""
        try:
            work()
        except Failures as error:
            self.get_logger().error(f"could not {what}: {error or type(error).__name__}")
            return TransitionCallbackReturn.FAILURE
        return TransitionCallbackReturn.SUCCESS

    def _configure(self) -> None:
        memory, kind = Memory(settings_of(self)), self._door_kind()
        self._bridge.call(memory.open(), self._number("configure_timeout"))
        self._host = Host(self, self._bridge, memory, rules_of(self))
        self._door = kind(self._host)
        self._before = self._state()
        self._door.tell(self._before)
        found = self._before.counts.recovered
        self.get_logger().info(f"{memory.settings.path}: {found} embeddings recovered")

    def _door_kind(self) -> type[Door]:
        """The door that the parameters ask for; interfaces are imported where they are used."""
        if self.get_parameter("stock_messages").value:
            from .stock_door import StockDoor

            return StockDoor
        from .native_door import NativeDoor

        return NativeDoor

    def _activate(self) -> None:
        host, door = self._opened()
        door.activate()
        host.active = True

    def _deactivate(self) -> None:
        host, door = self._opened()
        door.deactivate()
        host.active = False
        self._bridge.call(host.memory.drain(), self._number("close_timeout"))
        door.tell(self._state())

    def _close(self) -> None:
        """Close what is open; nothing is where configuring failed."""
        host, door, self._host, self._door = self._host, self._door, None, None
        if door is not None:
            door.close()
        if host is not None:
            host.active = False
            self._bridge.call(host.memory.close(), self._number("close_timeout"))

    def _opened(self) -> tuple[Host, Door]:
        assert self._host is not None
        assert self._door is not None
        return self._host, self._door

    def _start(self) -> None:
        """Configure and activate, once."""
        assert self._starting is not None
        self.destroy_timer(self._starting)
        if self.trigger_configure() == TransitionCallbackReturn.SUCCESS:
            self.trigger_activate()

    # -- reports

    def _state(self) -> State:
        host, _ = self._opened()
        return host.ask(host.memory.state(), STATE_SECONDS)

    def _report(self) -> None:
        """Publish diagnostics, and the state for late joiners."""
        name, path = self.get_fully_qualified_name(), str(self.get_parameter("path").value)
        status = closed_status(name, path)
        host, door, before = self._host, self._door, self._before
        if host is not None and door is not None and before is not None:
            try:
                state = host.ask(host.memory.state(), STATE_SECONDS)
            except (EdgeError, TimeoutError):
                return  # it is being closed
            status = status_of(name, path, state, before, self._ahead(state))
            self._before = state
            door.tell(state)
        report = DiagnosticArray(status=[status])
        report.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(report)

    def _ahead(self, state: State) -> float:
        """Seconds by which the newest stamp is ahead of the node's clock."""
        newest, now = state.counts.newest_stamp, self.get_clock().now().nanoseconds
        return 0.0 if newest is None else (newest - now) / NANOSECONDS


def main(args: list[str] | None = None) -> None:
    """Serve until told to end."""
    try:
        serve(MemoryNode, args)
    except ParameterException as error:
        sys.exit(f"edge_memory: {error}")


if __name__ == "__main__":
    main()
