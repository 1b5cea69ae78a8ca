"""The instance: where one Wherry lives on this machine, and the names of everything it makes there.

Several instances run side by side, so every bridge, nftables table, cgroup and network namespace that
Wherry makes carries the instance's id, and nothing else on the machine is ever touched.

`root` is state that survives a reboot, `run` is state that does not.
"""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

DEFAULT_ROOT = Path("/var/lib/wherry")
DEFAULT_RUN = Path("/run/wherry")


@dataclass(frozen=True)
class Instance:
    """One Wherry on this machine. `id` is four base-32 characters, derived from `root`."""

    id: str
    root: Path
    run: Path

    @property
    def docker_socket(self) -> Path:
        return self.run / "docker.sock"

    @property
    def kubeconfig(self) -> Path:
        return self.root / "kubeconfig"

    @property
    def database(self) -> Path:
        """The engine's metadata (SQLite)."""
        return self.root / "engine.db"

    @property
    def netns_dir(self) -> Path:
        """Bind mounts that keep network namespaces alive."""
        return self.run / "netns"

    @property
    def log_dir(self) -> Path:
        """Logs of Wherry's own processes."""
        return self.root / "log"

    @property
    def pki_dir(self) -> Path:
        return self.root / "pki"

    @property
    def cgroup(self) -> str:
        """The cgroup below which all of this instance's containers live (relative to each hierarchy)."""
        return f"wherry-{self.id}"

    @property
    def nft_table(self) -> str:
        """Prefix of the nftables tables of this instance; the engine's own table has this very name."""
        return f"wherry_{self.id}"

    def link_name(self, kind: str, token: str) -> str:
        """Name of a network interface: `wh<id><kind><token>`, cut to the kernel's 15 characters.

        `kind` is one character: `b` bridge, `v` host end of a veth pair, `p` pod bridge, `x` vxlan.
        """
        return f"wh{self.id}{kind}{token}"[:15]


def open_instance(root: Path | str | None = None, run: Path | str | None = None) -> Instance:
    """The instance at `root`/`run`; both default to WHERRY_ROOT/WHERRY_RUN, then to the system's places.

    Does not create anything. A `root` other than the default with no `run` given gets `/run/wherry-<id>`.
    """
    given_root = root or os.environ.get("WHERRY_ROOT")
    root_path = Path(os.path.abspath(given_root)) if given_root else DEFAULT_ROOT
    given_run = run or os.environ.get("WHERRY_RUN")
    digest = hashlib.sha256(os.fsencode(root_path)).digest()
    alphabet = "abcdefghijklmnopqrstuvwxyz234567"
    instance_id = "".join(alphabet[byte % 32] for byte in digest[:4])
    if given_run:
        run_path = Path(os.path.abspath(given_run))
    elif root_path == DEFAULT_ROOT:
        run_path = DEFAULT_RUN
    else:
        run_path = Path(f"/run/wherry-{instance_id}")
    return Instance(id=instance_id, root=root_path, run=run_path)
