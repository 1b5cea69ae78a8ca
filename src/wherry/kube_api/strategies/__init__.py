"""The exceptions: resources that are not written by the rule in `strategy.py`, one file each."""

from typing import TYPE_CHECKING

from wherry.kube_api.call import Call
from wherry.kube_api.custom_resources import DefinitionStrategy
from wherry.kube_api.strategies.certificates import CertificateStrategy
from wherry.kube_api.strategies.namespaces import NamespaceStrategy
from wherry.kube_api.strategies.pods import PodStrategy
from wherry.kube_api.strategies.services import ServiceStrategy
from wherry.kube_api.strategy import Strategy
from wherry.schema import builtin
from wherry.schema.defaults import generate_job_selector
from wherry.schema.resource import Object, Resource

if TYPE_CHECKING:
    from wherry.kube_api.api import Api


def make_strategies() -> dict[Resource, Strategy]:
    """A fresh set, one per API server."""
    return {
        builtin.NAMESPACES: NamespaceStrategy(builtin.NAMESPACES),
        builtin.PODS: PodStrategy(builtin.PODS),
        builtin.SERVICES: ServiceStrategy(builtin.SERVICES),
        builtin.CERTIFICATE_SIGNING_REQUESTS: CertificateStrategy(builtin.CERTIFICATE_SIGNING_REQUESTS),
        builtin.JOBS: JobStrategy(builtin.JOBS),
        builtin.CUSTOM_RESOURCE_DEFINITIONS: DefinitionStrategy(builtin.CUSTOM_RESOURCE_DEFINITIONS),
    }


class JobStrategy(Strategy):
    """Jobs leave their pods behind unless the client says otherwise, as batch/v1 always has."""

    default_propagation = "Orphan"

    def prepare_create(self, api: "Api", call: Call, obj: Object) -> None:
        super().prepare_create(api, call, obj)
        generate_job_selector(obj)
