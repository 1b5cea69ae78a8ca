"""What is kept true slot by slot is what a fresh snapshot would say."""

import random
from typing import Any

import numpy as np
import pytest

from wherry.client.informer import Informers
from wherry.scheduler.plugins import default_plugins
from wherry.scheduler.pod_info import PodInfo, compile_pod
from wherry.scheduler.profile import Profile
from wherry.scheduler.snapshot import Snapshot
from wherry.testing.clock import MockClock
from wherry.testing.fake_client import FakeClient


def profile() -> Profile:
    return Profile("p", default_plugins(Informers(FakeClient(MockClock())), lambda one: None, lambda: ["default"]))


def node(name: str, draw: random.Random) -> dict[str, Any]:
    allocatable = {"cpu": str(draw.randint(1, 4)), "memory": f"{draw.randint(1, 4)}Gi", "pods": str(draw.randint(1, 5))}
    if draw.random() < 0.3:
        allocatable["example.com/gpu"] = "2"
    return {"metadata": {"name": name, "labels": {}}, "spec": {}, "status": {"allocatable": allocatable}}


def pod(uid: str, draw: random.Random) -> PodInfo:
    requests = {"cpu": f"{draw.choice([100, 500, 1000])}m", "memory": f"{draw.choice([64, 512])}Mi"}
    if draw.random() < 0.2:
        requests["example.com/gpu"] = "1"
    if draw.random() < 0.2:
        requests = {}
    spec = {"containers": [{"name": "c", "image": "i", "resources": {"requests": requests}}]}
    return compile_pod(
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": uid, "namespace": "default", "uid": uid}, "spec": spec}
    )


@pytest.mark.parametrize("seed", range(8))
def test_verdicts_and_scores_do_not_depend_on_history(seed: int) -> None:
    draw = random.Random(seed)
    kept, kept_profile = Snapshot(), profile()
    nodes: dict[str, dict[str, Any]] = {}
    for step in range(300):
        what = draw.random()
        if what < 0.15 or not nodes:
            name = f"n{draw.randint(0, 90)}"
            nodes[name] = node(name, draw)
            kept.set_node(nodes[name])
        elif what < 0.2:
            name = draw.choice(sorted(nodes))
            del nodes[name]
            kept.remove_node(name)
        elif what < 0.3 and kept.pods:
            kept.remove_pod(draw.choice(sorted(kept.pods)))
        else:
            one = pod(f"p{step}", draw)
            passed, diagnosis = kept_profile.feasible(one, kept)
            fresh = Snapshot()
            for name in kept.slots:
                fresh.set_node(nodes[name])
            for placed in kept.pods.values():
                fresh.add_pod(placed)
            fresh_profile = profile()
            expected, refusals = fresh_profile.feasible(one, fresh)
            names = {kept.name(int(slot)) for slot in np.flatnonzero(passed)}
            assert names == {fresh.name(int(slot)) for slot in np.flatnonzero(expected)}
            if not names:
                assert diagnosis.summary() == refusals.summary()
                continue
            points = by_node(kept_profile, kept, one, passed)
            assert points == by_node(fresh_profile, fresh, one, expected)
            one.node = draw.choice(sorted(names))
            kept.add_pod(one)


def by_node(judge: Profile, found: Snapshot, one: PodInfo, passed: Any) -> dict[str, dict[str, float]]:
    among = np.flatnonzero(passed)
    scores = judge.scores(one, found, among)
    return {
        found.name(int(slot)): {name: float(values[place]) for name, values in scores.items()}
        for place, slot in enumerate(among)
    }


def test_passing_says_what_the_reasons_say() -> None:
    draw = random.Random(7)
    found, judge = Snapshot(), profile()
    for number in range(40):
        found.set_node(node(f"n{number}", draw))
    for number in range(120):
        one = pod(f"p{number}", draw)
        passed, _ = judge.feasible(one, found)
        refused = np.zeros(found.size, bool)
        for refusal in judge.diagnose(one, found).refusals:
            refused |= refusal.nodes
        assert (passed == (found.valid & ~refused)).all()
        if passed.any():
            one.node = found.name(judge.best(one, found, passed))
            found.add_pod(one)
