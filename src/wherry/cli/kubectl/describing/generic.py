"""Every other kind: all fields of the object, with their names made readable."""

import re
from typing import Any

from wherry.cli.kubectl.describing.writer import Object, Writer, events
from wherry.cli.kubectl.session import Session

_SKIPPED = {
    ".metadata.managedFields",
    ".metadata.name",
    ".metadata.namespace",
    ".metadata.labels",
    ".metadata.annotations",
}
_UPPER = {
    "api": "API",
    "id": "ID",
    "ip": "IP",
    "uid": "UID",
    "url": "URL",
    "cpu": "CPU",
    "http": "HTTP",
    "https": "HTTPS",
    "tls": "TLS",
    "dns": "DNS",
    "uri": "URI",
}


def describe(session: Session, out: Writer, obj: Object, found: list[Object] | None) -> None:
    meta = obj.get("metadata") or {}
    out.field("Name", meta.get("name", ""))
    out.field("Namespace", meta.get("namespace", ""))
    out.labels("Labels", meta.get("labels"))
    out.annotations(meta.get("annotations"))
    _map(out, obj, 0, "")
    events(out, found)


def label(field: str) -> str:
    """`apiVersion` → `API Version`."""
    words = re.findall(r"[A-Z]+(?=[A-Z][a-z]|$|[0-9])|[A-Z]?[a-z0-9]+|[A-Z]+|[^A-Za-z0-9]+", field) or [field]
    if "." in field or "/" in field or "-" in field:
        return field
    return " ".join(_UPPER.get(word.lower(), word[:1].upper() + word[1:]) for word in words)


def _text(value: Any) -> str:
    if value is None:
        return "<nil>"
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _map(out: Writer, value: Object, level: int, prefix: str) -> None:
    for key in sorted(value):
        path = f"{prefix}.{key}"
        if path in _SKIPPED:
            continue
        child = value[key]
        if isinstance(child, dict):
            out.line(level, f"{label(key)}:")
            _map(out, child, level + 1, path)
        elif isinstance(child, list):
            out.line(level, f"{label(key)}:")
            for item in child:
                if isinstance(item, dict):
                    _map(out, item, level + 1, path)
                else:
                    out.line(level + 1, _text(item))
        else:
            out.line(level, f"{label(key)}:\t{_text(child)}")
