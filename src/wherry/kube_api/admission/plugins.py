"""The admission plugins that are on, in order."""

from typing import TYPE_CHECKING

from wherry.kube_api.admission.chain import Plugin
from wherry.kube_api.admission.escalation import Escalation
from wherry.kube_api.admission.ingress_class import DefaultIngressClass
from wherry.kube_api.admission.limit_ranger import LimitRanger
from wherry.kube_api.admission.namespace_lifecycle import NamespaceLifecycle
from wherry.kube_api.admission.node_restriction import NodeRestriction
from wherry.kube_api.admission.pod_security import PodSecurity
from wherry.kube_api.admission.pods import PodDefaults
from wherry.kube_api.admission.resource_quota import ResourceQuota
from wherry.kube_api.admission.storage_class import DefaultStorageClass
from wherry.kube_api.admission.volume_resize import VolumeResize
from wherry.kube_api.admission.webhooks import Webhooks

if TYPE_CHECKING:
    from wherry.kube_api.api import Api


def default_plugins(api: "Api") -> list[Plugin]:
    return [
        NamespaceLifecycle(),
        PodDefaults(),
        LimitRanger(),
        DefaultStorageClass(),
        DefaultIngressClass(),
        NodeRestriction(),
        PodSecurity(),
        Escalation(),
        VolumeResize(),
        Webhooks(api),
        ResourceQuota(),
    ]
