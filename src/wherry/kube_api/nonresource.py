"""Paths that are no resources: discovery, OpenAPI, version, health, metrics, the token issuer's keys."""

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

import orjson

from wherry.kube_api.api import Api
from wherry.kube_api.call import User
from wherry.kube_api.discovery import AGGREGATED, Discovery
from wherry.kube_api.http.message import Request, Response, json_response, text_response
from wherry.kube_api.http.protocol import Answer
from wherry.kube_api.tokens import TokenSigner
from wherry.kube_api.version import version_info
from wherry.schema import errors

if TYPE_CHECKING:
    from wherry.kube_api.http.app import App

CHECKS = ("ping", "log", "etcd", "poststarthook/bootstrap", "poststarthook/rbac/bootstrap-roles")

"""The store is called etcd here, whichever it is: monitoring asks for `/readyz/etcd`."""

DocumentOf = Callable[[str], Coroutine[Any, Any, dict[str, Any] | None]]
"""A JSON document for the rest of a path, or None when there is none."""


class NonResource:
    """`answer(request, user)`: a response, or None for a path that does not exist."""

    def __init__(
        self,
        api: Api,
        discovery: Discovery,
        signer: TokenSigner,
        ready: Callable[[], bool],
        documents: dict[str, DocumentOf] | None = None,
    ) -> None:
        self._api = api
        self._discovery = discovery
        self._signer = signer
        self._ready = ready
        self._documents = documents if documents is not None else {}
        self.app: App | None = None
        self.port = 0

    def answer(self, request: Request, user: User) -> Response | Coroutine[Any, Any, Answer] | None:
        path = request.path.rstrip("/") or "/"
        if request.method not in ("GET", "HEAD"):
            return None
        if path in ("/api", "/apis") or path.startswith(("/api/", "/apis/")):
            return self._discover(request, path)
        if path.startswith("/openapi/"):
            return self._openapi(request, path)
        if path == "/version":
            return json_response(version_info())
        for health in ("/healthz", "/livez", "/readyz"):
            if path == health or path.startswith(health + "/"):
                return self._health(request, health[1:], path[len(health) + 1 :])
        if path == "/metrics":
            return self._metrics()
        if path == "/openid/v1/jwks":
            return Response(orjson.dumps(self._signer.jwks()), content_type="application/jwk-set+json")
        if path == "/.well-known/openid-configuration":
            return json_response(
                {
                    "issuer": self._signer.issuer,
                    "jwks_uri": f"{self._signer.issuer}/openid/v1/jwks",
                    "response_types_supported": ["id_token"],
                    "subject_types_supported": ["public"],
                    "id_token_signing_alg_values_supported": ["ES256"],
                }
            )
        for prefix, document_of in self._documents.items():
            if path.startswith(prefix):
                return _document(document_of, path[len(prefix) :])
        if path == "/":
            return json_response({"paths": self._paths()})
        return None

    def _paths(self) -> list[str]:
        table = self._api.table
        found = ["/api", "/api/v1", "/apis"]
        for group in sorted(group for group in table.groups() if group):
            found.append(f"/apis/{group}")
            found += [f"/apis/{group}/{version}" for version in table.versions(group)]
        return [*found, "/healthz", "/livez", "/metrics", "/openapi/v2", "/openapi/v3", "/readyz", "/version"]

    def _discover(self, request: Request, path: str) -> Response | None:
        accept = request.headers.get("accept", "")
        aggregated = (
            path in ("/api", "/apis") and "as=APIGroupDiscoveryList" in accept and "v=v2" in accept.split(",")[0]
        )
        document = self._discovery.document(path, aggregated)
        if document is None:
            return None
        headers: list[tuple[str, str]] = []
        if path in ("/api", "/apis"):
            headers.append(("Vary", "Accept"))
        if aggregated:
            etag = self._discovery.etag(document)
            headers.append(("ETag", etag))
            if request.headers.get("if-none-match") == etag:
                return Response(status=304, headers=headers)
        return Response(document, content_type=AGGREGATED if aggregated else "application/json", headers=headers)

    def _openapi(self, request: Request, path: str) -> Response | None:
        from wherry.kube_api import openapi

        return openapi.answer(self._api, request, path)

    def _health(self, request: Request, name: str, check: str) -> Response | None:
        results = dict.fromkeys(CHECKS, True)
        results["etcd"] = self._api.cache.failure is None
        results["poststarthook/bootstrap"] = results["poststarthook/rbac/bootstrap-roles"] = (
            self._ready() or name == "livez"
        )
        if check:
            if check not in results:
                return None
            return text_response("ok") if results[check] else text_response("internal server error", status=500)
        excluded = set(request.query.get("exclude", []))
        bad = [one for one, good in results.items() if not good and one not in excluded]
        if not bad and "verbose" not in request.query:
            return text_response("ok")
        lines = [
            f"[+]{one} excluded: ok"
            if one in excluded
            else f"[+]{one} ok"
            if good
            else f"[-]{one} failed: reason withheld"
            for one, good in results.items()
        ]
        lines.append(f"{name} check {'failed' if bad else 'passed'}")
        return text_response("\n".join(lines) + "\n", status=500 if bad else 200)

    def _metrics(self) -> Response:
        from wherry.kube_api.metrics import render

        assert self.app is not None
        return Response(
            render(self._api, self.app.requests).encode(), content_type="text/plain; version=0.0.4; charset=utf-8"
        )


async def _document(document_of: DocumentOf, rest: str) -> Answer:
    found = await document_of(rest)
    if found is None:
        missing = errors.NotFound("the server could not find the requested resource", details={})
        return json_response({**missing.status, "code": missing.code}, status=missing.code)
    return json_response(found)
