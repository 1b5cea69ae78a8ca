"""Authentication: client certificates, service account tokens, bootstrap tokens, static tokens; else anonymous.

https://kubernetes.io/docs/reference/access-authn-authz/authentication/
"""

import hmac
from collections.abc import Mapping
from typing import Any

from wherry.kube_api.api import Api
from wherry.kube_api.call import ANONYMOUS, User
from wherry.kube_api.http.message import Request
from wherry.kube_api.tokens import TokenSigner
from wherry.schema import builtin
from wherry.schema.errors import Unauthorized

AUTHENTICATED = "system:authenticated"
CACHE_SIZE = 4096


class Authenticator:
    """`identify(request)` gives the caller. Certificates are looked at once per connection."""

    def __init__(self, api: Api, signer: TokenSigner, static_tokens: Mapping[str, User] | None = None) -> None:
        self._api = api
        self._signer = signer
        self._static = dict(static_tokens or {})
        self._claims: dict[str, dict[str, Any]] = {}

    def identify(self, request: Request) -> User:
        """Raises Unauthorized for credentials that are not valid; no credentials is `ANONYMOUS`."""
        authorization = request.headers.get("authorization")
        token = None
        if authorization is not None:
            scheme, _, value = authorization.partition(" ")
            if scheme.lower() == "bearer" and value.strip():
                token = value.strip()
        elif "sec-websocket-protocol" in request.headers:
            token = _websocket_token(request.headers["sec-websocket-protocol"])
        connection = request.connection
        user: User | None = connection.state
        if user is None:
            user = connection.state = _from_certificate(connection.transport.get_extra_info("ssl_object"))
        if user is not ANONYMOUS or token is None:
            return user
        found = self.by_token(token)
        if found is None:
            raise Unauthorized("Unauthorized")
        return found

    def by_token(self, token: str, audiences: list[str] | None = None) -> User | None:
        """The user a bearer token stands for, or None."""
        static = self._static.get(token)
        if static is not None:
            return static
        if token.count(".") == 2:
            return self._service_account(token, audiences)
        if len(token) == 23 and token[6] == ".":
            return self._bootstrap(token)
        return None

    def _service_account(self, token: str, audiences: list[str] | None) -> User | None:
        now = self._api.now()
        claims = self._claims.get(token) if audiences is None else None
        if claims is None:
            claims = self._signer.verify(token, now, audiences)
            if claims is None:
                return None
            if audiences is None:
                if len(self._claims) >= CACHE_SIZE:
                    self._claims.clear()
                self._claims[token] = claims
        elif now > claims["exp"]:
            del self._claims[token]
            return None
        private = claims.get("kubernetes.io") or {}
        account = private.get("serviceaccount") or {}
        namespace, name = private.get("namespace", ""), account.get("name", "")
        if not self._same(builtin.SERVICE_ACCOUNTS, namespace, name, account.get("uid")):
            return None
        extra: list[tuple[str, tuple[str, ...]]] = [
            ("authentication.kubernetes.io/credential-id", (f"JTI={claims.get('jti', '')}",))
        ]
        for kind, resource in (("pod", builtin.PODS), ("secret", builtin.SECRETS), ("node", builtin.NODES)):
            bound = private.get(kind)
            if not bound:
                continue
            primary = kind != "node" or not private.get("pod")
            if primary and not self._same(
                resource, namespace if resource.namespaced else None, bound.get("name", ""), bound.get("uid")
            ):
                return None
            if kind != "secret":
                extra.append((f"authentication.kubernetes.io/{kind}-name", (bound.get("name", ""),)))
                if bound.get("uid"):
                    extra.append((f"authentication.kubernetes.io/{kind}-uid", (bound["uid"],)))
        return User(
            f"system:serviceaccount:{namespace}:{name}",
            ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", AUTHENTICATED),
            account.get("uid", ""),
            tuple(extra),
        )

    def _same(self, resource: Any, namespace: str | None, name: str, uid: str | None) -> bool:
        """Whether the object that a token is bound to is still the same one."""
        entry = self._api.cached(resource, namespace, name)
        return entry is not None and entry.shared()["metadata"]["uid"] == uid

    def _bootstrap(self, token: str) -> User | None:
        """`abcdef.0123456789abcdef`: a Secret of type bootstrap.kubernetes.io/token in kube-system."""
        import base64
        from datetime import datetime

        identifier, secret = token.split(".")
        entry = self._api.cached(builtin.SECRETS, "kube-system", f"bootstrap-token-{identifier}")
        if entry is None:
            return None
        obj = entry.peek()
        if obj.get("type") != "bootstrap.kubernetes.io/token" or obj["metadata"].get("deletionTimestamp"):
            return None
        data = {key: base64.b64decode(value).decode() for key, value in (obj.get("data") or {}).items()}
        if not hmac.compare_digest(data.get("token-secret", ""), secret) or data.get("token-id") != identifier:
            return None
        if data.get("usage-bootstrap-authentication") != "true":
            return None
        expires = data.get("expiration")
        if expires and datetime.fromisoformat(expires.replace("Z", "+00:00")).timestamp() < self._api.now():
            return None
        groups = [
            one for one in data.get("auth-extra-groups", "").split(",") if one.startswith("system:bootstrappers:")
        ]
        return User(f"system:bootstrap:{identifier}", ("system:bootstrappers", *groups, AUTHENTICATED))


def _from_certificate(ssl_object: Any) -> User:
    """CN is the name, each O a group."""
    certificate = ssl_object.getpeercert() if ssl_object is not None else None
    if not certificate:
        return ANONYMOUS
    name, groups = "", []
    for part in certificate.get("subject", ()):
        for key, value in part:
            if key == "commonName":
                name = value
            elif key == "organizationName":
                groups.append(value)
    return User(name, (*groups, AUTHENTICATED)) if name else ANONYMOUS


def _websocket_token(protocols: str) -> str | None:
    """Browsers cannot set Authorization: they send the token as a WebSocket subprotocol."""
    import base64

    prefix = "base64url.bearer.authorization.k8s.io."
    for protocol in protocols.split(","):
        protocol = protocol.strip()
        if protocol.startswith(prefix):
            text = protocol[len(prefix) :]
            try:
                return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()
            except ValueError:
                return None
    return None
