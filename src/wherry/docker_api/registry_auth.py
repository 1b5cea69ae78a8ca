"""Registry credentials as clients send them: base64url JSON in `X-Registry-Auth` and `X-Registry-Config`."""

import base64
import binascii
from typing import Any

import orjson
from aiohttp import web

from wherry.engine.errors import InvalidParameter


def registry_auth(request: web.BaseRequest) -> dict[str, Any]:
    """`X-Registry-Auth`: username, password, identitytoken, registrytoken, …; `{}` when absent or unreadable.

    Docker's daemon ignores what it cannot read, because older clients send odd values.
    """
    try:
        return _decode(request.headers.get("X-Registry-Auth", ""))
    except ValueError:
        return {}


def registry_config(request: web.BaseRequest) -> dict[str, Any]:
    """`X-Registry-Config` (build): registry host to credentials. Raises InvalidParameter."""
    try:
        return _decode(request.headers.get("X-Registry-Config", ""))
    except ValueError as error:
        raise InvalidParameter(f"invalid X-Registry-Config header: {error}") from None


def _decode(header: str) -> dict[str, Any]:
    if not header:
        return {}
    try:
        raw = base64.urlsafe_b64decode(header + "=" * (-len(header) % 4))
        decoded = orjson.loads(raw)
    except (binascii.Error, orjson.JSONDecodeError) as error:
        raise ValueError(str(error)) from None
    return decoded if isinstance(decoded, dict) else {}
