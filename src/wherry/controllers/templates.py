"""Pod templates: a stable hash, comparison, and percentages of replicas.

The hash is the value of the labels `pod-template-hash` and `controller-revision-hash`: any stable function of the
template will do, written in the alphabet that Kubernetes uses for generated names (no vowels, no look-alikes).
"""

import copy
import hashlib
import math
from typing import Any

import orjson

from wherry.schema.resource import Object

SAFE_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
POD_TEMPLATE_HASH = "pod-template-hash"


def safe_hash(data: Any, collisions: int | None = None) -> str:
    """Ten characters of `SAFE_ALPHABET` that depend on `data` (JSON) and the collision count only."""
    digest = hashlib.sha256(orjson.dumps(data, option=orjson.OPT_SORT_KEYS))
    if collisions is not None:
        digest.update(b"%d" % collisions)
    number = int.from_bytes(digest.digest()[:8], "big")
    letters = []
    for _ in range(10):
        number, letter = divmod(number, len(SAFE_ALPHABET))
        letters.append(SAFE_ALPHABET[letter])
    return "".join(letters)


def plain_template(template: Object) -> Object:
    """The template as a user means it: without the hash label and without empty metadata fields."""
    template = copy.deepcopy(template)
    metadata = template.get("metadata") or {}
    (metadata.get("labels") or {}).pop(POD_TEMPLATE_HASH, None)
    template["metadata"] = {name: value for name, value in metadata.items() if value}
    return template


def same_template(one: Object, other: Object) -> bool:
    return plain_template(one) == plain_template(other)


def scaled(value: int | str | None, total: int, *, round_up: bool, default: int | str = 0) -> int:
    """An IntOrString (`3`, `"25%"`) of `total`. Raises ValueError for anything else."""
    if value is None:
        value = default
    if isinstance(value, int):
        return value
    if not value.endswith("%"):
        raise ValueError(f"invalid value for IntOrString: invalid type: string is not a percentage: {value!r}")
    share = int(value[:-1]) * total / 100
    return math.ceil(share) if round_up else math.floor(share)
