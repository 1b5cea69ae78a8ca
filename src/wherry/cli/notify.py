"""Telling the supervisor how a process is: sd_notify(3), so that systemd understands it too."""

import os
import socket


def notify(message: str) -> None:
    """Sends `READY=1`, `STATUS=…` to NOTIFY_SOCKET; without one (run by hand) nothing happens."""
    path = os.environ.get("NOTIFY_SOCKET")
    if not path:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        try:
            sender.connect("\0" + path[1:] if path.startswith("@") else path)
            sender.send(message.encode())
        except OSError:
            return  # the supervisor was killed: nobody to tell, and nothing that would stop this process
