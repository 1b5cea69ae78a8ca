"""A real terminal emulator: tmux, driven from outside. Keys go in, the screen is read."""

import subprocess
from pathlib import Path
from types import TracebackType

from waiting import wait_until


class Tmux:
    """`with Tmux(env, folder) as terminal`: a shell on a screen of 80 by 24, by a tmux server of its own."""

    def __init__(self, env: dict[str, str], folder: Path, *, columns: int = 80, rows: int = 24) -> None:
        self._env = {**env, "ENV": "", "TERM": "xterm-256color", "LC_ALL": "C.UTF-8"}
        self._env.pop("TMUX", None)
        self._socket = str(folder / "tmux.sock")
        self._size = (str(columns), str(rows))

    def __enter__(self) -> "Tmux":
        columns, rows = self._size
        self._tmux("-f", "/dev/null", "new-session", "-d", "-s", "t", "-x", columns, "-y", rows, "/bin/sh")
        try:
            self.type("PS1='host''> '; clear")  # the shell sets its own
            self.wait_for("host>")
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._tmux("kill-server", check=False)

    def _tmux(self, *words: str, check: bool = True) -> str:
        done = subprocess.run(
            ["tmux", "-S", self._socket, *words],
            env=self._env,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert not check or done.returncode == 0, f"tmux {' '.join(words)}: {done.stderr}"
        return done.stdout

    @property
    def text(self) -> str:
        """What the screen shows."""
        return "\n".join(line.rstrip() for line in self._tmux("capture-pane", "-p", "-t", "t").splitlines()).rstrip()

    def wait_for(self, text: str, timeout: float = 30.0) -> str:
        """Until `text` is on the screen; the screen."""
        seen = [""]

        def there() -> bool:
            seen[0] = self.text
            return text in seen[0]

        try:
            wait_until(there, f"{text!r} on the screen", timeout)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{seen[0]}") from None
        return seen[0]

    def wait_for_prompt(self) -> None:
        """Until the shell asks for a command: what is typed before belongs to the program that holds the terminal."""
        wait_until(lambda: self.text.endswith("host>"), "the shell's prompt at the end of the screen", 30.0)

    def type(self, text: str) -> None:
        """Text as it is, and Enter."""
        self._tmux("send-keys", "-t", "t", "-l", "--", text)
        self._tmux("send-keys", "-t", "t", "Enter")

    def keys(self, *names: str) -> None:
        """Keys by tmux's names: C-c, Escape, Enter, …"""
        self._tmux("send-keys", "-t", "t", *names)

    def resize(self, columns: int, rows: int) -> None:
        self._tmux("resize-window", "-t", "t", "-x", str(columns), "-y", str(rows))
