"""Which store a cluster's data is in: `<root>/store.json` names an etcd, without that file it is SQLite.

The choice is made once, by whoever starts the cluster first; it does not change while there is data.
"""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from wherry.store.api import Store

SQLITE_FILE = "cluster.db"
CHOICE_FILE = "store.json"


class WrongChoice(Exception):
    """The data is somewhere else; the message says where and what to do."""


@dataclass(frozen=True)
class StoreChoice:
    """No `endpoints`: SQLite. The other fields are paths of PEM files, for etcd over TLS."""

    endpoints: tuple[str, ...] = ()
    ca: str = ""
    cert: str = ""
    key: str = ""

    @property
    def shown(self) -> str:
        return f"etcd at {', '.join(self.endpoints)}" if self.endpoints else "SQLite"


def load(root: Path) -> StoreChoice:
    """What was chosen for the cluster whose state is in `root`."""
    try:
        raw = json.loads((root / CHOICE_FILE).read_text())
    except FileNotFoundError:
        return StoreChoice()
    return StoreChoice(tuple(raw["endpoints"]), raw["ca"], raw["cert"], raw["key"])


def choose(root: Path, choice: StoreChoice) -> None:
    """Write down a choice. Raises WrongChoice when the cluster has its data in another store already.

    The addresses and files of an etcd may change (members come and go); SQLite and etcd do not change places.
    """
    present = load(root)
    if present == choice:
        return
    if not present.endpoints and choice.endpoints and (root / SQLITE_FILE).exists():
        raise WrongChoice(
            f"this cluster has its data in {root / SQLITE_FILE}. To move it: wherry snapshot save FILE, wherry down, "
            f"move {SQLITE_FILE} away, wherry up --etcd …, wherry down, wherry snapshot restore FILE"
        )
    root.mkdir(parents=True, exist_ok=True)
    temporary = root / f"{CHOICE_FILE}.new"
    temporary.write_text(json.dumps(asdict(choice), indent=2) + "\n")
    os.replace(temporary, root / CHOICE_FILE)


async def open_store(root: Path, choice: StoreChoice | None = None) -> Store:
    """Open the cluster's store. Raises Corrupt, Unavailable."""
    choice = choice or load(root)
    if choice.endpoints:
        from wherry.store.etcd import EtcdStore

        return await EtcdStore.open(choice.endpoints, ca=choice.ca, cert=choice.cert, key=choice.key)
    from wherry.store.sqlite import SqliteStore

    return await SqliteStore.open(root / SQLITE_FILE)
