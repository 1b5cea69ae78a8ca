"""The annotation in which client-side apply keeps what was applied last."""

import json
from typing import Any

Object = dict[str, Any]
KEY = "kubectl.kubernetes.io/last-applied-configuration"


def encode(obj: Object) -> str:
    """The configuration as the annotation holds it: without the annotation itself, keys sorted, one line."""
    meta = dict(obj.get("metadata") or {})
    annotations = {key: value for key, value in (meta.get("annotations") or {}).items() if key != KEY}
    meta["annotations"] = annotations
    text = json.dumps({**obj, "metadata": meta}, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e") + "\n"


def annotated(obj: Object) -> Object:
    """A copy that carries its own configuration in the annotation."""
    meta = dict(obj.get("metadata") or {})
    meta["annotations"] = {**(meta.get("annotations") or {}), KEY: encode(obj)}
    return {**obj, "metadata": meta}


def decode(obj: Object) -> Object | None:
    """What was applied last; None when nothing tells."""
    text = ((obj.get("metadata") or {}).get("annotations") or {}).get(KEY)
    if not text:
        return None
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None
