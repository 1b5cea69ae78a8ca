"""`wherry explain` as text."""

from typing import Any

from wherry.cli.explain import lines


def document(**changes: Any) -> dict[str, Any]:
    found: dict[str, Any] = {
        "namespace": "default",
        "name": "web",
        "phase": "Pending",
        "node": "",
        "containers": [],
        "events": [],
        "decisions": [],
        "scheduling": {
            "scheduler": "default-scheduler",
            "message": "0/2 nodes are available: 2 Insufficient cpu.",
            "rules": ["NodeResourcesFit", "TaintToleration"],
            "nodes": 2,
            "feasible": 0,
            "anywhere": {},
            "counts": [{"rule": "NodeResourcesFit", "reason": "Insufficient cpu", "nodes": 2}],
            "verdicts": {
                "a": {"refusals": {"NodeResourcesFit": ["Insufficient cpu"]}, "scores": {}, "total": 0},
                "b": {"refusals": {"NodeResourcesFit": ["Insufficient cpu"]}, "scores": {}, "total": 0},
            },
        },
    }
    return found | changes


def test_a_pending_pod_shows_each_rule_on_each_node() -> None:
    text = "\n".join(lines(document(), 20))
    assert "Pod default/web: Pending, on no node" in text
    assert "Last refusal: 0/2 nodes are available: 2 Insufficient cpu." in text
    assert "    2 nodes  NodeResourcesFit: Insufficient cpu" in text
    assert "  no   a\n         NodeResourcesFit: Insufficient cpu" in text


def test_only_so_many_nodes_are_shown_and_the_rest_counted() -> None:
    text = "\n".join(lines(document(), 1))
    assert "  no   b" not in text
    assert "… and 1 more nodes" in text


def test_a_bound_pod_shows_where_it_is_and_the_points() -> None:
    verdict = {"refusals": {}, "scores": {"NodeResourcesFit": 80.0, "ImageLocality": 5.0}, "total": 85.0}
    scheduling = document()["scheduling"] | {"feasible": 1, "counts": [], "verdicts": {"a": verdict}, "nodes": 1}
    text = "\n".join(lines(document(node="a", phase="Running", scheduling=scheduling), 20))
    assert "  yes  a  <- it is here  85 points (NodeResourcesFit 80, ImageLocality 5)" in text


def test_decisions_say_who_why_and_what() -> None:
    decision = {
        "at": 0.0,
        "controller": "replicaset-controller",
        "object": "default/web",
        "reasons": ["1 pod is missing"],
        "steps": ["create pods web-"],
        "error": "quota",
    }
    text = "\n".join(lines(document(decisions=[decision]), 20))
    assert "replicaset-controller default/web: 1 pod is missing -> create pods web- (failed: quota)" in text
