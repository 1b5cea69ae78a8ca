"""hostPath volumes: check or make what the type asks for.

Specified in https://kubernetes.io/docs/concepts/storage/volumes/#hostpath.
"""

import os
import stat
from pathlib import Path


class VolumeError(Exception):
    """A volume cannot be made ready; the message is that of the FailedMount event."""


def check(path: str, kind: str) -> Path:
    """The path, checked against hostPath type `kind` ("" checks nothing). Blocking. Raises VolumeError."""
    host = Path(path)
    if kind in ("", None):
        if not host.exists():
            # Docker makes a missing bind source as a directory; so do the kubelets that run on it.
            host.mkdir(mode=0o755, parents=True, exist_ok=True)
        return host
    if kind == "DirectoryOrCreate":
        if not host.exists():
            host.mkdir(mode=0o755, parents=True, exist_ok=True)
        kind = "Directory"
    elif kind == "FileOrCreate":
        if not host.exists():
            try:
                os.close(os.open(host, os.O_CREAT | os.O_WRONLY, 0o644))
            except FileNotFoundError as error:
                raise VolumeError(f"hostPath type check failed: {path} is not a file: {error.strerror}") from error
        kind = "File"
    tests = {
        "Directory": ("a directory", stat.S_ISDIR),
        "File": ("a file", stat.S_ISREG),
        "Socket": ("a socket file", stat.S_ISSOCK),
        "CharDevice": ("a character device", stat.S_ISCHR),
        "BlockDevice": ("a block device", stat.S_ISBLK),
    }
    if kind not in tests:
        raise VolumeError(f"{kind} is an invalid volume type")
    what, test = tests[kind]
    try:
        mode = host.stat().st_mode
    except OSError:
        mode = 0
    if not test(mode):
        raise VolumeError(f"hostPath type check failed: {path} is not {what}")
    return host
