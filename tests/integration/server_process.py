"""The API server alone, as a process of its own that tests may kill."""

import asyncio
import json
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from waiting import wait_until

from wherry.client.http import HttpClient
from wherry.host.instance import Instance
from wherry.schema.errors import ApiError, Conflict, NotFound


class ServerProcess:
    """`wherry-server` on an instance; `kill` is SIGKILL."""

    def __init__(self, instance: Instance) -> None:
        self.instance = instance
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        binary = Path(sys.executable).parent / "wherry-server"
        words = [str(binary), "--root", str(self.instance.root), "--run", str(self.instance.run)]
        self.instance.run.mkdir(parents=True, exist_ok=True)
        self.instance.log_dir.mkdir(parents=True, exist_ok=True)
        with open(self.instance.log_dir / "server.err", "ab") as log:
            self.process = subprocess.Popen(words, stdout=log, stderr=log)
        wait_until(self.serves, "the server serves", 60)

    def serves(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, (self.instance.log_dir / "server.err").read_text()[-2000:]
        cluster = self.instance.root / "cluster.json"
        if not self.instance.kubeconfig.exists() or not cluster.exists():
            return False
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", json.loads(cluster.read_text())["api_port"])) == 0

    def kill(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(20)

    def client(self) -> HttpClient:
        return HttpClient.from_kubeconfig(self.instance.kubeconfig)


async def eventually(attempt: Any, seconds: float = 60.0) -> Any:
    """Repeat until the server is there again."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return await attempt()
        except (ApiError, OSError) as error:
            if isinstance(error, (Conflict, NotFound)) or time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.2)
