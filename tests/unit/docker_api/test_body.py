"""Bodies against shapes: what comes out always has the shape, whatever comes in."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from wherry.docker_api import compat
from wherry.docker_api.body import ANY, STRINGS, Map, shaped_as
from wherry.docker_api.shapes import CREATE, HOST_CONFIG
from wherry.engine.errors import EngineError, InvalidParameter

_LEAVES = st.none() | st.booleans() | st.integers(-3, 3) | st.floats(allow_nan=False) | st.text(max_size=5)
_JSON = st.recursive(
    _LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
)


def _values(shape: Any) -> st.SearchStrategy[Any]:
    """Values of a shape, now and then of none."""
    if shape is ANY:
        right: st.SearchStrategy[Any] = _JSON
    elif shape is STRINGS:
        right = st.lists(st.text(max_size=5), max_size=2) | st.text(max_size=5)
    elif isinstance(shape, list):
        right = st.lists(_values(shape[0]), max_size=2)
    elif isinstance(shape, Map):
        right = st.dictionaries(st.text(max_size=5), _values(shape.value), max_size=2)
    elif isinstance(shape, dict):
        right = st.fixed_dictionaries({}, optional={key: st.deferred(lambda k=key: _values(shape[k])) for key in shape})
    else:
        right = st.from_type(shape) if shape is not str else st.sampled_from(["", "bridge", "host", "bind", "x"])
    return st.one_of(right, right, right, right, right, _JSON)


def _fits(value: Any, shape: Any) -> bool:
    if shape is ANY:
        return True
    if shape is STRINGS:
        shape = [str]
    if isinstance(shape, list):
        return isinstance(value, list) and all(_fits(item, shape[0]) for item in value)
    if isinstance(shape, Map):
        return isinstance(value, dict) and all(_fits(item, shape.value) for item in value.values())
    if isinstance(shape, dict):
        return isinstance(value, dict) and all(key in shape and _fits(item, shape[key]) for key, item in value.items())
    return type(value) is shape


_SMALL: dict[str, Any] = {
    "Image": str,
    "HostConfig": {key: HOST_CONFIG[key] for key in ("Mounts", "NetworkMode", "PidsLimit", "PortBindings", "Ulimits")},
    "NetworkingConfig": CREATE["NetworkingConfig"],
    "Healthcheck": CREATE["Healthcheck"],
    "MacAddress": str,
    "Cmd": STRINGS,
}


@given(_values(_SMALL), st.sampled_from([(1, 24), (1, 40), (1, 43), (1, 44), (1, 47), (1, 50)]))
def test_a_create_body_is_shaped_or_refused(body: Any, version: tuple[int, int]) -> None:
    if not isinstance(body, dict):
        return
    try:
        shaped = shaped_as(body, CREATE)
        assert _fits(shaped, CREATE)
        warnings = compat.create_body(shaped, version)
    except EngineError:
        return
    assert shaped["HostConfig"]["NetworkMode"]
    assert all(isinstance(warning, str) for warning in warnings)


def test_null_is_a_field_that_is_not_given() -> None:
    body = {"Cmd": None, "Env": [None], "HostConfig": {"Mounts": [None]}, "Labels": {"a": None}}
    assert shaped_as(body, CREATE) == {"Env": [""], "HostConfig": {"Mounts": [{}]}, "Labels": {"a": ""}}


def test_numbers_must_be_whole_and_fit() -> None:
    for value in (1.5, True, 2**70, "1"):
        try:
            shaped_as({"Memory": value}, HOST_CONFIG)
        except InvalidParameter as error:
            assert "Memory" in error.message
        else:
            raise AssertionError(value)
