"""Amounts of the metrics API, for `kubectl top`."""

from typing import Any

from wherry.cli.kubectl.errors import KubectlError, ServerError
from wherry.cli.kubectl.session import Session

GROUP = "/apis/metrics.k8s.io/v1beta1"


def get(session: Session, path: str, query: Any = None) -> Any:
    """GET below the metrics API. Raises KubectlError when the server has none."""
    try:
        return session.http.get(f"{GROUP}{path}", query)
    except ServerError as error:
        details = error.body.get("details") or {}
        if error.status in (404, 405, 503) and not details.get("name"):
            raise KubectlError("Metrics API not available") from error
        raise


def milli_cpu(usage: Any) -> int:
    from wherry.schema.quantity import parse

    return int(-(-parse(usage.get("cpu", "0")).nano // 10**6))


def bytes_of(usage: Any) -> int:
    from wherry.schema.quantity import parse

    return int(parse(usage.get("memory", "0")).nano // 10**9)


def mebibytes(amount: int) -> str:
    return f"{amount // (1 << 20)}Mi"
