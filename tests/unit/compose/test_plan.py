"""What a second `up` does, by what has changed in between."""

from collections.abc import Callable
from typing import Any

import pytest

from wherry.compose import names
from wherry.compose.errors import ComposeError
from wherry.compose.images import ImageWishes, plan_images
from wherry.compose.plan import plan_up, wanted_services
from wherry.compose.project import Project
from wherry.compose.steps import Observed, Step, Wishes
from wherry.compose.teardown import TeardownWishes, plan_down

Loaded = Callable[..., Project]
CHAIN = """
services:
  web: {image: w, depends_on: {api: {condition: service_started, restart: true}}}
  api: {image: a, depends_on: [db]}
  db: {image: d, volumes: ['data:/data']}
volumes: {data: {}}
"""


def there(project: Project, *, scale: dict[str, int] | None = None, **changes: dict[str, Any]) -> Observed:
    """The engine after a first `up`; `changes` are by container name, with `_` for `-`."""
    steps = plan_up(project, Observed(), Wishes(scale=scale or {}))
    networks = {s.name: {"Id": s.name, "Labels": s.body["Labels"]} for s in steps if s.action == "create network"}
    volumes = {s.name: {"Labels": s.body["Labels"]} for s in steps if s.action == "create volume"}
    containers = []
    for step in steps:
        if step.action == "create":
            connected = step.body.get("NetworkingConfig", {}).get("EndpointsConfig", {})
            containers.append(
                {
                    "Id": f"id-{step.name}",
                    "Names": [f"/{step.name}"],
                    "Labels": step.body["Labels"],
                    "State": "running",
                    "ImageID": "",
                    "Mounts": [{"Name": bind.split(":")[0]} for bind in step.body["HostConfig"]["Binds"]],
                    "NetworkSettings": {"Networks": {one: {"NetworkID": one} for one in connected}},
                    **changes.get(step.name.replace("-", "_"), {}),
                }
            )
    return Observed(tuple(containers), networks, volumes)


def lines(steps: list[Step]) -> list[str]:
    return [step.line() for step in steps if step.action != "keep"]


def test_dependencies_come_first(project: Loaded) -> None:
    found = project(CHAIN)
    assert wanted_services(found, ()) == ["db", "api", "web"]
    assert wanted_services(found, ["api"]) == ["db", "api"]
    assert wanted_services(found, ["api"], no_deps=True) == ["api"]
    with pytest.raises(ComposeError, match="no such service: nothing"):
        wanted_services(found, ["nothing"])


def test_a_stopped_container_is_started(project: Loaded) -> None:
    found = project(CHAIN)
    observed = there(found, shop_db_1={"State": "exited"})
    assert lines(plan_up(found, observed, Wishes())) == ["start shop-db-1: it is exited"]


def test_a_change_recreates_and_takes_along_who_asks_for_it(project: Loaded) -> None:
    observed = there(project(CHAIN))
    changed = project(CHAIN.replace("image: a", "image: a, environment: {X: '1'}"))
    assert lines(plan_up(changed, observed, Wishes())) == [
        "recreate shop-api-1: its configuration has changed",
        "restart shop-web-1: it restarts with api (depends_on.restart)",
    ]
    assert lines(plan_up(changed, observed, Wishes(no_recreate=True))) == []


def test_a_new_image_recreates(project: Loaded) -> None:
    found = project(CHAIN)
    observed = there(found)
    seen = Observed(
        tuple({**one, "Labels": {**one["Labels"], names.IMAGE: "sha256:old"}} for one in observed.containers),
        observed.networks,
        observed.volumes,
        {"d": "sha256:new", "a": "sha256:old", "w": "sha256:old"},
    )
    assert lines(plan_up(found, seen, Wishes())) == ["recreate shop-db-1: its image has changed"]


def test_what_is_not_hashed_recreates_nothing(project: Loaded) -> None:
    observed = there(project(CHAIN))
    changed = project(CHAIN.replace("image: a", "image: a, pull_policy: always, x-note: new"))
    assert lines(plan_up(changed, observed, Wishes())) == []


def test_force_recreate_is_for_what_was_asked(project: Loaded) -> None:
    found = project(CHAIN)
    observed = there(found)
    assert lines(plan_up(found, observed, Wishes(services=["web"], force_recreate=True))) == [
        "recreate shop-web-1: --force-recreate"
    ]
    both = plan_up(found, observed, Wishes(services=["api"], force_recreate=True, always_recreate_deps=True))
    assert lines(both) == ["recreate shop-db-1: --always-recreate-deps", "recreate shop-api-1: --force-recreate"]


def test_a_changed_network_is_made_anew_with_its_containers(project: Loaded) -> None:
    text = "services: {a: {image: x, networks: [n]}, b: {image: x}}\nnetworks: {n: {%s}}"
    observed = there(project(text % ""))
    assert lines(plan_up(project(text % "internal: true"), observed, Wishes())) == [
        "recreate network shop_n: its configuration has changed",
        "recreate shop-a-1: network shop_n is made anew",
    ]


def test_scaling(project: Loaded) -> None:
    found = project("services: {a: {image: x}}")
    three = there(found, scale={"a": 3})
    assert lines(plan_up(found, three, Wishes())) == [
        "remove shop-a-2: a is scaled to 1",
        "remove shop-a-3: a is scaled to 1",
    ]
    assert lines(plan_up(found, three, Wishes(scale={"a": 4}))) == ["create shop-a-4: it is not there"]


def test_numbers_are_filled_from_the_front(project: Loaded) -> None:
    found = project("services: {a: {image: x, scale: 3}}")
    observed = there(found)
    gap = Observed(tuple(one for one in observed.containers if one["Names"] != ["/shop-a-2"]), observed.networks)
    assert lines(plan_up(found, gap, Wishes())) == ["create shop-a-2: it is not there"]


def test_an_interrupted_replacement_is_completed(project: Loaded) -> None:
    found = project("services: {a: {image: x}}")
    observed = there(found)
    old = observed.containers[0]
    new = {
        **old, "Id": "id-new", "Names": ["/id-shop-a-1_shop-a-1"], "State": "created",
        "Labels": {**old["Labels"], names.REPLACES: "shop-a-1"},
    }  # fmt: skip
    both = Observed((old, new), observed.networks)
    assert lines(plan_up(found, both, Wishes())) == [
        "remove id-shop-a-1_shop-a-1: it is left over from an interrupted replacement"
    ]
    only_new = Observed((new,), observed.networks)
    assert lines(plan_up(found, only_new, Wishes())) == [
        "rename shop-a-1: its replacement was interrupted",
        "start shop-a-1: it is created",
    ]


def test_orphans_go_only_when_asked(project: Loaded) -> None:
    observed = there(project("services: {a: {image: x}, b: {image: x}}"))
    found = project("services: {a: {image: x}}")
    assert lines(plan_up(found, observed, Wishes())) == []
    assert lines(plan_up(found, observed, Wishes(remove_orphans=True))) == [
        "remove shop-b-1: no service of the project is its own"
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("services: {a: {image: x, ports: ['80:1']}, b: {image: x, ports: ['80:2']}}", 'published by service "a" too'),
        ("services: {a: {image: x, scale: 2, ports: ['80:1']}}", 'only one container of "a" can run, not 2'),
        ("services: {a: {image: x, networks: [n]}}\nnetworks: {n: {external: true}}",
         "network n declared as external, but could not be found"),
        ("services: {a: {image: x, volumes: ['v:/v']}}\nvolumes: {v: {external: true}}",
         'external volume "v" not found'),
    ],
)  # fmt: skip
def test_plans_that_cannot_be(project: Loaded, text: str, message: str) -> None:
    with pytest.raises(ComposeError) as caught:
        plan_up(project(text), Observed(), Wishes())
    assert message in str(caught.value)
    assert caught.value.line == (2 if "external" in text else 1)


@pytest.mark.parametrize(
    "text",
    [
        "services: {a: {image: x, ports: ['127.0.0.1:80:1']}, b: {image: x, ports: ['127.0.0.2:80:2']}}",
        "services: {a: {image: x, ports: ['80:1']}, b: {image: x, ports: ['80:2/udp']}}",
        "services: {a: {image: x, ports: ['80:1']}, b: {image: x, scale: 0, ports: ['80:2']}}",
        "services: {a: {image: x, scale: 2, ports: ['80-81:1']}}",
    ],
)
def test_ports_that_do_not_conflict(project: Loaded, text: str) -> None:
    assert plan_up(project(text), Observed(), Wishes())


def test_down_goes_the_other_way(project: Loaded) -> None:
    found = project(CHAIN)
    steps = plan_down("shop", found, there(found), TeardownWishes(volumes=True))
    assert [f"{step.action} {step.name}" for step in steps] == [
        "remove shop-web-1",
        "remove shop-api-1",
        "remove shop-db-1",
        "remove network shop_default",
        "remove volume shop_data",
    ]
    assert steps[2].after == ("remove shop-api-1",)
    # Without the file the labels of the containers tell the order.
    assert [step.name for step in plan_down("shop", None, there(found), TeardownWishes(volumes=True))] == [
        step.name for step in steps
    ]


def test_down_keeps_volumes_orphans_and_what_is_external(project: Loaded) -> None:
    observed = there(project("services: {a: {image: x, volumes: ['v:/v']}, b: {image: x}}\nvolumes: {v: {}}"))
    found = project("services: {a: {image: x, volumes: ['v:/v']}}\nvolumes: {v: {external: true, name: shop_v}}")
    names_of = [step.name for step in plan_down("shop", found, observed, TeardownWishes())]
    assert names_of == ["shop-a-1", "shop_default"]
    everything = plan_down("shop", found, observed, TeardownWishes(remove_orphans=True))
    assert [step.name for step in everything] == ["shop-a-1", "shop-b-1", "shop_default"]


@pytest.mark.parametrize(
    ("policy", "age", "pulls"),
    [
        ("daily", 86_300.0, False),
        ("daily", 86_500.0, True),
        ("weekly", 86_500.0, False),
        ("every_1h30m", 5_300.0, False),
        ("every_1h30m", 5_500.0, True),
        ("refresh, pull_refresh_after: 2h", 7_100.0, False),
        ("refresh, pull_refresh_after: 2h", 7_300.0, True),
        ("always", 0.0, True),
        ("missing", 1e9, False),
        ("never", 1e9, False),
    ],
)
def test_images_are_pulled_again_when_they_are_old(project: Loaded, policy: str, age: float, pulls: bool) -> None:
    found = project(f"services: {{a: {{image: x, pull_policy: {policy}}}}}")
    steps = plan_images(found, ["a"], Observed(images={"x": "sha256:1"}), ImageWishes(), {"x": age})
    assert [step.id for step in steps] == (["pull x"] if pulls else [])
