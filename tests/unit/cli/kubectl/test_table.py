"""Columns are as wide as Go's tabwriter makes them."""

from wherry.cli.kubectl.table import lines, tabbed


def test_columns_of_a_list() -> None:
    assert lines([["NAME", "READY", "AGE"], ["nginx", "1/1", "5m"]]) == ["NAME    READY   AGE", "nginx   1/1     5m"]


def test_a_line_without_tabs_ends_a_column() -> None:
    text = "Name:\tweb\nLonger name:\tx\nPorts:\n  A:\tb\n"
    assert tabbed(text) == "Name:         web\nLonger name:  x\nPorts:\n  A:  b\n"


def test_an_empty_last_column_leaves_its_padding() -> None:
    assert lines([["NAME", "CPU", ""], ["vm", "1m", ""]]) == ["NAME   CPU   ", "vm     1m    "]
