"""Explanations: for each pending pod, the verdict of every rule on every node, as of the last attempt.

Kept for the last pods that were refused; `wherry explain pod` and the server's debug endpoint read it.
"""

from collections import OrderedDict
from dataclasses import dataclass

from wherry.scheduler.framework import Diagnosis
from wherry.scheduler.snapshot import Snapshot

_REMEMBERED = 1000
_NODES_SHOWN = 200


@dataclass(frozen=True)
class Explanation:
    """`message` is what stands in the pod's condition; `verdicts` maps node names to (plugin, reason) pairs, for at
    most 200 nodes; `counts` has every reason with its number of nodes."""

    at: float
    message: str
    counts: tuple[tuple[str, str, int], ...]
    verdicts: dict[str, tuple[tuple[str, str], ...]]


class Explanations:
    """By pod UID."""

    def __init__(self) -> None:
        self._entries: OrderedDict[str, Explanation] = OrderedDict()

    def add(self, uid: str, message: str, diagnosis: Diagnosis, snapshot: Snapshot, at: float) -> None:
        verdicts: dict[str, list[tuple[str, str]]] = {}
        counts = []
        shown = list(snapshot.slots.items())[:_NODES_SHOWN]
        if diagnosis.whole:
            counts.append((diagnosis.whole_plugin, diagnosis.whole, diagnosis.total))
        for refusal in diagnosis.refusals:
            counts.append((refusal.plugin, refusal.reason, int(refusal.nodes.sum())))
            for name, slot in shown:
                if refusal.nodes[slot]:
                    verdicts.setdefault(name, []).append((refusal.plugin, refusal.reason))
        frozen = {name: tuple(reasons) for name, reasons in verdicts.items()}
        self._entries[uid] = Explanation(at, message, tuple(counts), frozen)
        self._entries.move_to_end(uid)
        while len(self._entries) > _REMEMBERED:
            self._entries.popitem(last=False)

    def get(self, uid: str) -> Explanation | None:
        return self._entries.get(uid)

    def forget(self, uid: str) -> None:
        self._entries.pop(uid, None)
