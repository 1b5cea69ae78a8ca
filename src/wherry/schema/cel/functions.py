"""The functions that Kubernetes adds to CEL, for `cel-expr-python`.

Specified in https://kubernetes.io/docs/reference/using-api/cel/#cel-options-language-features-and-libraries. Types
that CEL does not have (quantities, URLs, addresses, networks) are maps with one key of their own that names them.
"""

import ipaddress
import re
from collections.abc import Callable, Iterator
from decimal import Decimal
from itertools import pairwise
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from cel_expr_python import cel  # type: ignore[import-untyped]

from wherry.schema import names, quantity

JsonDict = dict[str, Any]

_QUANTITY: Final = "kubernetes quantity"
_URL: Final = "kubernetes url"
_IP: Final = "kubernetes ip"
_CIDR: Final = "kubernetes cidr"
_FORMAT: Final = "kubernetes format"

T: Final = cel.Type
_LIST: Final = T.List(T.DYN)


def declarations() -> list[Any]:
    """All of them, as FunctionDecl objects."""
    by_name: dict[str, list[Any]] = {}
    for number, (name, parameters, result, run, member) in enumerate(_table()):
        by_name.setdefault(name, []).append(
            cel.Overload(
                id=f"kubernetes_{number}", return_type=result, parameters=parameters, is_member=member, impl=run
            )
        )
    return [cel.FunctionDecl(name, overloads) for name, overloads in by_name.items()]


def _table() -> Iterator[tuple[str, list[Any], Any, Callable[..., Any], bool]]:
    yield from _lists()
    yield from _texts()
    yield from _quantities()
    yield from _urls()
    yield from _addresses()


def _lists() -> Iterator[tuple[str, list[Any], Any, Callable[..., Any], bool]]:
    yield "isSorted", [_LIST], T.BOOL, lambda one: all(a <= b for a, b in pairwise(one)), True
    yield "sum", [_LIST], T.DYN, lambda one: sum(one), True
    yield "min", [_LIST], T.DYN, lambda one: min(one), True
    yield "max", [_LIST], T.DYN, lambda one: max(one), True
    yield "indexOf", [_LIST, T.DYN], T.INT, lambda one, item: one.index(item) if item in one else -1, True
    yield "lastIndexOf", [_LIST, T.DYN], T.INT, _last_index, True
    yield "flatten", [_LIST], _LIST, lambda one: [x for y in one for x in (y if isinstance(y, list) else [y])], True
    yield "sets.contains", [_LIST, _LIST], T.BOOL, lambda one, other: all(item in one for item in other), False
    yield "sets.intersects", [_LIST, _LIST], T.BOOL, lambda one, other: any(item in one for item in other), False
    yield (
        "sets.equivalent", [_LIST, _LIST], T.BOOL,
        lambda one, other: all(item in one for item in other) and all(item in other for item in one), False,
    )  # fmt: skip


def _last_index(items: list[Any], item: Any) -> int:
    return len(items) - 1 - items[::-1].index(item) if item in items else -1


def _texts() -> Iterator[tuple[str, list[Any], Any, Callable[..., Any], bool]]:
    yield "find", [T.STRING, T.STRING], T.STRING, _find, True
    yield "findAll", [T.STRING, T.STRING], T.List(T.STRING), lambda text, pattern: _find_all(text, pattern, -1), True
    yield "findAll", [T.STRING, T.STRING, T.INT], T.List(T.STRING), _find_all, True
    for name in _CHECKS:
        yield f"format.{name}", [], T.DYN, _constant({_FORMAT: name}), False
    yield "validate", [T.DYN, T.STRING], T.DYN, _check_format, True


def _constant(value: JsonDict) -> Callable[[], JsonDict]:
    return lambda: dict(value)


def _find(text: str, pattern: str) -> str:
    found = re.search(pattern, text)
    return found[0] if found else ""


def _find_all(text: str, pattern: str, limit: int) -> list[str]:
    found = [one[0] for one in re.finditer(pattern, text)]
    return found if limit < 0 else found[:limit]


_CHECKS: Final[dict[str, Callable[[str], list[str]]]] = {
    "dns1123Label": names.dns_label,
    "dns1123Subdomain": names.dns_subdomain,
    "dns1035Label": names.dns1035_label,
    "qualifiedName": names.qualified_name,
    "labelValue": names.label_value,
}


def _check_format(format: JsonDict, text: str) -> Any:
    """An optional list of problems in CEL; here the list itself, empty when there is none."""
    return _CHECKS[_inner(format, _FORMAT)](text)


def _inner(value: Any, key: str) -> Any:
    if not isinstance(value, dict) or key not in value:
        raise ValueError(f"no such overload: not a {key}")
    return value[key]


def _quantities() -> Iterator[tuple[str, list[Any], Any, Callable[..., Any], bool]]:
    yield "quantity", [T.STRING], T.DYN, lambda text: _quantity(_parse_quantity(text)), False
    yield "isQuantity", [T.STRING], T.BOOL, _is_quantity, False
    yield "sign", [T.DYN], T.INT, lambda one: (_number(one) > 0) - (_number(one) < 0), True
    yield "isInteger", [T.DYN], T.BOOL, lambda one: _number(one) == _number(one).to_integral_value(), True
    yield "asInteger", [T.DYN], T.INT, lambda one: int(_number(one)), True
    yield "asApproximateFloat", [T.DYN], T.DOUBLE, lambda one: float(_number(one)), True
    yield "add", [T.DYN, T.DYN], T.DYN, lambda one, other: _quantity(_number(one) + _number(other)), True
    yield "sub", [T.DYN, T.DYN], T.DYN, lambda one, other: _quantity(_number(one) - _number(other)), True
    yield "isLessThan", [T.DYN, T.DYN], T.BOOL, lambda one, other: _number(one) < _number(other), True
    yield "isGreaterThan", [T.DYN, T.DYN], T.BOOL, lambda one, other: _number(one) > _number(other), True
    yield (
        "compareTo", [T.DYN, T.DYN], T.INT,
        lambda one, other: (_number(one) > _number(other)) - (_number(one) < _number(other)), True,
    )  # fmt: skip


def _parse_quantity(text: str) -> Decimal:
    return Decimal(quantity.parse(text).nano).scaleb(-9)


def _is_quantity(text: str) -> bool:
    try:
        quantity.parse(text)
    except ValueError:
        return False
    return True


def _quantity(value: Decimal) -> JsonDict:
    return {_QUANTITY: str(value.normalize())}


def _number(value: Any) -> Decimal:
    return Decimal(value) if isinstance(value, int) else Decimal(_inner(value, _QUANTITY))


def _urls() -> Iterator[tuple[str, list[Any], Any, Callable[..., Any], bool]]:
    yield "url", [T.STRING], T.DYN, _url, False
    yield "isURL", [T.STRING], T.BOOL, _is_url, False
    for name, get in (
        ("getScheme", lambda url: url.scheme),
        ("getHost", lambda url: url.netloc.rpartition("@")[2]),
        ("getHostname", lambda url: url.hostname or ""),
        ("getPort", lambda url: str(url.port or "")),
        ("getEscapedPath", lambda url: url.path),
    ):
        yield name, [T.DYN], T.STRING, _of_url(get), True
    yield "getQuery", [T.DYN], T.DYN, _of_url(lambda url: parse_qs(url.query, keep_blank_values=True)), True


def _of_url(get: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: get(urlsplit(_inner(value, _URL)))


def _url(text: str) -> JsonDict:
    if not _is_url(text):
        raise ValueError(f'URL parse error during conversion from string: parse "{text}": invalid URI for request')
    return {_URL: text}


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    return text.startswith("/") or bool(parts.scheme)


def _addresses() -> Iterator[tuple[str, list[Any], Any, Callable[..., Any], bool]]:
    yield "ip", [T.STRING], T.DYN, lambda text: {_IP: str(ipaddress.ip_address(text))}, False
    yield "isIP", [T.STRING], T.BOOL, lambda text: _parses(ipaddress.ip_address, text), False
    yield "ip.isCanonical", [T.STRING], T.BOOL, lambda text: str(ipaddress.ip_address(text)) == text, False
    for name, get in (
        ("isUnspecified", lambda one: one.is_unspecified),
        ("isLoopback", lambda one: one.is_loopback),
        ("isLinkLocalMulticast", lambda one: one.is_multicast and str(one).startswith(("224.0.0.", "ff02:"))),
        ("isLinkLocalUnicast", lambda one: one.is_link_local),
        ("isGlobalUnicast", lambda one: not (one.is_multicast or one.is_loopback or one.is_unspecified)),
    ):
        yield name, [T.DYN], T.BOOL, _of_ip(get), True
    yield "family", [T.DYN], T.INT, _of_ip(lambda one: one.version), True
    yield "cidr", [T.STRING], T.DYN, lambda text: {_CIDR: str(ipaddress.ip_interface(_with_slash(text)))}, False
    yield "isCIDR", [T.STRING], T.BOOL, lambda text: "/" in text and _parses(ipaddress.ip_interface, text), False
    yield "containsIP", [T.DYN, T.DYN], T.BOOL, lambda net, one: _address(one) in _network(net), True
    yield "containsCIDR", [T.DYN, T.DYN], T.BOOL, _contains, True
    yield "ip", [T.DYN], T.DYN, lambda net: {_IP: _inner(net, _CIDR).partition("/")[0]}, True
    yield "masked", [T.DYN], T.DYN, lambda net: {_CIDR: str(_network(net))}, True
    yield "prefixLength", [T.DYN], T.INT, lambda net: _network(net).prefixlen, True


def _of_ip(get: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: get(ipaddress.ip_address(_inner(value, _IP)))


def _parses(parse: Callable[[str], Any], text: str) -> bool:
    try:
        parse(text)
    except ValueError:
        return False
    return True


def _with_slash(text: str) -> str:
    if "/" not in text:
        raise ValueError(f"network address parse error: {text!r} has no prefix length")
    return text


def _address(value: Any) -> Any:
    return ipaddress.ip_address(value if isinstance(value, str) else _inner(value, _IP))


def _network(value: Any) -> Any:
    return ipaddress.ip_network(value if isinstance(value, str) else _inner(value, _CIDR), strict=False)


def _contains(net: Any, other: Any) -> bool:
    outer, inner = _network(net), _network(other)
    return bool(outer.version == inner.version and inner.subnet_of(outer))
