"""Files of a projected volume, swapped atomically.

The payload lives in a folder named by a timestamp, `..data` is a symlink to it, and each file is a symlink through
`..data`. An update writes a new folder and renames a new `..data` over the old one, so a reader sees either all old
or all new files. Same layout as Kubernetes', which programs that watch `..data` depend on.
"""

import os
import shutil
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

DATA = "..data"


@dataclass(frozen=True)
class File:
    """Content and permission bits (e.g. 0o644) of one file; `owner` is a numeric user id or -1."""

    content: bytes
    mode: int = 0o644
    owner: int = -1


def write(target: Path, files: Mapping[str, File], group: int | None = None) -> bool:
    """Make `target` show exactly `files` (relative path → File). True when something changed. Blocking."""
    for relative in files:
        parts = Path(relative).parts
        if not parts or relative.startswith("/") or ".." in parts or parts[0].startswith(".."):
            raise ValueError(f"invalid path in volume: {relative!r}")
    current = target / DATA
    old = current.readlink().name if current.is_symlink() else ""
    if old and _same(target / old, files):
        return False
    stamp = time.strftime("..%Y_%m_%d_%H_%M_%S.", time.gmtime())
    fresh = Path(tempfile.mkdtemp(prefix=stamp, dir=target))
    fresh.chmod(0o755)
    for relative, file in files.items():
        path = fresh / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file.content)
        mode = file.mode
        if group is not None or file.owner >= 0:
            os.chown(path, file.owner, group if group is not None else -1)
            if group is not None:
                mode |= (mode & 0o400) >> 3
        path.chmod(mode)
    swap = target / "..data_tmp"
    swap.unlink(missing_ok=True)
    swap.symlink_to(fresh.name)
    swap.rename(current)
    wanted = {Path(relative).parts[0] for relative in files}
    for first in wanted:
        link = target / first
        if not link.is_symlink():
            link.symlink_to(f"{DATA}/{first}")
    for entry in target.iterdir():
        if entry.is_symlink() and entry.name != DATA and entry.name not in wanted:
            entry.unlink()
    if old:
        shutil.rmtree(target / old, ignore_errors=True)
    return True


def _same(folder: Path, files: Mapping[str, File]) -> bool:
    present: dict[str, bytes] = {}
    for base, _, names in os.walk(folder):
        for name in names:
            path = Path(base) / name
            present[str(path.relative_to(folder))] = path.read_bytes()
    return present == {str(Path(relative)): file.content for relative, file in files.items()}
