"""What is said when nobody answers."""

import socket
from pathlib import Path

import pytest

from wherry.cli import hints


@pytest.fixture(autouse=True)
def places(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WHERRY_ROOT", "/var/lib/wherry")
    monkeypatch.setenv("WHERRY_RUN", "/run/wherry")
    monkeypatch.setattr(hints, "OTHER_SOCKET", str(tmp_path / "other.sock"))
    monkeypatch.setattr("os.geteuid", lambda: 0)


def test_the_engine_of_this_machine_is_started() -> None:
    assert hints.engine("unix:///run/wherry/docker.sock") == "Start it with: sudo wherry up"
    assert hints.engine("unix:///elsewhere.sock") == ""
    assert hints.engine("tcp://10.0.0.1:2375") == ""


def test_an_instance_elsewhere_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHERRY_ROOT", "/srv/w")
    monkeypatch.setenv("WHERRY_RUN", "/srv/r")
    assert hints.engine("unix:///srv/r/docker.sock") == "Start it with: sudo wherry --root /srv/w --run /srv/r up"


def test_another_docker_is_named(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "other.sock"))
        assert "another Docker" not in hints.engine("unix:///run/wherry/docker.sock"), "nobody listens yet"
        listener.listen()
        assert hints.engine("unix:///run/wherry/docker.sock") == (
            f"Start it with: sudo wherry up (another Docker answers at unix://{tmp_path}/other.sock: "
            "docker -H names it)"
        )


def test_the_cluster_of_this_machine_is_started() -> None:
    assert hints.cluster(["/var/lib/wherry/kubeconfig"]) == "Start it with: sudo wherry up"
    assert hints.cluster(["/root/.kube/config"]) == ""
    assert hints.cluster(["/var/lib/wherry/kubeconfig", "/root/.kube/config"]) == ""
