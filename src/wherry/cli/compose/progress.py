"""Progress on standard error: lines that change in a terminal, one line per change elsewhere."""

import json
import threading
import time
from dataclasses import dataclass, field
from typing import TextIO

from wherry.compose.report import State

_SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_MARKS = {"done": "✔", "warning": "!", "error": "✘"}
_COLOURS = {"done": "32", "warning": "33", "error": "31", "working": "36"}
_TICK_SECONDS = 0.1


@dataclass
class _Line:
    name: str
    text: str
    state: State
    begun: float
    ended: float | None = None


@dataclass
class Progress:
    """A `Report`. `mode` is tty, plain, json or quiet. Close it before anything else is printed."""

    mode: str
    stream: TextIO
    colour: bool = False
    dry: bool = False
    title: str = "Running"
    lines: dict[str, _Line] = field(default_factory=dict)
    _drawn: int = 0
    _lock: threading.RLock = field(default_factory=threading.RLock)
    _ticker: threading.Thread | None = None
    _stop: threading.Event = field(default_factory=threading.Event)

    def __call__(self, name: str, text: str, state: State = "working") -> None:
        with self._lock:
            if self.mode == "quiet":
                return
            if self.mode == "plain":
                prefix = "DRY-RUN MODE - " if self.dry else ""
                self.stream.write(f" {prefix}{name}  {text}\n")
                self.stream.flush()
                return
            if self.mode == "json":
                said = {"dry-run": True} if self.dry else {}
                status = {"done": "Done", "warning": "Warning", "error": "Error"}.get(state, "Working")
                self.stream.write(json.dumps({**said, "id": name, "status": status, "text": text}) + "\n")
                self.stream.flush()
                return
            now = time.monotonic()
            line = self.lines.setdefault(name, _Line(name, text, state, now))
            line.text, line.state = text, state
            line.ended = None if state == "working" else now
            self._draw()
            if self._ticker is None:
                self._stop.clear()
                self._ticker = threading.Thread(target=self._tick, daemon=True)
                self._ticker.start()

    def note(self, text: str) -> None:
        """A line of another kind, above those that change."""
        with self._lock:
            self._erase()
            self.stream.write(f"{text}\n")
            self.stream.flush()
            if self.mode == "tty" and self.lines:
                self._draw()

    def close(self) -> None:
        """The lines stay as they are; the next report begins a new block."""
        self._stop.set()
        if self._ticker is not None:
            self._ticker.join()
            self._ticker = None
        with self._lock:
            if self._drawn:
                self._draw()
            self.lines.clear()
            self._drawn = 0

    def _tick(self) -> None:
        while not self._stop.wait(_TICK_SECONDS):
            with self._lock:
                if any(line.ended is None for line in self.lines.values()):
                    self._draw()

    def _erase(self) -> None:
        if self._drawn:
            self.stream.write(f"\x1b[{self._drawn}A\x1b[J")
            self._drawn = 0

    def _draw(self) -> None:
        now = time.monotonic()
        done = sum(line.ended is not None for line in self.lines.values())
        head = f"[+] {self.title} {done}/{len(self.lines)}"
        rows = [self._paint(head, "34") if done == len(self.lines) else head]
        names = max(len(line.name) for line in self.lines.values())
        texts = max(len(line.text) for line in self.lines.values())
        prefix = "DRY-RUN MODE - " if self.dry else ""
        for line in self.lines.values():
            seconds = (line.ended or now) - line.begun
            mark = _MARKS.get(line.state) or _SPINNER[int(now / _TICK_SECONDS) % len(_SPINNER)]
            colour = _COLOURS[line.state]
            rows.append(
                f" {self._paint(mark, colour)} {prefix}{line.name.ljust(names)}  "
                f"{self._paint(line.text.ljust(texts), colour)}  {self._paint(f'{seconds:.1f}s', '34')} "
            )
        up = f"\x1b[{self._drawn}A" if self._drawn else ""
        self.stream.write(up + "".join(f"\x1b[2K{row}\n" for row in rows))
        self.stream.flush()
        self._drawn = len(rows)

    def _paint(self, text: str, code: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self.colour else text
