"""The exceptions: resources that are not written by the rule in `strategy.py`, one file each."""

from wherry.kube_api.strategies.namespaces import NamespaceStrategy
from wherry.kube_api.strategies.pods import PodStrategy
from wherry.kube_api.strategies.services import ServiceStrategy
from wherry.kube_api.strategy import Strategy
from wherry.schema import builtin
from wherry.schema.resource import Resource


def make_strategies() -> dict[Resource, Strategy]:
    """A fresh set, one per API server."""
    return {
        builtin.NAMESPACES: NamespaceStrategy(builtin.NAMESPACES),
        builtin.PODS: PodStrategy(builtin.PODS),
        builtin.SERVICES: ServiceStrategy(builtin.SERVICES),
        builtin.JOBS: JobStrategy(builtin.JOBS),
    }


class JobStrategy(Strategy):
    """Jobs leave their pods behind unless the client says otherwise, as batch/v1 always has."""

    default_propagation = "Orphan"
