"""The admission plugins that are on, in order."""

from typing import TYPE_CHECKING

from wherry.kube_api.admission.chain import Plugin
from wherry.kube_api.admission.escalation import Escalation
from wherry.kube_api.admission.namespace_lifecycle import NamespaceLifecycle
from wherry.kube_api.admission.pods import PodDefaults
from wherry.kube_api.admission.storage_class import DefaultStorageClass

if TYPE_CHECKING:
    from wherry.kube_api.api import Api


def default_plugins(api: "Api") -> list[Plugin]:
    return [NamespaceLifecycle(), PodDefaults(), DefaultStorageClass(), Escalation()]
