"""The stream of the classic builder, as `POST /build` sends it.

Stages may run side by side; what each says is held back until the stages before it are done, so that the reader
sees one build from top to bottom.
"""

from collections.abc import Callable
from typing import Any

Progress = Callable[[dict[str, Any]], None]


class Stream:
    """Where a whole build's messages go. `channel(i)` gives stage i's part; only the first open one is live."""

    def __init__(self, progress: Progress, total: int, *, quiet: bool = False) -> None:
        self._progress = progress
        self._quiet = quiet
        self.total = total
        """Steps that are counted, of all stages that are built."""
        self._held: dict[int, list[str]] = {}
        self._live = 0
        self._order: list[int] = []
        self._closed: set[int] = set()

    def begin(self, order: list[int]) -> None:
        """The stages that will be built, in the order of the file."""
        self._order = order

    def text(self, stage: int, text: str) -> None:
        if self._quiet:
            return
        if self._order and self._order[self._live] == stage:
            self._progress({"stream": text})
        else:
            self._held.setdefault(stage, []).append(text)

    def close(self, stage: int) -> None:
        """The stage has said all: let the next one speak."""
        self._closed.add(stage)
        while self._live < len(self._order) - 1 and self._order[self._live] in self._closed:
            self._live += 1
            for text in self._held.pop(self._order[self._live], ()):
                if not self._quiet:
                    self._progress({"stream": text})

    def reveal(self, stage: int) -> None:
        """Show what a stage that failed has said, even though earlier ones are not done."""
        for text in self._held.pop(stage, ()):
            if not self._quiet:
                self._progress({"stream": text})

    def send(self, message: dict[str, Any]) -> None:
        self._progress(message)


def short(image_id: str) -> str:
    return image_id.removeprefix("sha256:")[:12]
