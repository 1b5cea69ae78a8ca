from typing import Any

import pytest

from wherry.schema import apply
from wherry.schema.builtin import CONFIG_MAPS, DEPLOYMENTS
from wherry.schema.errors import BadRequest, Conflict
from wherry.schema.objects import deep_copy

NOW = "2026-01-01T00:00:00Z"
LATER = "2026-01-02T00:00:00Z"


def deployment(replicas: int | None = 3, image: str = "web:1", **labels: str) -> dict[str, Any]:
    container = {"name": "web", "image": image, "ports": [{"containerPort": 80}]}
    spec: dict[str, Any] = {"template": {"spec": {"containers": [container]}}}
    if replicas is not None:
        spec["replicas"] = replicas
    metadata = {"name": "web", "namespace": "default", "labels": labels or {"app": "web"}}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec}


def managers(obj: dict[str, Any]) -> dict[tuple[str, str], Any]:
    return {(one["manager"], one["operation"]): one["fieldsV1"] for one in obj["metadata"]["managedFields"]}


def test_applied_fields_are_owned() -> None:
    obj = apply.apply(DEPLOYMENTS, None, deployment(), manager="kubectl", force=False, now=NOW)
    assert managers(obj)["kubectl", "Apply"] == {
        "f:metadata": {"f:labels": {"f:app": {}}},
        "f:spec": {
            "f:replicas": {},
            "f:template": {
                "f:spec": {
                    "f:containers": {
                        'k:{"name":"web"}': {
                            ".": {},
                            "f:image": {},
                            "f:name": {},
                            "f:ports": {'k:{"containerPort":80,"protocol":"TCP"}': {".": {}, "f:containerPort": {}}},
                        }
                    }
                }
            },
        },
    }


def test_a_changed_field_of_another_manager_is_a_conflict_unless_forced() -> None:
    live = apply.apply(DEPLOYMENTS, None, deployment(), manager="kubectl", force=False, now=NOW)
    scaled = deep_copy(live)
    scaled["spec"]["replicas"] = 5
    apply.track_update(DEPLOYMENTS, scaled, live, "hpa", "", LATER)
    assert managers(scaled)["hpa", "Update"] == {"f:spec": {"f:replicas": {}}}
    assert "f:replicas" not in managers(scaled)["kubectl", "Apply"]["f:spec"]
    with pytest.raises(Conflict) as caught:
        apply.apply(DEPLOYMENTS, scaled, deployment(), manager="kubectl", force=False, now=LATER)
    assert str(caught.value) == 'Apply failed with 1 conflict: conflict with "hpa" using apps/v1: .spec.replicas'
    assert caught.value.details == {
        "causes": [
            {
                "reason": "FieldManagerConflict",
                "message": 'conflict with "hpa" using apps/v1',
                "field": ".spec.replicas",
            }
        ]
    }
    forced = apply.apply(DEPLOYMENTS, scaled, deployment(), manager="kubectl", force=True, now=LATER)
    assert forced["spec"]["replicas"] == 3
    assert ("hpa", "Update") not in managers(forced)


def test_several_conflicts_are_listed_by_manager() -> None:
    live = apply.apply(DEPLOYMENTS, None, deployment(), manager="one", force=False, now=NOW)
    with pytest.raises(Conflict) as caught:
        apply.apply(DEPLOYMENTS, live, deployment(7, "web:2"), manager="two", force=False, now=NOW)
    assert str(caught.value) == (
        'Apply failed with 2 conflicts: conflicts with "one":\n'
        "- .spec.replicas\n"
        '- .spec.template.spec.containers[name="web"].image'
    )


def test_the_same_value_is_shared_and_what_is_no_longer_applied_goes() -> None:
    live = apply.apply(DEPLOYMENTS, None, deployment(a="1", b="2"), manager="one", force=False, now=NOW)
    shared = apply.apply(DEPLOYMENTS, live, deployment(a="1"), manager="two", force=False, now=NOW)
    gone = apply.apply(DEPLOYMENTS, shared, deployment(None, c="3"), manager="one", force=False, now=NOW)
    assert gone["metadata"]["labels"] == {"a": "1", "c": "3"}
    assert gone["spec"]["replicas"] == 3
    alone = apply.apply(DEPLOYMENTS, gone, deployment(None), manager="two", force=False, now=NOW)
    assert "replicas" not in alone["spec"]


def test_list_items_are_added_and_removed_by_key() -> None:
    live = apply.apply(DEPLOYMENTS, None, deployment(), manager="one", force=False, now=NOW)
    more = deployment()
    more["spec"]["template"]["spec"]["containers"] = [{"name": "sidecar", "image": "s:1"}]
    both = apply.apply(DEPLOYMENTS, live, more, manager="two", force=False, now=NOW)
    assert {one["name"] for one in both["spec"]["template"]["spec"]["containers"]} == {"web", "sidecar"}
    less = apply.apply(DEPLOYMENTS, both, deployment(), manager="two", force=False, now=NOW)
    assert [one["name"] for one in less["spec"]["template"]["spec"]["containers"]] == ["web"]


def test_objects_without_managers_get_an_owner_before_the_first_apply() -> None:
    live = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}, "data": {"a": "1"}}
    config = {**live, "data": {"a": "2"}}
    with pytest.raises(Conflict, match=r'conflict with "before-first-apply" using v1: \.data\.a'):
        apply.apply(CONFIG_MAPS, live, config, manager="one", force=False, now=NOW)
    assert apply.apply(CONFIG_MAPS, live, config, manager="one", force=True, now=NOW)["data"] == {"a": "2"}


def test_a_configuration_may_not_bring_managed_fields() -> None:
    config = deployment()
    config["metadata"]["managedFields"] = [{"manager": "x"}]
    with pytest.raises(BadRequest, match=r"metadata.managedFields must be nil"):
        apply.apply(DEPLOYMENTS, None, config, manager="one", force=False, now=NOW)


def test_status_writes_have_their_own_entry() -> None:
    live = deployment()
    apply.track_update(DEPLOYMENTS, live, None, "kubectl-create", "", NOW)
    new = deep_copy(live)
    new["status"] = {"replicas": 3}
    apply.track_update(DEPLOYMENTS, new, live, "controller", "status", LATER)
    entry = next(one for one in new["metadata"]["managedFields"] if one["manager"] == "controller")
    assert entry["subresource"] == "status"
    assert entry["fieldsV1"] == {"f:status": {"f:replicas": {}}}


def test_a_write_that_changes_nothing_leaves_times_alone() -> None:
    live = deployment()
    apply.track_update(DEPLOYMENTS, live, None, "kubectl-create", "", NOW)
    new = deep_copy(live)
    apply.track_update(DEPLOYMENTS, new, live, "kubectl-create", "", LATER)
    assert new == live


def test_many_updaters_are_merged_into_one() -> None:
    live: dict[str, Any] = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}, "data": {}}
    for number in range(15):
        new = deep_copy(live)
        new["data"][f"k{number}"] = "v"
        apply.track_update(CONFIG_MAPS, new, live, f"m{number}", "", f"2026-01-{number + 1:02}T00:00:00Z")
        live = new
    entries = live["metadata"]["managedFields"]
    assert len(entries) == 10
    assert entries[0]["manager"] == "ancient-changes"
