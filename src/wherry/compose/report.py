"""How work tells of its progress: who prints it is another's business."""

from typing import Literal, Protocol, TypeAlias

State: TypeAlias = Literal["working", "done", "warning", "error"]


class Report(Protocol):
    """`report("Container shop-web-1", "Started", "done")`; the same name is told of several times."""

    def __call__(self, name: str, text: str, state: State = "working") -> None: ...


def silent(name: str, text: str, state: State = "working") -> None:
    """Tells nobody."""
