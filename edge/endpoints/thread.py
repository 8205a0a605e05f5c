"""The one thread in which all sockets live: it polls, reads, answers, and lets in who may come.

Invariants
- Sockets are made, used and closed in this thread; others leave work for it by `call`.
- Whatever a handler raises is counted as garbage of its door and never ends the thread.
- The thread waits in `poll` only.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import Any, Final, TypeAlias

import zmq
from zmq.utils import z85

from edge.endpoints import security
from edge.endpoints.protocol import ProtocolError
from edge.endpoints.security import Keys, Role

log = logging.getLogger("edge.endpoints")

MAX_MESSAGE: Final = 64 << 20
HIGH_WATER: Final = 1_000
HANDSHAKE_MS: Final = 2_000
BACKLOG: Final = 64
LINGER_MS: Final = 200
"""How long a door that was closed still sends: the last answers are on their way."""

MESSAGES_A_TURN: Final = 256
"""Messages that one door takes before the next has its turn."""

Frames: TypeAlias = list[zmq.Frame]
OnMessage: TypeAlias = Callable[[Frames], None]
Act: TypeAlias = Callable[[], None]


class Counts:
    """What a door has seen."""

    def __init__(self) -> None:
        self.messages = 0
        self.points = 0
        self.garbage = 0
        self.refused = 0


class Door:
    """A socket, and who reads what comes through it. To be used in the thread only."""

    def __init__(self, name: str, socket: zmq.Socket[bytes], on_message: OnMessage) -> None:
        self.name = name
        self.socket = socket
        self.on_message = on_message
        self.counts = Counts()
        self.paused = False
        self.address = ""
        """where it is bound, with the port that the system chose where it was asked to"""

    def send(self, frames: list[Any]) -> bool:
        """Send at once; False where the peer takes no more, or is gone."""
        try:
            self.socket.send_multipart(frames, zmq.DONTWAIT)
        except zmq.ZMQError:
            return False
        return True


class DoorThread:
    """See the module's invariants."""

    def __init__(self, keys: Keys | None) -> None:
        self._keys = keys
        self._context: zmq.Context[Any] = zmq.Context()
        self._wake = self._context.socket(zmq.PAIR)
        self._wake.bind("inproc://wake")
        self._woken = self._context.socket(zmq.PAIR)
        self._woken.connect("inproc://wake")
        self._calls: deque[Act] = deque()
        self._lock = threading.Lock()
        self._doors: list[Door] = []
        self._timers: list[tuple[float, float, Act]] = []
        self._stopping = self._hushed = False
        self._zap: zmq.Socket[bytes] | None = None
        self._thread = threading.Thread(target=self._run, name="edge doors", daemon=True)

    # -- from any thread

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def call(self, act: Act) -> None:
        """Have the thread do this soon."""
        with self._lock:
            self._calls.append(act)
            if len(self._calls) == 1 and not self._stopping:
                self._wake.send(b"")

    def stop(self) -> None:
        """Close all doors and end the thread; waits for it."""
        self.call(self._end)
        self._thread.join()
        self._wake.close(0)
        self._context.destroy(0)

    def hush(self) -> None:
        """Have the thread take nothing more; what was taken may still be answered."""
        self.call(self._pause_all)

    def _pause_all(self) -> None:
        self._hushed = True

    def _end(self) -> None:
        self._stopping = True

    # -- in the thread

    def open(
        self,
        name: str,
        kind: int,
        role: Role,
        on_message: OnMessage,
        bind: str | None = None,
        connect: str | None = None,
        **options: Any,
    ) -> Door:
        """Open a door. Raises zmq.ZMQError where the address cannot be had."""
        socket = self._context.socket(kind)
        socket.linger = 0
        socket.maxmsgsize = MAX_MESSAGE
        socket.rcvhwm = socket.sndhwm = HIGH_WATER
        socket.handshake_ivl = HANDSHAKE_MS
        socket.backlog = BACKLOG
        for option, value in options.items():
            setattr(socket, option, value)
        self._secure(socket, role, is_server=bind is not None)
        try:
            if bind is not None:
                security.bind(socket, bind)
            if connect is not None:
                socket.connect(connect)
        except zmq.ZMQError:
            socket.close(0)
            raise
        door = Door(name, socket, on_message)
        if bind is not None:
            door.address = socket.last_endpoint.decode()
        self._doors.append(door)
        return door

    def every(self, seconds: float, act: Act) -> None:
        """Do this again and again."""
        self._timers.append((monotonic() + seconds, seconds, act))

    def _secure(self, socket: zmq.Socket[bytes], role: Role, is_server: bool) -> None:
        if self._keys is None or not is_server:
            return
        if self._zap is None:
            self._zap = self._context.socket(zmq.REP)
            self._zap.linger = 0
            self._zap.bind("inproc://zeromq.zap.01")
        socket.curve_server = True
        socket.curve_secretkey = self._keys.secret.encode()
        socket.curve_publickey = self._keys.public.encode()
        socket.zap_domain = (role.name or "").encode()

    def _run(self) -> None:
        try:
            while not self._stopping:
                self._turn()
        finally:
            for door in self._doors:
                door.socket.close(LINGER_MS)
            if self._zap is not None:
                self._zap.close(0)
            self._woken.close(0)

    def _turn(self) -> None:
        poller = zmq.Poller()
        poller.register(self._woken, zmq.POLLIN)
        if self._zap is not None:
            poller.register(self._zap, zmq.POLLIN)
        for door in self._doors:
            if not door.paused and not self._hushed:
                poller.register(door.socket, zmq.POLLIN)
        ready = dict(poller.poll(self._patience()))
        if self._woken in ready:
            self._woken.recv()
            self._do_calls()
        if self._zap is not None and self._zap in ready:
            self._zap.send_multipart(self._admit(self._zap.recv_multipart()))
        for door in self._doors:
            if door.socket in ready:
                self._read(door)
        self._do_timers()

    def _patience(self) -> int | None:
        if not self._timers:
            return None
        return max(0, int(1000 * (min(at for at, _, _ in self._timers) - monotonic())) + 1)

    def _do_calls(self) -> None:
        with self._lock:
            calls, self._calls = self._calls, deque()
        for act in calls:
            self._guarded("a call", act)

    def _do_timers(self) -> None:
        now = monotonic()
        for place, (at, seconds, act) in enumerate(self._timers):
            if at <= now:
                self._timers[place] = (now + seconds, seconds, act)
                self._guarded("a timer", act)

    def _guarded(self, name: str, act: Act) -> None:
        try:
            act()
        except Exception as crash:  # one door's defect must not close the others
            log.error("%s of the doors failed: %r", name, crash)

    def _read(self, door: Door) -> None:
        for _ in range(MESSAGES_A_TURN):
            if door.paused:
                return
            try:
                frames: Frames = door.socket.recv_multipart(zmq.DONTWAIT, copy=False)
            except zmq.ZMQError:
                return
            try:
                door.on_message(frames)
            except ProtocolError as error:
                door.counts.garbage += 1
                log.debug("the %s door got garbage: %s", door.name, error)
            except Exception as crash:  # whatever a peer sends, the door stays open
                door.counts.garbage += 1
                log.error("the %s door failed at a message: %r", door.name, crash)
            door.counts.messages += 1  # last: what is counted was seen to

    # -- keys: the ZeroMQ Authentication Protocol (rfc.zeromq.org/spec/27)

    def _admit(self, request: list[bytes]) -> list[bytes]:
        if len(request) < 7 or request[0] != b"1.0":
            return [b"1.0", request[1] if len(request) > 1 else b"", b"500", b"", b"", b""]
        _, number, domain, _, _, mechanism, key = request[:7]
        name = z85.encode(key).decode() if len(key) == 32 else ""
        if mechanism == b"CURVE" and self._keys is not None:
            role = self._keys.clients.get(name)
            if role is not None and domain.decode() in {one.name for one in role}:
                return [b"1.0", number, b"200", b"OK", name.encode(), b""]
        return [b"1.0", number, b"400", b"not let in", b"", b""]
