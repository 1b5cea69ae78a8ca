"""The roles and bindings that every cluster begins with, named and granted as Kubernetes names and grants them.

https://kubernetes.io/docs/reference/access-authn-authz/rbac/#default-roles-and-role-bindings
"""

from typing import Any

from wherry.schema.resource import Object

Rule = dict[str, Any]

READ = ["get", "list", "watch"]
WRITE = ["create", "delete", "deletecollection", "patch", "update"]
READ_WRITE = [*WRITE, *READ]
LABELS = {"kubernetes.io/bootstrapping": "rbac-defaults"}
ANNOTATIONS = {"rbac.authorization.kubernetes.io/autoupdate": "true"}
RBAC = "rbac.authorization.k8s.io"


def rule(verbs: list[str], groups: str, resources: str, names: str = "") -> Rule:
    """Groups, resources and names as words separated by spaces; the core group is `core`."""
    made: Rule = {
        "apiGroups": ["" if group == "core" else group for group in groups.split()],
        "resources": resources.split(),
        "verbs": verbs,
    }
    if names:
        made["resourceNames"] = names.split()
    return made


def paths(verbs: list[str], urls: str) -> Rule:
    return {"nonResourceURLs": urls.split(), "verbs": verbs}


EVENTS = rule(["create", "patch", "update"], "core events.k8s.io", "events")

VIEW = [
    rule(READ, "core", "configmaps endpoints persistentvolumeclaims persistentvolumeclaims/status pods "
         "replicationcontrollers replicationcontrollers/scale serviceaccounts services services/status"),
    rule(READ, "core", "bindings events limitranges namespaces/status pods/log pods/status "
         "replicationcontrollers/status resourcequotas resourcequotas/status"),
    rule(READ, "core", "namespaces"),
    rule(READ, "discovery.k8s.io", "endpointslices"),
    rule(READ, "apps", "controllerrevisions daemonsets daemonsets/status deployments deployments/scale "
         "deployments/status replicasets replicasets/scale replicasets/status statefulsets statefulsets/scale "
         "statefulsets/status"),
    rule(READ, "autoscaling", "horizontalpodautoscalers horizontalpodautoscalers/status"),
    rule(READ, "batch", "cronjobs cronjobs/status jobs jobs/status"),
    rule(READ, "policy", "poddisruptionbudgets poddisruptionbudgets/status"),
    rule(READ, "networking.k8s.io", "ingresses ingresses/status networkpolicies"),
    rule(READ, "metrics.k8s.io", "pods nodes"),
]  # fmt: skip

EDIT = [
    rule(READ, "core", "pods/attach pods/exec pods/portforward pods/proxy secrets services/proxy"),
    rule(["impersonate"], "core", "serviceaccounts"),
    rule(WRITE, "core", "pods pods/attach pods/exec pods/portforward pods/proxy"),
    rule(["create"], "core", "pods/eviction"),
    rule(WRITE, "core", "configmaps events persistentvolumeclaims replicationcontrollers replicationcontrollers/scale "
         "secrets serviceaccounts services services/proxy"),
    rule(["create"], "core", "serviceaccounts/token"),
    rule(WRITE, "apps", "daemonsets deployments deployments/rollback deployments/scale replicasets replicasets/scale "
         "statefulsets statefulsets/scale"),
    rule(WRITE, "autoscaling", "horizontalpodautoscalers"),
    rule(WRITE, "batch", "cronjobs jobs"),
    rule(WRITE, "policy", "poddisruptionbudgets"),
    rule(WRITE, "networking.k8s.io", "ingresses networkpolicies"),
    rule(READ_WRITE, "coordination.k8s.io", "leases"),
]  # fmt: skip

ADMIN = [
    rule(["create"], "authorization.k8s.io", "localsubjectaccessreviews"),
    rule(READ_WRITE, RBAC, "rolebindings roles"),
]

NODE = [
    rule(["create"], "authentication.k8s.io", "tokenreviews"),
    rule(["create"], "authorization.k8s.io", "localsubjectaccessreviews subjectaccessreviews"),
    rule(READ, "core", "services"),
    rule(["create", "get", "list", "watch"], "core", "nodes"),
    rule(["patch", "update"], "core", "nodes/status"),
    rule(["patch", "update"], "core", "nodes"),
    EVENTS,
    rule(READ, "core", "pods"),
    rule(["create", "delete"], "core", "pods"),
    rule(["patch", "update"], "core", "pods/status"),
    rule(["create"], "core", "pods/eviction"),
    rule(READ, "core", "configmaps secrets"),
    rule(READ, "core", "persistentvolumeclaims persistentvolumes"),
    rule(["get"], "core", "endpoints"),
    rule(READ, "discovery.k8s.io", "endpointslices"),
    rule(["create", "get", "list", "watch"], "certificates.k8s.io", "certificatesigningrequests"),
    rule(["create", "delete", "get", "patch", "update"], "coordination.k8s.io", "leases"),
    rule(["get"], "storage.k8s.io", "volumeattachments"),
    rule(["create"], "core", "serviceaccounts/token"),
    rule(["get", "patch", "update"], "core", "persistentvolumeclaims/status"),
    rule(READ, "storage.k8s.io", "csidrivers"),
    rule(["create", "delete", "get", "patch", "update"], "storage.k8s.io", "csinodes"),
    rule(READ, "node.k8s.io", "runtimeclasses"),
]

NODE_PROXIER = [
    rule(["list", "watch"], "core", "endpoints services"),
    rule(READ, "core", "nodes"),
    rule(["list", "watch"], "discovery.k8s.io", "endpointslices"),
    rule(["list", "watch"], "networking.k8s.io", "servicecidrs networkpolicies ingresses ingressclasses"),
    rule(["patch", "update"], "networking.k8s.io", "ingresses/status"),
    rule(["patch", "update"], "core", "services/status"),
    EVENTS,
]

SCHEDULER = [
    EVENTS,
    rule(["create"], "coordination.k8s.io", "leases"),
    rule(["get", "update"], "coordination.k8s.io", "leases", "kube-scheduler"),
    rule(READ, "core", "nodes namespaces persistentvolumeclaims persistentvolumes replicationcontrollers services"),
    rule(["delete", "get", "list", "watch"], "core", "pods"),
    rule(["create"], "core", "bindings pods/binding"),
    rule(["patch", "update"], "core", "pods/status"),
    rule(READ, "apps", "replicasets statefulsets"),
    rule(READ, "policy", "poddisruptionbudgets"),
    rule(["patch", "update"], "core", "persistentvolumeclaims persistentvolumes"),
    rule(["create"], "authentication.k8s.io", "tokenreviews"),
    rule(["create"], "authorization.k8s.io", "subjectaccessreviews"),
    rule(READ, "storage.k8s.io", "csidrivers csinodes csistoragecapacities storageclasses volumeattachments"),
]

CONTROLLER_MANAGER = [
    EVENTS,
    rule(["create"], "coordination.k8s.io", "leases"),
    rule(["get", "update"], "coordination.k8s.io", "leases", "kube-controller-manager"),
    rule(["create"], "core", "secrets serviceaccounts serviceaccounts/token"),
    rule(["delete"], "core", "secrets"),
    rule(["get"], "core", "configmaps namespaces secrets serviceaccounts"),
    rule(["update"], "core", "secrets serviceaccounts"),
    rule(["create"], "authentication.k8s.io", "tokenreviews"),
    rule(["create"], "authorization.k8s.io", "subjectaccessreviews"),
    rule(["list", "watch"], "*", "*"),
]

CLUSTER_ROLES: dict[str, list[Rule]] = {
    "cluster-admin": [rule(["*"], "*", "*"), paths(["*"], "*")],
    "system:discovery": [
        paths(["get"], "/api /api/* /apis /apis/* /healthz /livez /openapi /openapi/* /readyz /version /version/")
    ],
    "system:public-info-viewer": [paths(["get"], "/healthz /livez /readyz /version /version/")],
    "system:monitoring": [
        paths(["get"], "/healthz /healthz/* /livez /livez/* /metrics /metrics/slis /readyz /readyz/*")
    ],
    "system:basic-user": [
        rule(["create"], "authorization.k8s.io", "selfsubjectaccessreviews selfsubjectrulesreviews"),
        rule(["create"], "authentication.k8s.io", "selfsubjectreviews"),
    ],
    "system:service-account-issuer-discovery": [
        paths(["get"], "/.well-known/openid-configuration /.well-known/openid-configuration/ /openid/v1/jwks "
              "/openid/v1/jwks/")
    ],
    "system:auth-delegator": [
        rule(["create"], "authentication.k8s.io", "tokenreviews"),
        rule(["create"], "authorization.k8s.io", "subjectaccessreviews"),
    ],
    "system:node": NODE,
    "system:node-proxier": NODE_PROXIER,
    "system:node-bootstrapper": [
        rule(["create", "get", "list", "watch"], "certificates.k8s.io", "certificatesigningrequests")
    ],
    "system:kube-scheduler": SCHEDULER,
    "system:kube-controller-manager": CONTROLLER_MANAGER,
    "system:kube-dns": [rule(["list", "watch"], "core", "endpoints services")],
    "system:coredns": [
        rule(["list", "watch"], "core", "endpoints namespaces pods services"),
        rule(["list", "watch"], "discovery.k8s.io", "endpointslices"),
    ],
    "system:heapster": [
        rule(READ, "core", "events namespaces nodes pods"),
        rule(READ, "extensions", "deployments"),
    ],
    "system:kubelet-api-admin": [
        rule(["get", "list", "watch"], "core", "nodes"),
        rule(["proxy"], "core", "nodes"),
        rule(["*"], "core", "nodes/log nodes/metrics nodes/proxy nodes/stats"),
    ],
    "system:persistent-volume-provisioner": [
        rule(["create", "delete", "get", "list", "watch"], "core", "persistentvolumes"),
        rule(["get", "list", "update", "watch"], "core", "persistentvolumeclaims"),
        rule(READ, "storage.k8s.io", "storageclasses"),
        rule(["watch"], "core", "events"),
        EVENTS,
    ],
    "system:certificates.k8s.io:certificatesigningrequests:nodeclient": [
        rule(["create"], "certificates.k8s.io", "certificatesigningrequests/nodeclient")
    ],
    "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient": [
        rule(["create"], "certificates.k8s.io", "certificatesigningrequests/selfnodeclient")
    ],
    "system:certificates.k8s.io:kube-apiserver-client-approver": [
        rule(["approve"], "certificates.k8s.io", "signers", "kubernetes.io/kube-apiserver-client")
    ],
    "system:certificates.k8s.io:kube-apiserver-client-kubelet-approver": [
        rule(["approve"], "certificates.k8s.io", "signers", "kubernetes.io/kube-apiserver-client-kubelet")
    ],
    "system:certificates.k8s.io:kubelet-serving-approver": [
        rule(["approve"], "certificates.k8s.io", "signers", "kubernetes.io/kubelet-serving")
    ],
    "system:aggregate-to-view": VIEW,
    "system:aggregate-to-edit": EDIT,
    "system:aggregate-to-admin": ADMIN,
}  # fmt: skip

AGGREGATED = {
    "admin": ("rbac.authorization.k8s.io/aggregate-to-admin", [*ADMIN, *EDIT, *VIEW]),
    "edit": ("rbac.authorization.k8s.io/aggregate-to-edit", [*EDIT, *VIEW]),
    "view": ("rbac.authorization.k8s.io/aggregate-to-view", VIEW),
}
"""Roles that gather the rules of others by label (the aggregation controller keeps them so): name -> (label, rules)."""

AGGREGATES = {
    "system:aggregate-to-admin": {"rbac.authorization.k8s.io/aggregate-to-admin": "true"},
    "system:aggregate-to-edit": {"rbac.authorization.k8s.io/aggregate-to-edit": "true"},
    "system:aggregate-to-view": {"rbac.authorization.k8s.io/aggregate-to-view": "true"},
    "admin": {},
    "edit": {"rbac.authorization.k8s.io/aggregate-to-admin": "true"},
    "view": {"rbac.authorization.k8s.io/aggregate-to-edit": "true"},
}

CLUSTER_ROLE_BINDINGS: dict[str, list[tuple[str, str]]] = {
    "cluster-admin": [("Group", "system:masters")],
    "system:monitoring": [("Group", "system:monitoring")],
    "system:discovery": [("Group", "system:authenticated")],
    "system:basic-user": [("Group", "system:authenticated")],
    "system:public-info-viewer": [("Group", "system:authenticated"), ("Group", "system:unauthenticated")],
    "system:service-account-issuer-discovery": [("Group", "system:serviceaccounts")],
    "system:node": [("Group", "system:nodes")],
    "system:node-proxier": [("User", "system:kube-proxy"), ("Group", "system:nodes")],
    "system:coredns": [("Group", "system:nodes")],
    "system:kube-scheduler": [("User", "system:kube-scheduler")],
    "system:kube-controller-manager": [("User", "system:kube-controller-manager")],
    "system:kube-dns": [("ServiceAccount", "kube-system:kube-dns")],
}
"""Binding (of the role with the same name) -> subjects as (kind, name); a service account's is namespace:name."""


def cluster_roles() -> list[Object]:
    """All of them as objects."""
    made = []
    for name, rules in CLUSTER_ROLES.items():
        made.append(_role(name, rules, AGGREGATES.get(name)))
    for name, (label, rules) in AGGREGATED.items():
        role = _role(name, rules, AGGREGATES.get(name))
        role["aggregationRule"] = {"clusterRoleSelectors": [{"matchLabels": {label: "true"}}]}
        made.append(role)
    return made


def _role(name: str, rules: list[Rule], labels: dict[str, str] | None) -> Object:
    return {
        "kind": "ClusterRole",
        "apiVersion": f"{RBAC}/v1",
        "metadata": {"name": name, "labels": {**LABELS, **(labels or {})}, "annotations": dict(ANNOTATIONS)},
        "rules": rules,
    }


def cluster_role_bindings() -> list[Object]:
    """All of them as objects."""
    return [
        {
            "kind": "ClusterRoleBinding",
            "apiVersion": f"{RBAC}/v1",
            "metadata": {"name": name, "labels": dict(LABELS), "annotations": dict(ANNOTATIONS)},
            "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": name},
            "subjects": [_subject(kind, subject) for kind, subject in subjects],
        }
        for name, subjects in CLUSTER_ROLE_BINDINGS.items()
    ]


def _subject(kind: str, name: str) -> Object:
    if kind == "ServiceAccount":
        namespace, _, account = name.partition(":")
        return {"kind": kind, "name": account, "namespace": namespace}
    return {"kind": kind, "name": name, "apiGroup": RBAC}
