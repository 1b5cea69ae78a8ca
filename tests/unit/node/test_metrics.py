"""The Prometheus text format."""

from wherry.node.metrics import Text


def test_families_keep_their_order_and_labels_are_escaped() -> None:
    text = Text()
    text.family("a_total", "counter", "Of a.", "STABLE")
    text.family("b", "gauge", "Of b.")
    text.add("b", 1.5)
    text.add("a_total", 3, {"name": 'quote " and \\ and\nline'}, at=1.25)
    assert str(text) == (
        "# HELP a_total [STABLE] Of a.\n# TYPE a_total counter\n"
        'a_total{name="quote \\" and \\\\ and\\nline"} 3 1250\n'
        "# HELP b [ALPHA] Of b.\n# TYPE b gauge\nb 1.5\n"
    )
