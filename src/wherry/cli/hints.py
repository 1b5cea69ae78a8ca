"""What to do when nobody answers: one line for those who meet Wherry first, in every client the same.

Only about this machine's own instance (WHERRY_ROOT, WHERRY_RUN): about other engines and clusters nothing is known.
"""

from __future__ import annotations

# The C part of the socket module, as in docker_api/client.py: a command's cost is its imports.
import _socket
import os

OTHER_SOCKET = "/var/run/docker.sock"
_ROOT, _RUN = "/var/lib/wherry", "/run/wherry"


def places() -> tuple[str, str]:
    """Root and runtime directory of this machine's instance, as the environment names them."""
    return os.environ.get("WHERRY_ROOT") or _ROOT, os.environ.get("WHERRY_RUN") or _RUN


def up(root: str = "", run: str = "") -> str:
    """The command that starts the instance at `root` and `run`, by default this machine's."""
    if not root:
        root, run = places()
    given = "" if (root, run) == (_ROOT, _RUN) else f"--root {root} --run {run} "
    return f"sudo wherry {given}up"


def engine(host: str) -> str:
    """What to do when the engine at `host` does not answer; empty when it is none of this instance."""
    path = f"{places()[1]}/docker.sock"
    if host != f"unix://{path}":
        return ""
    if os.geteuid() and not _may_connect(path):
        return "Its socket is root's: run the command with sudo"
    if answers(OTHER_SOCKET):
        return f"Start it with: {up()} (another Docker answers at unix://{OTHER_SOCKET}: docker -H names it)"
    return f"Start it with: {up()}"


def cluster(files: list[str]) -> str:
    """What to do when the API server that the kubeconfig `files` name does not answer."""
    return f"Start it with: {up()}" if files == [f"{places()[0]}/kubeconfig"] else ""


def _may_connect(path: str) -> bool:
    """False when the socket, or a folder above it, is closed to us; True also when it is not there."""
    folder = os.path.dirname(path)
    while not os.path.isdir(folder) and folder != "/":
        folder = os.path.dirname(folder)
    return os.access(folder, os.X_OK) and (not os.path.exists(path) or os.access(path, os.W_OK))


def answers(path: str) -> bool:
    """Whether somebody listens on a unix socket."""
    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        return connection.connect_ex(path) == 0
    finally:
        connection.close()
