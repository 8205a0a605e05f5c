"""A Qdrant server for tests: its REST API over HTTP, real qdrant_edge shards behind it, and faults
where a test asks for them.

`Server` serves from threads of this process; `ServerProcess` is the same in a process of its own,
for tests that watch the event loop (qdrant_edge holds the GIL) or kill the server. Both can be
stopped and started again on the same port and folder.
"""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from tests.sync import words
from tests.sync.collection import Collection, Refusal
from tests.sync.words import Json

ROOT = Path(__file__).parents[2]
PIECE = 64 << 10
PATIENCE = 60.0
CONTROL = "/test"
"""Where a server process takes orders from its test."""


@dataclass(frozen=True)
class Fault:
    """What goes wrong with the next `times` requests whose "METHOD /path" holds `path`.

    - `status`: answered so, nothing is done; with `retry_after` as header.
    - `cut request`: the connection ends after `at` bytes of the request's body; nothing is done.
    - `cut reply`: the work is done, the connection ends after `at` bytes of the reply's body.
    - `no reply`: the work is done, the connection ends before the reply.
    - `damage`: the byte at `at` of the reply's body is another.
    - `delay`: the reply waits `seconds`, or until the server stops.
    """

    kind: str
    path: str = ""
    status: int = 503
    retry_after: str | None = None
    at: int = 0
    seconds: float = PATIENCE
    times: int = 1


@dataclass
class Seen:
    """One request that came. `status` is None where it got no whole reply; `sent` are the bytes of
    the reply's body, `range` is the header of that name.

    It is written before the client can know the reply, so a test may look as soon as it has one.
    """

    method: str
    path: str
    query: str
    range: str | None
    status: int | None = None
    sent: int = 0


class Cut(Exception):
    """The connection is to end here."""


class Server:
    """A server in threads of this process. `url` is where it serves, also after a restart."""

    def __init__(self, folder: Path, api_key: str | None = None, port: int = 0) -> None:
        self.folder = folder
        self.api_key = api_key
        self.collections: dict[str, Collection] = {}
        self._faults: list[Fault] = []
        self._seen: list[Seen] = []
        self._lock = threading.Lock()
        self._http: _Http | None = None
        self._port = port
        self.stopping = threading.Event()
        self.delaying = threading.Event()
        """Set once a reply is late as planned."""

    def __enter__(self) -> Server:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Load all collections and serve. A port that was used before is used again."""
        self.stopping.clear()
        self.folder.mkdir(exist_ok=True)
        for folder in sorted(self.folder.iterdir()):
            if (folder / "collection.json").exists():
                self.collections[folder.name] = Collection(folder.name, folder)
        self._http = _Http(self, self._port)
        self._port = self._http.server_address[1]
        self._http.begin()

    def stop(self) -> None:
        """Refuse connections, end those that are open, close the shards. Idempotent."""
        if self._http is not None:
            self.stopping.set()
            self._http.end()
            self._http = None
            while self.collections:
                self.collections.popitem()[1].close()

    def restart(self) -> None:
        self.stop()
        self.start()

    # -- for tests

    def arm(self, *faults: Fault) -> None:
        """Let these happen, each to the first requests that it fits, in this order."""
        with self._lock:
            self._faults += faults

    def disarm(self) -> None:
        with self._lock:
            self._faults.clear()

    def seen(self, method: str = "", path: str = "") -> list[Seen]:
        """The requests so far of this method whose path holds `path`."""
        with self._lock:
            return [one for one in self._seen if method in one.method and path in one.path]

    def take_fault(self, request: str) -> Fault | None:
        with self._lock:
            for place, fault in enumerate(self._faults):
                if fault.path in request:
                    left = fault.times - 1
                    self._faults[place : place + 1] = [replace(fault, times=left)] * bool(left)
                    return fault
        return None

    def note(self, seen: Seen) -> None:
        with self._lock:
            self._seen.append(seen)

    # -- collections

    def create(self, name: str, body: Json) -> bool:
        with self._lock:
            if name in self.collections:
                raise Refusal(409, f"Wrong input: Collection `{name}` already exists!")
            self.collections[name] = Collection.create(name, self.folder / name, body)
        return True

    def drop(self, name: str) -> bool:
        with self._lock:
            found = self.collections.pop(name, None)
        if found is not None:
            found.remove()
        return found is not None

    def collection(self, name: str) -> Collection:
        try:
            return self.collections[name]
        except KeyError:
            message = f"Not found: Collection `{name}` doesn't exist!"
            raise Refusal(404, message) from None


# -- routes


@dataclass
class Download:
    """A reply that is a file; streamed without a length, unless it can be asked for in parts."""

    path: Path
    in_parts: bool = False
    keep: bool = False


class NotModified(Exception):
    """Nothing has changed."""


@dataclass(frozen=True)
class Call:
    """A request that was read: its server, the names in its path, its body."""

    server: Server
    names: dict[str, str]
    body: Json

    @property
    def collection(self) -> Collection:
        return self.server.collection(self.names["c"])

    def update(self, make: Callable[[Json], Any]) -> Json:
        return self.collection.update(lambda: make(self.body))

    def temporary(self) -> Path:
        file, name = tempfile.mkstemp(dir=self.collection.folder, suffix=".tar")
        os.close(file)
        return Path(name)


def _full(call: Call) -> Download:
    path = call.temporary()
    call.collection.full_snapshot(path)
    return Download(path)


def _partial(call: Call) -> Download:
    path = call.temporary()
    if not call.collection.partial_snapshot(call.body, path):
        path.unlink()
        raise NotModified
    return Download(path)


def _stored(call: Call) -> Download:
    return Download(call.collection.stored_snapshot(call.names["name"]), in_parts=True, keep=True)


def _remove_stored(call: Call) -> bool:
    call.collection.stored_snapshot(call.names["name"]).unlink()
    return True


def _delete_index(call: Call) -> Json:
    field = unquote(call.names["name"])
    return call.update(lambda _: words.edge.UpdateOperation.delete_field_index(field))


def _delete_vector(call: Call) -> Json:
    name = call.names["name"]
    return call.update(lambda _: words.edge.UpdateOperation.delete_vector_name(name))


C, SHARD = "/collections/{c}", "/collections/{c}/shards/0"
ROUTES: dict[str, Callable[[Call], Any]] = {
    "GET /collections": lambda call: {
        "collections": [{"name": name} for name in call.server.collections]
    },
    f"PUT {C}": lambda call: call.server.create(call.names["c"], call.body),
    f"GET {C}": lambda call: call.collection.info(),
    f"DELETE {C}": lambda call: call.server.drop(call.names["c"]),
    f"GET {C}/exists": lambda call: {"exists": call.names["c"] in call.server.collections},
    f"PUT {C}/points": lambda call: call.update(words.UPDATES["upsert"]),
    f"POST {C}/points": lambda call: call.collection.retrieve(call.body),
    f"POST {C}/points/delete": lambda call: call.update(words.UPDATES["delete"]),
    f"POST {C}/points/payload": lambda call: call.update(words.UPDATES["set_payload"]),
    f"PUT {C}/points/payload": lambda call: call.update(words.UPDATES["overwrite_payload"]),
    f"POST {C}/points/payload/delete": lambda call: call.update(words.UPDATES["delete_payload"]),
    f"POST {C}/points/payload/clear": lambda call: call.update(words.UPDATES["clear_payload"]),
    f"PUT {C}/points/vectors": lambda call: call.update(words.UPDATES["update_vectors"]),
    f"POST {C}/points/vectors/delete": lambda call: call.update(words.UPDATES["delete_vectors"]),
    f"POST {C}/points/batch": lambda call: call.collection.batch(call.body["operations"]),
    f"POST {C}/points/scroll": lambda call: call.collection.scroll(call.body),
    f"POST {C}/points/count": lambda call: call.collection.count(call.body),
    f"PUT {C}/index": lambda call: call.update(words.create_field_index),
    f"DELETE {C}/index/{{name}}": _delete_index,
    f"PUT {C}/vectors/{{name}}": lambda call: call.collection.add_vector(
        call.names["name"], call.body
    ),
    f"DELETE {C}/vectors/{{name}}": _delete_vector,
    f"GET {SHARD}/snapshot": _full,
    f"POST {SHARD}/snapshot/partial/create": _partial,
    f"GET {SHARD}/snapshot/partial/manifest": lambda call: call.collection.manifest(),
    f"GET {SHARD}/snapshots": lambda call: call.collection.stored_snapshots(),
    f"POST {SHARD}/snapshots": lambda call: call.collection.store_snapshot(),
    f"GET {SHARD}/snapshots/{{name}}": _stored,
    f"DELETE {SHARD}/snapshots/{{name}}": _remove_stored,
}
_PATTERNS = [
    (re.compile(re.sub(r"{(\w+)}", r"(?P<\1>[^/]+)", route)), act) for route, act in ROUTES.items()
]


def _route(request: str) -> tuple[dict[str, str], Callable[[Call], Any]]:
    for pattern, act in _PATTERNS:
        if found := pattern.fullmatch(request):
            return found.groupdict(), act
    raise Refusal(404, "")


# -- HTTP


class _Http(ThreadingHTTPServer):
    daemon_threads = False
    request_queue_size = 64

    def __init__(self, server: Server, port: int) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.server = server
        self._open: set[socket.socket] = set()
        self._guard = threading.Lock()
        self._loop = threading.Thread(target=self.serve_forever, args=(0.01,), name="qdrant")

    def begin(self) -> None:
        self._loop.start()

    def end(self) -> None:
        """Take no more, cut what is open, wait for its threads."""
        self.shutdown()
        self.socket.close()
        with self._guard:
            for connection in self._open:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        self._loop.join()
        self.server_close()

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        with self._guard:
            self._open.add(connection)
        return connection, address

    def shutdown_request(self, request: Any) -> None:
        with self._guard:
            self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Connections end in any way; what is wrong with a reply is seen by its reader."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Http

    def log_message(self, *arguments: Any) -> None:
        """Nothing is printed: requests are in `Server.seen`."""

    def _handle(self) -> None:
        served = self.server.server
        address = urlsplit(self.path)
        request = f"{self.command} {address.path}"
        self._seen = Seen(self.command, address.path, address.query, self.headers.get("Range"))
        self._fault = None
        if not address.path.startswith(CONTROL):
            served.note(self._seen)
            self._fault = served.take_fault(request)
        try:
            self._answer(served, request)
        except (Cut, OSError):
            self._seen.status = None
            self.close_connection = True
            with suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)

    do_GET = do_PUT = do_POST = do_DELETE = do_PATCH = _handle

    def _is_faulty(self, kind: str) -> bool:
        return self._fault is not None and self._fault.kind == kind

    def _answer(self, served: Server, request: str) -> None:
        body = self._read_body()
        if self._is_faulty("status"):
            return self._refuse_as_planned()
        try:
            result = self._result(served, request, body)
        except NotModified:
            return self._reply(304, b"")
        except Refusal as refusal:
            return self._reply_json(refusal.status, {"status": {"error": refusal.message}})
        except BaseException as error:  # a panic of qdrant_edge is no Exception
            return self._reply_json(500, {"status": {"error": f"Service internal error: {error}"}})
        if self._is_faulty("delay"):
            assert self._fault is not None
            served.delaying.set()
            served.stopping.wait(self._fault.seconds)
        if self._is_faulty("no reply"):
            raise Cut
        if isinstance(result, Download):
            return self._send_file(result)
        if request == "GET /":
            return self._reply_json(200, result)
        return self._reply_json(200, {"result": result, "status": "ok"})

    def _refuse_as_planned(self) -> None:
        fault = self._fault
        assert fault is not None
        headers = {} if fault.retry_after is None else {"Retry-After": fault.retry_after}
        self._reply_json(fault.status, {"status": {"error": "as planned"}}, headers)

    def _result(self, served: Server, request: str, body: bytes) -> Any:
        if request == "GET /":
            return {"title": "qdrant - vector search engine", "version": "1.20.0"}
        if request.split()[1].startswith(CONTROL):
            return _controlled(served, request, body)
        if served.api_key is not None and self.headers.get("api-key") != served.api_key:
            raise Refusal(401, "Must provide an API key or an Authorization bearer token")
        names, act = _route(request)
        try:
            decoded = json.loads(body) if body else {}
        except ValueError as error:
            raise Refusal(400, f"Format error in JSON body: {error}") from None
        return act(Call(served, {name: unquote(text) for name, text in names.items()}, decoded))

    def _read_body(self) -> bytes:
        most = None
        if self._is_faulty("cut request"):
            assert self._fault is not None
            most = self._fault.at
        if self.headers.get("Transfer-Encoding") == "chunked":
            pieces = self._chunks()
        else:
            pieces = self._pieces(int(self.headers.get("Content-Length") or 0))
        read = bytearray()
        for piece in pieces:
            read += piece
            if most is not None and len(read) >= most:
                raise Cut
        if most is not None:
            raise Cut
        return bytes(read)

    def _pieces(self, length: int) -> Iterator[bytes]:
        while length:
            piece = self.rfile.read1(min(length, PIECE))  # type: ignore[attr-defined]
            if not piece:
                raise Cut
            length -= len(piece)
            yield piece

    def _chunks(self) -> Iterator[bytes]:
        while length := int(self.rfile.readline().split(b";")[0], 16):
            yield from self._pieces(length)
            self.rfile.readline()
        self.rfile.readline()

    # -- replies

    def _reply_json(self, status: int, value: Any, headers: dict[str, str] | None = None) -> None:
        if isinstance(value, dict):
            value.setdefault("time", 0.001)
        headers = {"Content-Type": "application/json", **(headers or {})}
        self._reply(status, json.dumps(value).encode(), headers)

    def _reply(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self._begin(status, {**(headers or {}), "Content-Length": str(len(body))})
        self._seen.status = status
        self._write(body)

    def _begin(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def _write(self, data: bytes, frame: Callable[[bytes], bytes] = bytes) -> None:
        """Write a piece of the body; the faults that are about the body happen here."""
        fault, begin = self._fault, self._seen.sent
        if fault is not None and fault.kind == "damage" and 0 <= fault.at - begin < len(data):
            place = fault.at - begin
            data = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
        if fault is not None and fault.kind == "cut reply" and fault.at - begin <= len(data):
            data = data[: max(0, fault.at - begin)]
            self._seen.sent += len(data)
            self.wfile.write(frame(data) if data else b"")
            raise Cut
        self._seen.sent += len(data)
        self.wfile.write(frame(data))

    def _send_file(self, download: Download) -> None:
        try:
            if download.in_parts:
                self._send_part(download.path)
            else:
                self._stream(download.path)
        finally:
            if not download.keep:
                download.path.unlink()

    def _stream(self, path: Path) -> None:
        headers = {"Content-Type": "application/octet-stream", "Transfer-Encoding": "chunked"}
        self._begin(200, headers)
        with path.open("rb") as file:
            while piece := file.read(PIECE):
                self._write(piece, lambda data: b"%x\r\n%b\r\n" % (len(data), data))
        self._seen.status = 200
        self.wfile.write(b"0\r\n\r\n")

    def _send_part(self, path: Path) -> None:
        """A stored file, or what is behind the byte that the header Range asks for."""
        stat = path.stat()
        etag = f'"{stat.st_ino:x}:{stat.st_size:x}:{stat.st_mtime_ns:x}"'
        headers = {"ETag": etag, "Accept-Ranges": "bytes"}
        begin, status = 0, 200
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        if asked and self.headers.get("If-Range", etag) == etag:
            begin, status = int(asked[1]), 206
            if begin >= stat.st_size:
                headers["Content-Range"] = f"bytes */{stat.st_size}"
                return self._reply(416, b"", headers)
            headers["Content-Range"] = f"bytes {begin}-{stat.st_size - 1}/{stat.st_size}"
        headers["Content-Length"] = str(stat.st_size - begin)
        self._seen.status = status
        self._begin(status, headers)
        with path.open("rb") as file:
            file.seek(begin)
            while piece := file.read(PIECE):
                self._write(piece)
        return None


# -- a process of its own


def _controlled(served: Server, request: str, body: bytes) -> Any:
    """The orders that a test gives a server process."""
    if request == f"POST {CONTROL}/faults":
        return served.arm(*(Fault(**fault) for fault in json.loads(body)))
    if request == f"DELETE {CONTROL}/faults":
        return served.disarm()
    if request == f"GET {CONTROL}/seen":
        return [asdict(seen) for seen in served.seen()]
    raise Refusal(404, "")


class ServerProcess:
    """The same server in a process of its own; `kill` ends it without a word."""

    def __init__(self, folder: Path, api_key: str | None = None) -> None:
        self.folder = folder
        self.api_key = api_key
        self._port = 0
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> ServerProcess:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.sync.server", str(self.folder), str(self._port)],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), "TEST_API_KEY": self.api_key or ""},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self._port = int(self._process.stdout.readline())

    def stop(self) -> None:
        """End it in good order. Idempotent."""
        self._end(lambda process: process.stdin and process.stdin.close())

    def kill(self) -> None:
        self._end(lambda process: process.kill())

    def _end(self, act: Callable[[subprocess.Popen[str]], object]) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        act(process)
        process.wait(PATIENCE)
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()

    def arm(self, *faults: Fault) -> None:
        self._order("POST", "faults", [asdict(fault) for fault in faults])

    def disarm(self) -> None:
        self._order("DELETE", "faults")

    def seen(self, method: str = "", path: str = "") -> list[Seen]:
        found: Iterable[Json] = self._order("GET", "seen")
        every = [Seen(**one) for one in found]
        return [one for one in every if method in one.method and path in one.path]

    def _order(self, method: str, what: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        asked = urllib.request.Request(f"{self.url}{CONTROL}/{what}", data, method=method)
        with urllib.request.urlopen(asked, timeout=PATIENCE) as reply:
            return json.load(reply)["result"]


def main() -> None:
    """Serve until the standard input ends."""
    folder, port = sys.argv[1:]
    with Server(Path(folder), os.environ.get("TEST_API_KEY") or None, int(port)) as server:
        print(server.url.rsplit(":", 1)[1], flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
