"""The engine's build stream as the steps of BuildKit's display: plain lines, or a list redrawn on a terminal.

The engine answers POST /build with the classic builder's messages ("Step 2/5 : RUN …", " ---> Using cache"). A `Step`
here is one line of the display; instructions that only set values (ENV, CMD, …) have none, as in BuildKit.
"""

from __future__ import annotations

import os
import threading
import time

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from typing import TextIO

_SHOWN = ("FROM", "RUN", "COPY", "ADD", "WORKDIR")


class Step:
    """One line of the display."""

    def __init__(self, number: int, title: str, line: int = 0) -> None:
        self.number = number
        self.title = title
        self.line = line
        self.started = time.monotonic()
        self.ended: float | None = None
        self.cached = False
        self.failed = ""
        self.output: list[str] = []

    @property
    def seconds(self) -> float:
        return (self.ended or time.monotonic()) - self.started


class Plain:
    """Each thing that happens is a line, with the step's number in front."""

    def __init__(self, out: TextIO) -> None:
        self.out = out
        self._first = True

    def begin(self, step: Step) -> None:
        self._write(("" if self._first else "\n") + f"#{step.number} {step.title}\n")
        self._first = False

    def note(self, step: Step, text: str) -> None:
        self._write(f"#{step.number} {text}\n")

    def line(self, step: Step, text: str) -> None:
        self._write(f"#{step.number} {step.seconds:.3f} {text}\n")

    def end(self, step: Step) -> None:
        if step.failed:
            self._write(f"#{step.number} ERROR: {step.failed}\n")
        elif step.cached:
            self._write(f"#{step.number} CACHED\n")
        else:
            self._write(f"#{step.number} DONE {step.seconds:.1f}s\n")

    def close(self, failed: bool) -> None:
        return

    def _write(self, text: str) -> None:
        self.out.write(text)
        self.out.flush()


class Live:
    """The list of steps with their times, redrawn ten times a second; the last lines of the step that runs below it."""

    def __init__(self, out: TextIO) -> None:
        self.out = out
        self.steps: list[Step] = []
        self._notes: dict[int, list[str]] = {}
        self._height = 0
        self._started = time.monotonic()
        self._lock = threading.Lock()
        self._done = threading.Event()
        self._painter = threading.Thread(target=self._paint, daemon=True)
        self._painter.start()

    def begin(self, step: Step) -> None:
        with self._lock:
            self.steps.append(step)
        self._draw()

    def note(self, step: Step, text: str) -> None:
        with self._lock:
            self._notes.setdefault(step.number, []).append(text)

    def line(self, step: Step, text: str) -> None:
        return  # `Step.output` has it

    def end(self, step: Step) -> None:
        self._draw()

    def close(self, failed: bool) -> None:
        if self._done.is_set():
            return
        self._done.set()
        self._painter.join()
        self._draw(final=True, failed=failed)

    def _paint(self) -> None:
        while not self._done.wait(0.1):
            self._draw()

    def _draw(self, *, final: bool = False, failed: bool = False) -> None:
        with self._lock:
            columns, rows = _terminal(self.out)
            lines = self._lines(columns, final, failed)
            if not final and len(lines) > rows - 1:
                lines = [lines[0], *lines[len(lines) - rows + 2 :]]
            up = f"\x1b[{self._height}A" if self._height else ""
            self.out.write(f"{up}\r\x1b[J" + "".join(f"{line}\n" for line in lines))
            self.out.flush()
            self._height = len(lines)

    def _lines(self, columns: int, final: bool, failed: bool) -> list[str]:
        done = sum(1 for step in self.steps if step.ended is not None)
        spent = time.monotonic() - self._started
        word = " FINISHED" if final and not failed else ""
        lines = [f"[+] Building {spent:.1f}s ({done}/{len(self.steps)}){word}"]
        for step in self.steps:
            state = "ERROR " if step.failed else "CACHED " if step.cached else ""
            colour = "\x1b[31m" if step.failed else "\x1b[34m" if step.ended is not None else ""
            lines.append(_row(f" => {state}{step.title}", f"{step.seconds:.1f}s", columns, colour))
            lines += [_row(f" => => {note}", "", columns, colour) for note in self._notes.get(step.number, [])]
            if step.ended is None:
                lines += [_row(f" => => # {text}", "", columns, "\x1b[2m") for text in step.output[-6:]]
        return lines


def _row(left: str, right: str, columns: int, colour: str) -> str:
    room = max(10, columns - len(right) - 2)
    left = left if len(left) <= room else left[: room - 3] + "..."
    text = f"{left.ljust(room)} {right}".rstrip()
    return f"{colour}{text}\x1b[0m" if colour else text


def _terminal(out: TextIO) -> tuple[int, int]:
    try:
        size = os.get_terminal_size(out.fileno())
    except OSError:
        return 80, 24
    return size.columns or 80, size.lines or 24


class Quiet:
    """Says nothing."""

    def begin(self, step: Step) -> None:
        return

    def note(self, step: Step, text: str) -> None:
        return

    line = note
    end = begin

    def close(self, failed: bool) -> None:
        return


class Dockerfile:
    """Which instruction a "Step n/m" is: its stage's name, its number among the stage's steps, its line."""

    def __init__(self, text: str) -> None:
        """`text` may be no Dockerfile at all: the engine will say so."""
        from wherry.build.errors import BuildError
        from wherry.build.parser import parse

        self.lines = text.splitlines()
        self._nodes: list[tuple[str, int, int]] = []
        self._names: list[str] = []
        self._counts: list[int] = []
        self._at = 0
        self._seen: dict[int, int] = {}
        try:
            nodes = parse(text).nodes
        except BuildError:
            return
        for node in nodes:
            word = node.name.upper()
            if word == "FROM":
                self._counts.append(0)
                named = len(node.args) == 3 and node.args[1].upper() == "AS"
                self._names.append(node.args[2] if named else f"stage-{len(self._names)}")
            if self._counts:
                self._counts[-1] += word in _SHOWN
            self._nodes.append((word, len(self._counts) - 1, node.line))

    def find(self, text: str) -> tuple[str, int]:
        """The title and the line of the instruction `text`; no title when it has no line in the display."""
        word = text.split(None, 1)[0].upper() if text.strip() else ""
        at = self._at
        while at < len(self._nodes) and not (self._nodes[at][0] == word and (word != "FROM" or self._is(at, text))):
            at += 1
        if at == len(self._nodes):
            return (text if word in _SHOWN else ""), 0
        self._at = at + 1
        stage, line = self._nodes[at][1], self._nodes[at][2]
        if word not in _SHOWN:
            return "", line
        self._seen[stage] = self._seen.get(stage, 0) + 1
        name = f"{self._names[stage]} " if len(self._names) > 1 else ""
        return f"[{name}{self._seen[stage]}/{self._counts[stage]}] {text}", line

    def _is(self, at: int, text: str) -> bool:
        line = self.lines[self._nodes[at][2] - 1] if self._nodes[at][2] <= len(self.lines) else ""
        return line.split()[1:2] == text.split()[1:2]

    def excerpt(self, line: int, name: str) -> str:
        """The lines around a mistake, the one that is meant marked."""
        if not 1 <= line <= len(self.lines):
            return ""
        first, last = max(1, line - 3), min(len(self.lines), line + 3)
        bar = "-" * 20
        shown = [
            f"{number:4d} | {'>>>' if number == line else '   '} {self.lines[number - 1]}".rstrip()
            for number in range(first, last + 1)
        ]
        return "\n".join([f"{name}:{line}", bar, *shown, bar])
