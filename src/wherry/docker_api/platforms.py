"""The query parameter `platform` (API 1.46 and later): an image has one platform here, so it is that or nothing."""

from typing import Any

import orjson

from wherry.docker_api.routing import Call, Version
from wherry.engine.errors import InvalidParameter, NotFound


def wanted(call: Call, since: Version, key: str = "platform", *, only: bool = False) -> list[dict[str, Any]]:
    """What the client asks for: OCI platforms as JSON; nothing from clients older than `since`.

    Of several `platform` the first counts, and with `only` they are an error. Raises InvalidParameter for what is no
    platform.
    """
    if call.version < since:
        return []
    texts = call.query.texts(key)
    if key == "platform":
        if only and len(texts) > 1:
            raise InvalidParameter("multiple platform parameters not supported")
        texts = texts[:1]
    found = []
    for text in filter(None, texts):
        try:
            platform = orjson.loads(text)
        except orjson.JSONDecodeError:
            platform = None
        if not isinstance(platform, dict) or not all(isinstance(value, str | list) for value in platform.values()):
            raise InvalidParameter(f"failed to parse platform: {text}")
        if not platform.get("os") or not platform.get("architecture"):
            if any(platform.values()) and not platform.get("os") and not platform.get("architecture"):
                raise InvalidParameter("optional platform fields provided, but OS and Architecture are missing")
            raise InvalidParameter("both OS and Architecture must be provided")
        found.append(platform)
    return found


def require(call: Call, name: str, platforms: list[dict[str, Any]]) -> None:
    """Raises NotFound when the image `name` is not of each of `platforms`."""
    if not platforms:
        return
    config = call.engine.images.resolve(name).config
    for platform in platforms:
        if not matches(config, platform):
            raise NotFound(
                f"image with reference {name} was found but its platform ({shown(config)}) does not match the "
                f"specified platform ({shown(platform)})"
            )


def matches(config: Any, platform: dict[str, Any]) -> bool:
    """Whether an image's configuration is of `platform`; a variant counts only when both name one."""
    variants = {str(one["variant"]) for one in (config, platform) if one.get("variant")}
    return all(config.get(key) == platform[key] for key in ("os", "architecture")) and len(variants) < 2


def shown(platform: Any) -> str:
    """`linux/arm64/v8`."""
    return "/".join(str(platform[key]) for key in ("os", "architecture", "variant") if platform.get(key))
