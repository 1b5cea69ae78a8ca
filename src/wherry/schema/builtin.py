"""The built-in resources: one constant per resource of the stable API groups, and `BUILTIN`, all of them.

Names, short names, categories and subresources are those that a real API server tells in its discovery documents
(`kubectl api-resources`). A CustomResourceDefinition adds rows to a `schema.table.ResourceTable` at run time.
"""

from typing import Final

from wherry.schema.resource import Resource

_ALL: Final = ("all",)
_EXTENSIONS: Final = ("api-extensions",)


def _core(
    kind: str,
    plural: str,
    *short: str,
    namespaced: bool = True,
    subresources: tuple[str, ...] = (),
    categories: tuple[str, ...] = (),
) -> Resource:
    return _row("", "v1", kind, plural, *short, namespaced=namespaced, subresources=subresources, categories=categories)


def _row(
    group: str,
    version: str,
    kind: str,
    plural: str,
    *short: str,
    namespaced: bool = True,
    subresources: tuple[str, ...] = (),
    categories: tuple[str, ...] = (),
) -> Resource:
    return Resource(
        group=group,
        version=version,
        kind=kind,
        plural=plural,
        namespaced=namespaced,
        singular=kind.lower(),
        short_names=short,
        categories=categories,
        subresources=subresources,
    )


# core/v1
BINDINGS: Final = _core("Binding", "bindings")
COMPONENT_STATUSES: Final = _core("ComponentStatus", "componentstatuses", "cs", namespaced=False)
CONFIG_MAPS: Final = _core("ConfigMap", "configmaps", "cm")
ENDPOINTS: Final = _core("Endpoints", "endpoints", "ep")
EVENTS: Final = _core("Event", "events", "ev")
LIMIT_RANGES: Final = _core("LimitRange", "limitranges", "limits")
NAMESPACES: Final = _core("Namespace", "namespaces", "ns", namespaced=False, subresources=("finalize", "status"))
NODES: Final = _core("Node", "nodes", "no", namespaced=False, subresources=("proxy", "status"))
PERSISTENT_VOLUMES: Final = _core(
    "PersistentVolume", "persistentvolumes", "pv", namespaced=False, subresources=("status",)
)
PERSISTENT_VOLUME_CLAIMS: Final = _core(
    "PersistentVolumeClaim", "persistentvolumeclaims", "pvc", subresources=("status",)
)
PODS: Final = _core(
    "Pod",
    "pods",
    "po",
    categories=_ALL,
    subresources=(
        "attach",
        "binding",
        "ephemeralcontainers",
        "eviction",
        "exec",
        "log",
        "portforward",
        "proxy",
        "resize",
        "status",
    ),
)
POD_TEMPLATES: Final = _core("PodTemplate", "podtemplates")
REPLICATION_CONTROLLERS: Final = _core(
    "ReplicationController", "replicationcontrollers", "rc", categories=_ALL, subresources=("scale", "status")
)
RESOURCE_QUOTAS: Final = _core("ResourceQuota", "resourcequotas", "quota", subresources=("status",))
SECRETS: Final = _core("Secret", "secrets")
SERVICE_ACCOUNTS: Final = _core("ServiceAccount", "serviceaccounts", "sa", subresources=("token",))
SERVICES: Final = _core("Service", "services", "svc", categories=_ALL, subresources=("proxy", "status"))

# admissionregistration.k8s.io/v1
_ADMISSION: Final = "admissionregistration.k8s.io"
MUTATING_WEBHOOK_CONFIGURATIONS: Final = _row(
    _ADMISSION,
    "v1",
    "MutatingWebhookConfiguration",
    "mutatingwebhookconfigurations",
    namespaced=False,
    categories=_EXTENSIONS,
)
VALIDATING_WEBHOOK_CONFIGURATIONS: Final = _row(
    _ADMISSION,
    "v1",
    "ValidatingWebhookConfiguration",
    "validatingwebhookconfigurations",
    namespaced=False,
    categories=_EXTENSIONS,
)

# apiextensions.k8s.io/v1
CUSTOM_RESOURCE_DEFINITIONS: Final = _row(
    "apiextensions.k8s.io",
    "v1",
    "CustomResourceDefinition",
    "customresourcedefinitions",
    "crd",
    "crds",
    namespaced=False,
    categories=_EXTENSIONS,
    subresources=("status",),
)

# apps/v1
CONTROLLER_REVISIONS: Final = _row("apps", "v1", "ControllerRevision", "controllerrevisions")
DAEMON_SETS: Final = _row("apps", "v1", "DaemonSet", "daemonsets", "ds", categories=_ALL, subresources=("status",))
DEPLOYMENTS: Final = _row(
    "apps", "v1", "Deployment", "deployments", "deploy", categories=_ALL, subresources=("scale", "status")
)
REPLICA_SETS: Final = _row(
    "apps", "v1", "ReplicaSet", "replicasets", "rs", categories=_ALL, subresources=("scale", "status")
)
STATEFUL_SETS: Final = _row(
    "apps", "v1", "StatefulSet", "statefulsets", "sts", categories=_ALL, subresources=("scale", "status")
)

# authentication.k8s.io/v1, authorization.k8s.io/v1: requests, never stored
SELF_SUBJECT_REVIEWS: Final = _row(
    "authentication.k8s.io", "v1", "SelfSubjectReview", "selfsubjectreviews", namespaced=False
)
TOKEN_REVIEWS: Final = _row("authentication.k8s.io", "v1", "TokenReview", "tokenreviews", namespaced=False)
LOCAL_SUBJECT_ACCESS_REVIEWS: Final = _row(
    "authorization.k8s.io", "v1", "LocalSubjectAccessReview", "localsubjectaccessreviews"
)
SELF_SUBJECT_ACCESS_REVIEWS: Final = _row(
    "authorization.k8s.io", "v1", "SelfSubjectAccessReview", "selfsubjectaccessreviews", namespaced=False
)
SELF_SUBJECT_RULES_REVIEWS: Final = _row(
    "authorization.k8s.io", "v1", "SelfSubjectRulesReview", "selfsubjectrulesreviews", namespaced=False
)
SUBJECT_ACCESS_REVIEWS: Final = _row(
    "authorization.k8s.io", "v1", "SubjectAccessReview", "subjectaccessreviews", namespaced=False
)

# autoscaling/v2, v1
HORIZONTAL_POD_AUTOSCALERS: Final = _row(
    "autoscaling",
    "v2",
    "HorizontalPodAutoscaler",
    "horizontalpodautoscalers",
    "hpa",
    categories=_ALL,
    subresources=("status",),
)
HORIZONTAL_POD_AUTOSCALERS_V1: Final = _row(
    "autoscaling",
    "v1",
    "HorizontalPodAutoscaler",
    "horizontalpodautoscalers",
    "hpa",
    categories=_ALL,
    subresources=("status",),
)

# batch/v1
CRON_JOBS: Final = _row("batch", "v1", "CronJob", "cronjobs", "cj", categories=_ALL, subresources=("status",))
JOBS: Final = _row("batch", "v1", "Job", "jobs", categories=_ALL, subresources=("status",))

# certificates.k8s.io/v1
CERTIFICATE_SIGNING_REQUESTS: Final = _row(
    "certificates.k8s.io",
    "v1",
    "CertificateSigningRequest",
    "certificatesigningrequests",
    "csr",
    namespaced=False,
    subresources=("approval", "status"),
)

# coordination.k8s.io/v1
LEASES: Final = _row("coordination.k8s.io", "v1", "Lease", "leases")

# discovery.k8s.io/v1
ENDPOINT_SLICES: Final = _row("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices")

# events.k8s.io/v1: the same objects as core/v1 events, in the newer shape
EVENTS_V1: Final = _row("events.k8s.io", "v1", "Event", "events", "ev")

# metrics.k8s.io/v1beta1: computed, never stored
NODE_METRICS: Final = _row("metrics.k8s.io", "v1beta1", "NodeMetrics", "nodes", namespaced=False)
POD_METRICS: Final = _row("metrics.k8s.io", "v1beta1", "PodMetrics", "pods")

# networking.k8s.io/v1
_NETWORKING: Final = "networking.k8s.io"
INGRESS_CLASSES: Final = _row(_NETWORKING, "v1", "IngressClass", "ingressclasses", namespaced=False)
INGRESSES: Final = _row(_NETWORKING, "v1", "Ingress", "ingresses", "ing", subresources=("status",))
IP_ADDRESSES: Final = _row(_NETWORKING, "v1", "IPAddress", "ipaddresses", "ip", namespaced=False)
NETWORK_POLICIES: Final = _row(_NETWORKING, "v1", "NetworkPolicy", "networkpolicies", "netpol")
SERVICE_CIDRS: Final = _row(
    _NETWORKING, "v1", "ServiceCIDR", "servicecidrs", namespaced=False, subresources=("status",)
)

# node.k8s.io/v1
RUNTIME_CLASSES: Final = _row("node.k8s.io", "v1", "RuntimeClass", "runtimeclasses", namespaced=False)

# policy/v1
POD_DISRUPTION_BUDGETS: Final = _row(
    "policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets", "pdb", subresources=("status",)
)

# rbac.authorization.k8s.io/v1
_RBAC: Final = "rbac.authorization.k8s.io"
CLUSTER_ROLE_BINDINGS: Final = _row(_RBAC, "v1", "ClusterRoleBinding", "clusterrolebindings", namespaced=False)
CLUSTER_ROLES: Final = _row(_RBAC, "v1", "ClusterRole", "clusterroles", namespaced=False)
ROLE_BINDINGS: Final = _row(_RBAC, "v1", "RoleBinding", "rolebindings")
ROLES: Final = _row(_RBAC, "v1", "Role", "roles")

# scheduling.k8s.io/v1
PRIORITY_CLASSES: Final = _row("scheduling.k8s.io", "v1", "PriorityClass", "priorityclasses", "pc", namespaced=False)

# storage.k8s.io/v1
_STORAGE: Final = "storage.k8s.io"
CSI_DRIVERS: Final = _row(_STORAGE, "v1", "CSIDriver", "csidrivers", namespaced=False)
CSI_NODES: Final = _row(_STORAGE, "v1", "CSINode", "csinodes", namespaced=False)
CSI_STORAGE_CAPACITIES: Final = _row(_STORAGE, "v1", "CSIStorageCapacity", "csistoragecapacities")
STORAGE_CLASSES: Final = _row(_STORAGE, "v1", "StorageClass", "storageclasses", "sc", namespaced=False)
VOLUME_ATTACHMENTS: Final = _row(
    _STORAGE, "v1", "VolumeAttachment", "volumeattachments", namespaced=False, subresources=("status",)
)
VOLUME_ATTRIBUTES_CLASSES: Final = _row(
    _STORAGE, "v1", "VolumeAttributesClass", "volumeattributesclasses", "vac", namespaced=False
)

BUILTIN: Final[tuple[Resource, ...]] = tuple(value for value in dict(globals()).values() if isinstance(value, Resource))
"""Every built-in resource; a group's preferred version stands before its others."""

NOT_STORED: Final[frozenset[Resource]] = frozenset(
    {
        BINDINGS,
        COMPONENT_STATUSES,
        SELF_SUBJECT_REVIEWS,
        TOKEN_REVIEWS,
        LOCAL_SUBJECT_ACCESS_REVIEWS,
        SELF_SUBJECT_ACCESS_REVIEWS,
        SELF_SUBJECT_RULES_REVIEWS,
        SUBJECT_ACCESS_REVIEWS,
        NODE_METRICS,
        POD_METRICS,
    }
)
"""Resources that are requests or computed answers: the store never holds their objects."""

STORAGE_VERSION: Final[dict[Resource, Resource]] = {
    HORIZONTAL_POD_AUTOSCALERS_V1: HORIZONTAL_POD_AUTOSCALERS,
    EVENTS_V1: EVENTS,
}
"""Resources that are another version's view of the same stored objects: view -> what is stored."""
