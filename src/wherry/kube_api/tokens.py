"""Service account tokens: JSON Web Tokens signed with the cluster's own ECDSA key.

The claims are those of bound tokens, https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/.
"""

import hashlib
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

ALGORITHM = "ES256"
LEEWAY_SECONDS = 60


class TokenSigner:
    """Signs and verifies. `issuer` is the URL that stands in `iss`; `audiences` are the API server's own."""

    def __init__(self, private_pem: bytes, issuer: str, audiences: Sequence[str]) -> None:
        key = serialization.load_pem_private_key(private_pem, password=None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        self._private = key
        self._public = key.public_key()
        self.issuer = issuer
        self.audiences = list(audiences)
        der = self._public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        self.key_id = urlsafe_b64encode(hashlib.sha256(der).digest()).rstrip(b"=").decode()

    @classmethod
    def load(cls, path: Path, issuer: str, audiences: Sequence[str]) -> "TokenSigner":
        """From a PEM file that holds the private key."""
        return cls(path.read_bytes(), issuer, audiences)

    def issue(
        self,
        *,
        namespace: str,
        account: str,
        uid: str,
        audiences: Sequence[str],
        seconds: int,
        now: float,
        bound: tuple[str, str, str, str, str] | None = None,
    ) -> tuple[str, str]:
        """(token, its expiry as a timestamp). `bound` is (kind, name, uid, node name, node uid)."""
        start = int(now)
        private: dict[str, Any] = {"namespace": namespace, "serviceaccount": {"name": account, "uid": uid}}
        if bound is not None:
            kind, name, bound_uid, node, node_uid = bound
            private[kind.lower()] = {"name": name, "uid": bound_uid}
            if node:
                private["node"] = {"name": node, "uid": node_uid} if node_uid else {"name": node}
        claims = {
            "aud": list(audiences),
            "exp": start + seconds,
            "iat": start,
            "nbf": start,
            "iss": self.issuer,
            "jti": str(uuid.uuid4()),
            "kubernetes.io": private,
            "sub": f"system:serviceaccount:{namespace}:{account}",
        }
        token = jwt.encode(claims, self._private, ALGORITHM, headers={"kid": self.key_id})
        return token, datetime.fromtimestamp(start + seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    def verify(self, token: str, now: float, audiences: Sequence[str] | None = None) -> dict[str, Any] | None:
        """The claims of a token that this cluster signed, that is valid now and meant for one of `audiences`
        (default: the API server's); None for every other."""
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                self._public,
                algorithms=[ALGORITHM],
                issuer=self.issuer,
                options={"verify_aud": False, "verify_exp": False, "verify_nbf": False, "verify_iat": False,
                         "require": ["exp", "sub", "aud"]},
            )  # fmt: skip
        except jwt.PyJWTError:
            return None
        wanted = set(audiences if audiences else self.audiences)
        given = claims["aud"]
        if not wanted & set([given] if isinstance(given, str) else given):
            return None
        if now > claims["exp"] or now < claims.get("nbf", 0) - LEEWAY_SECONDS:
            return None
        return claims

    def jwks(self) -> dict[str, Any]:
        """The public key as a JSON Web Key Set."""
        numbers = self._public.public_numbers()

        def coordinate(value: int) -> str:
            return urlsafe_b64encode(value.to_bytes(32, "big")).rstrip(b"=").decode()

        return {
            "keys": [
                {
                    "use": "sig",
                    "kty": "EC",
                    "kid": self.key_id,
                    "crv": "P-256",
                    "alg": ALGORITHM,
                    "x": coordinate(numbers.x),
                    "y": coordinate(numbers.y),
                }
            ]
        }
