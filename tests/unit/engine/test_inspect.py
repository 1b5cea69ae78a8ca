from types import SimpleNamespace
from typing import Any, cast

import pytest

from wherry.engine.inspect import shown_config
from wherry.engine.model import Container

MAC = "02:42:ac:11:00:99"


@pytest.mark.parametrize(
    ("config", "mode", "endpoints", "expected"),
    [
        ({}, "blue", {"blue": {"MacAddress": MAC}, "red": {"MacAddress": "x"}}, MAC),
        ({}, "bridge", {}, None),
        ({}, "bridge", {"blue": {"MacAddress": MAC}}, None),
        ({"MacAddress": "y"}, "blue", {"blue": {"MacAddress": MAC}}, "y"),
    ],
)
def test_the_mac_address_that_was_asked_for_is_shown_in_the_config(
    config: dict[str, Any], mode: str, endpoints: dict[str, Any], expected: str | None
) -> None:
    record = SimpleNamespace(config=config, host_config={"NetworkMode": mode}, endpoints=endpoints)
    before = dict(config)
    assert shown_config(cast("Container", SimpleNamespace(record=record))).get("MacAddress") == expected
    assert config == before
