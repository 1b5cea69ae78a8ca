"""Encryption at rest: AES-256-GCM around the stored bytes of chosen resources, bound to the object's key.

Stored form: `k8s:enc:aesgcm:v1:key1:` + 12 bytes nonce + ciphertext. What was stored in the clear stays readable.
"""

import base64
import os
from collections.abc import Sequence
from pathlib import Path

from wherry.kube_api.objects import ROOT

PREFIX = b"k8s:enc:aesgcm:v1:key1:"


class Encryption:
    """`conceal` on the way to the store, `reveal` on the way back."""

    def __init__(self, key: bytes, resources: Sequence[str]) -> None:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        self._cipher = AESGCM(key)
        self._prefixes = tuple(f"{ROOT}core/{resource}/" for resource in resources)

    @classmethod
    def load(cls, path: Path, resources: Sequence[str]) -> "Encryption":
        """From a file that holds 32 bytes in base64."""
        return cls(base64.b64decode(path.read_bytes()), resources)

    def conceal(self, key: str, value: bytes) -> bytes:
        if not self._prefixes or not key.startswith(self._prefixes):
            return value
        nonce = os.urandom(12)
        return PREFIX + nonce + self._cipher.encrypt(nonce, value, key.encode())

    def reveal(self, key: str, value: bytes) -> bytes:
        """Raises cryptography's InvalidTag when the key or the data is not the one it was concealed with."""
        if not value.startswith(PREFIX):
            return value
        start = len(PREFIX)
        return self._cipher.decrypt(value[start : start + 12], value[start + 12 :], key.encode())
