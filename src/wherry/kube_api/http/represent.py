"""Representations: what the Accept header asks for, and request bodies of every accepted content type."""

from typing import Any, NamedTuple

import orjson

from wherry.kube_api.http import protobuf
from wherry.kube_api.http.message import JSON_TYPE
from wherry.schema import errors

ACCEPTED = "application/json, application/yaml, application/vnd.kubernetes.protobuf"
MAX_DEPTH = 200


class Representation(NamedTuple):
    """`shape` is "" (the object itself), "Table" or "PartialObjectMetadata"."""

    media_type: str
    shape: str = ""
    version: str = "v1"


PLAIN = Representation(JSON_TYPE)
_cache: dict[str, Representation] = {"": PLAIN, "*/*": PLAIN, JSON_TYPE: PLAIN}


def negotiate(accept: str) -> Representation:
    """The first of the accepted types that can be had. Raises NotAcceptable."""
    found = _cache.get(accept)
    if found is None:
        found = _negotiate(accept)
        if len(_cache) < 1024:
            _cache[accept] = found
    return found


def _negotiate(accept: str) -> Representation:
    ranges = []
    for position, part in enumerate(accept.split(",")):
        pieces = [piece.strip() for piece in part.split(";")]
        parameters = dict(piece.split("=", 1) for piece in pieces[1:] if "=" in piece)
        try:
            quality = float(parameters.get("q", "1"))
        except ValueError:
            quality = 1.0
        ranges.append((-quality, position, pieces[0].lower(), parameters))
    for quality, _, media_type, parameters in sorted(ranges, key=lambda one: one[:2]):
        if quality == 0:
            continue
        if media_type in ("*/*", "application/*", "application/json", "text/*", "text/json"):
            media_type = JSON_TYPE
        elif media_type in ("application/yaml", "text/yaml", "application/x-yaml"):
            media_type = "application/yaml"
        else:
            continue
        shape = parameters.get("as", "")
        if not shape:
            return Representation(media_type)
        known = shape in ("Table", "PartialObjectMetadata", "PartialObjectMetadataList")
        if known and parameters.get("g") == "meta.k8s.io" and parameters.get("v") in ("v1", "v1beta1"):
            return Representation(media_type, shape.removesuffix("List"), parameters["v"])
    raise errors.NotAcceptable(f"only the following media types are accepted: {ACCEPTED}")


def parse_body(body: bytes, content_type: str) -> tuple[Any, bytes | None]:
    """(decoded body, the JSON bytes it came as if it was JSON). Raises BadRequest, UnsupportedMediaType."""
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type.endswith("json") or media_type in ("", "*/*"):
        try:
            return orjson.loads(body), body
        except orjson.JSONDecodeError as error:
            raise errors.BadRequest(f"couldn't get version/kind; json parse error: {error}") from None
    if media_type.endswith("yaml"):
        return parse_yaml(body), None
    if media_type == protobuf.MEDIA_TYPE:
        return protobuf.decode(body), None
    raise errors.UnsupportedMediaType(
        f"the body of the request was in an unknown format - accepted media types include: {ACCEPTED}"
    )


def parse_yaml(body: bytes) -> Any:
    """One YAML document (or JSON). Raises BadRequest, also for documents that unfold to many times their size."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        pass
    import yaml

    from wherry.host import yaml_bounds

    try:
        yaml_bounds.check(body)
        decoded = yaml.load(body, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        encoded = orjson.dumps(_plain(decoded, [0], 0), option=orjson.OPT_NON_STR_KEYS)
        return orjson.loads(encoded)
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        raise errors.BadRequest(f"error decoding YAML: {error}") from None
    except (orjson.JSONEncodeError, RecursionError) as error:
        raise errors.BadRequest(f"error converting YAML to JSON: {error}") from None


def _plain(value: Any, count: list[int], depth: int) -> Any:
    """YAML's own types as JSON's; bounded in size and depth."""
    count[0] += 1
    if count[0] > 1_000_000 or depth > MAX_DEPTH:
        raise errors.BadRequest("error decoding YAML: document contains excessive aliasing")
    if isinstance(value, dict):
        return {str(key): _plain(item, count, depth + 1) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item, count, depth + 1) for item in value]
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def render(data: bytes, media_type: str) -> bytes:
    """JSON bytes in the media type that was asked for."""
    if media_type != "application/yaml":
        return data
    import yaml

    dumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    text: str = yaml.dump(orjson.loads(data), Dumper=dumper, default_flow_style=False, sort_keys=True)
    return text.encode()
