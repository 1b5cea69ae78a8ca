"""The client agrees with an older daemon on a version of the API."""

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from wherry.docker_api.client import API_VERSION, DockerClient, DockerError


class OldDaemon:
    """Answers every request with its version's limits, and writes down what was asked."""

    def __init__(self, place: Path, newest: str = "1.41") -> None:
        self.host = f"unix://{place}"
        self.asked: list[str] = []
        self.bodies: list[bytes] = []
        self._newest = newest
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(place))
        self._listener.listen()
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection, connection.makefile("rb") as reader:
                self._answer(connection, reader)

    def _answer(self, connection: socket.socket, reader) -> None:  # type: ignore[no-untyped-def]
        method, path, _ = reader.readline().decode().split(" ")
        size, chunked = 0, False
        while line := reader.readline().strip().lower():
            size = int(line.partition(b":")[2]) if line.startswith(b"content-length:") else size
            chunked = chunked or line == b"transfer-encoding: chunked"
        body = reader.read(size)
        while chunked and (length := int(reader.readline(), 16)):
            body += reader.read(length)
            reader.readline()
        self.asked.append(f"{method} {path}")
        self.bodies.append(body)
        version, _, rest = path.removeprefix("/v").partition("/")
        status, answer = "200 OK", {"path": rest}
        if tuple(map(int, version.split("."))) > tuple(map(int, self._newest.split("."))):
            status = "400 Bad Request"
            answer = {
                "message": f"client version {version} is too new. Maximum supported API version is {self._newest}"
            }
        elif rest == "bad":
            status, answer = "400 Bad Request", {"message": "this is bad"}
        elif rest == "containers/x/json":
            answer = {"Config": {"Tty": False}}  # type: ignore[dict-item]
        text = json.dumps(answer).encode()
        head = f"HTTP/1.1 {status}\r\nApi-Version: {self._newest}\r\nContent-Length: {len(text)}\r\n\r\n"
        connection.sendall(head.encode() + text)


@pytest.fixture
def old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[OldDaemon]:
    monkeypatch.delenv("DOCKER_API_VERSION", raising=False)
    daemon = OldDaemon(tmp_path / "old.sock")
    yield daemon
    daemon.close()


def test_a_refused_version_is_asked_again_in_the_daemons_own(old: OldDaemon) -> None:
    client = DockerClient(old.host)
    assert client.post("/things", body={"a": 1}) == {"path": "things"}
    assert client.get("/other") == {"path": "other"}
    assert client.api_version == "1.41"
    assert old.asked == [f"POST /v{API_VERSION}/things", "POST /v1.41/things", "GET /v1.41/other"]
    assert old.bodies[:2] == [b'{"a":1}', b'{"a":1}']


def test_a_stream_is_sent_once_after_asking(old: OldDaemon) -> None:
    client = DockerClient(old.host)
    assert client.call("POST", "/load", data=iter([b"one", b"two"])).json() == {"path": "load"}
    assert old.asked == [f"GET /v{API_VERSION}/_ping", "POST /v1.41/load"]
    assert old.bodies[-1] == b"onetwo"


def test_other_refusals_stay_what_they_are(old: OldDaemon) -> None:
    client = DockerClient(old.host)
    for _ in range(2):
        with pytest.raises(DockerError, match="this is bad"):
            client.call("GET", "/bad")
    assert client.at_least("1.41")
    assert not client.at_least("1.42")


def test_streams_of_an_old_daemon_are_told_apart_by_the_container(old: OldDaemon) -> None:
    client = DockerClient(old.host)
    assert client.hijack("/containers/x/attach").multiplexed
    assert not client.hijack("/exec/x/start", body={"Tty": True}).multiplexed


def test_a_wanted_version_is_not_negotiated(old: OldDaemon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_API_VERSION", "1.40")
    assert DockerClient(old.host).get("/x") == {"path": "x"}
    monkeypatch.setenv("DOCKER_API_VERSION", "1.49")
    with pytest.raises(DockerError, match=r"client version 1\.49 is too new"):
        DockerClient(old.host).get("/x")
    assert old.asked == ["GET /v1.40/x", "GET /v1.49/x"]


def test_a_newer_daemon_is_spoken_to_in_our_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DOCKER_API_VERSION", raising=False)
    daemon = OldDaemon(tmp_path / "new.sock", newest="1.99")
    client = DockerClient(daemon.host)
    assert client.at_least(API_VERSION)
    assert client.api_version == API_VERSION
    daemon.close()
