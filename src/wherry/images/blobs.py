"""Content-addressed blobs: manifests and image configurations.

A blob is a file `blobs/sha256/<hex>` below the store's directory. It becomes visible complete or not at all:
written to a temporary name, fsynced, renamed. Layers are not kept here (see `layers`): their bytes are
rebuilt from the unpacked directory, so that each file is on the disk once.
"""

import hashlib
import json
import os
import secrets
from pathlib import Path
from typing import Any

from .errors import DigestMismatch, NotFound


def digest_of(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def canonical_json(value: Any) -> bytes:
    """JSON as the image tools write it: no spaces, keys in the order given."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


class BlobStore:
    """Small blobs by digest. Every method blocks for at most one fsync."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory / "sha256"
        self._temporary = directory / "tmp"
        self._directory.mkdir(parents=True, exist_ok=True)
        self._temporary.mkdir(exist_ok=True)
        for leftover in self._temporary.iterdir():
            leftover.unlink()

    def path(self, digest: str) -> Path:
        return self._directory / digest.removeprefix("sha256:")

    def put(self, data: bytes, expected: str | None = None, *, durable: bool = True) -> str:
        """Store `data` and give its digest; `expected` must match it (DigestMismatch).

        Without `durable` the blob survives the death of the process but perhaps not that of the machine.
        """
        digest = digest_of(data)
        if expected is not None and digest != expected:
            raise DigestMismatch(f"manifest verification failed for digest {expected}")
        path = self.path(digest)
        if path.exists():
            return digest
        temporary = self._temporary / f"{path.name}.{secrets.token_hex(4)}"
        with open(temporary, "wb") as file:
            file.write(data)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        os.replace(temporary, path)
        return digest

    def get(self, digest: str) -> bytes:
        """Raises NotFound when the blob is not there."""
        try:
            return self.path(digest).read_bytes()
        except FileNotFoundError:
            raise NotFound(f"blob {digest} not found") from None

    def get_json(self, digest: str) -> Any:
        return json.loads(self.get(digest))

    def exists(self, digest: str) -> bool:
        return self.path(digest).exists()

    def delete(self, digest: str) -> None:
        self.path(digest).unlink(missing_ok=True)

    def digests(self) -> set[str]:
        return {f"sha256:{path.name}" for path in self._directory.iterdir()}
