"""/openapi/v2 and /openapi/v3: the documents come from the schema house."""

from wherry.kube_api.api import Api
from wherry.kube_api.http.message import Request, Response


def answer(api: Api, request: Request, path: str) -> Response | None:
    """None for a path that does not exist."""
    import wherry.schema.openapi as openapi

    if path == "/openapi/v2":
        return Response(openapi.v2(api.table))
    if path == "/openapi/v3":
        return Response(openapi.v3_index(api.table))
    if path.startswith("/openapi/v3/"):
        document = openapi.v3(api.table, path.removeprefix("/openapi/v3/"))
        return Response(document) if document is not None else None
    return None
