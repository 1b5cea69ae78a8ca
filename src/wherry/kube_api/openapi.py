"""/openapi/v2 and /openapi/v3: the documents come from the schema house."""

import orjson

from wherry.kube_api.api import Api
from wherry.kube_api.http.message import Request, Response
from wherry.schema import errors

PROTOBUF = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
"""The media type of the answer (they ask for it with an @ before the version, which no media type may have)."""


def answer(api: Api, request: Request, path: str) -> Response | None:
    """None for a path that does not exist. Raises NotAcceptable."""
    import wherry.schema.openapi as openapi

    if path == "/openapi/v2":
        document = openapi.v2(api.table)
        if "proto-openapi.spec.v2" not in request.headers.get("accept", ""):
            return Response(document)
        from wherry.schema.openapi_protobuf import encode

        return Response(encode(orjson.loads(document)), content_type=PROTOBUF)
    if path == "/openapi/v3":
        _json_only(request)
        return Response(openapi.v3_index(api.table))
    if path.startswith("/openapi/v3/"):
        _json_only(request)
        found = openapi.v3(api.table, path.removeprefix("/openapi/v3/"))
        return Response(found) if found is not None else None
    return None


def _json_only(request: Request) -> None:
    """Clients that ask for v3 as protobuf alone try JSON when they are told that there is none."""
    accept = request.headers.get("accept", "")
    if accept and "json" not in accept and "*/*" not in accept:
        raise errors.NotAcceptable("only the following media types are accepted: application/json")
