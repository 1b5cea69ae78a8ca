"""Tables, formats, rows."""

from types import SimpleNamespace

import pytest

from wherry.cli.docker.container.rows import COLUMNS, HEADERS, JSON_NAMES, container_row, ports_text
from wherry.cli.docker.listing import show
from wherry.cli.format.gotemplate import TemplateError
from wherry.cli.format.table import render

ITEM = {
    "Id": "0123456789abcdef" * 4,
    "Names": ["/web"],
    "Image": "busybox",
    "ImageID": "sha256:1",
    "Command": "sleep 1000000000000000000",
    "Created": 1,
    "State": "running",
    "Status": "Up 2 hours",
    "Ports": [],
    "Labels": {"b": "2", "a": "1"},
    "Mounts": [],
    "NetworkSettings": {"Networks": {"bridge": {}}},
}


def shown(form, items=(ITEM,)):
    lines = []
    rows = [container_row(item, False) for item in items]
    show(SimpleNamespace(out=lines.append), rows, COLUMNS, HEADERS, form, json_names=JSON_NAMES)
    return "\n".join(lines)


def test_columns_are_ten_wide_and_three_apart():
    assert render([["A", "BB"], ["aaaaaaaaaa", "b"]]) == "A            BB\naaaaaaaaaa   b\n"
    assert render([["A", "BB"], ["a", "b"]]) == "A         BB\na         b\n"


def test_the_table():
    lines = shown("").splitlines()
    assert lines[0].split("  ")[0] == "CONTAINER ID"
    assert lines[1].startswith('0123456789ab   busybox   "sleep 1000000000000…"   ')


def test_templates():
    assert shown('{{.ID}} {{.Label "a"}} {{.Labels}}') == "0123456789ab 1 a=1,b=2"
    assert shown("table {{.Names}}\\t{{.Status}}") == "NAMES     STATUS\nweb       Up 2 hours"
    assert shown("json").startswith('{"Command":"\\"sleep 1000000000000…\\""')


def test_a_wrong_field_is_named():
    with pytest.raises(TemplateError) as caught:
        shown("{{.Foo}}")
    assert str(caught.value) == (
        'failed to execute template: template: :1:2: executing "" at <.Foo>: '
        "can't evaluate field Foo in type *formatter.ContainerContext"
    )


def port(private, public=0, ip="", kind="tcp"):
    return {"PrivatePort": private, "PublicPort": public, "IP": ip, "Type": kind}


@pytest.mark.parametrize(
    ("ports", "text"),
    [
        ([port(80)], "80/tcp"),
        ([port(80, 8080, "0.0.0.0"), port(80, 8080, "::")], "0.0.0.0:8080->80/tcp, [::]:8080->80/tcp"),
        ([port(80), port(81), port(82)], "80-82/tcp"),
        ([port(9000, 9000, "0.0.0.0"), port(9001, 9001, "0.0.0.0")], "0.0.0.0:9000-9001->9000-9001/tcp"),
        ([port(53, kind="udp"), port(80)], "53/udp, 80/tcp"),
    ],
)
def test_ports(ports, text):
    assert ports_text(ports) == text
