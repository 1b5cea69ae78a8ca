"""Links: how they are written, and what variables they give."""

import pytest

from wherry.engine import links
from wherry.engine.errors import InvalidParameter


@pytest.mark.parametrize(
    ("text", "parsed"),
    [("db", ("db", "db")), ("db:store", ("db", "store")), ("/db:/app/store", ("db", "store"))],
)
def test_a_link_is_a_name_and_an_alias(text: str, parsed: tuple[str, str]) -> None:
    assert links.parse(text) == parsed


@pytest.mark.parametrize("text", ["", ":a", "a:", "a:b:c"])
def test_what_is_no_link(text: str) -> None:
    with pytest.raises(InvalidParameter, match="bad format for links"):
        links.parse(text)


def test_variables_name_the_lowest_tcp_port_first() -> None:
    found = links._variables("/app/my-db", "10.0.0.2", ["53/udp", "8080/tcp", "80/tcp"])
    assert found[0] == "MY_DB_PORT=tcp://10.0.0.2:80"
    assert found[-1] == "MY_DB_NAME=/app/my-db"
    assert "MY_DB_PORT_53_UDP_PROTO=udp" in found
    assert links._variables("/app/db", "10.0.0.2", []) == ["DB_NAME=/app/db"]
