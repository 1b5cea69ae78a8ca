"""Checks of autoscalers, ingresses, network policies, disruption budgets, RBAC and other small kinds."""

import re
from typing import Any, Final

from wherry.schema import names
from wherry.schema.objects import same
from wherry.schema.resource import Object
from wherry.schema.validation import selectors
from wherry.schema.validation.containers import PROTOCOLS
from wherry.schema.validation.field import Causes
from wherry.schema.validation.services import network
from wherry.schema.validation.workloads import int_or_percent

JsonDict = dict[str, Any]


_METRIC_TYPES: Final = ("ContainerResource", "External", "Object", "Pods", "Resource")


def autoscaler_create(obj: Object, causes: Causes) -> None:
    spec = obj.get("spec") or {}
    least, most = spec.get("minReplicas"), spec.get("maxReplicas") or 0
    if least is not None and least < 1:
        causes.invalid("spec.minReplicas", least, "must be greater than or equal to 1")
    if most < 1:
        causes.invalid("spec.maxReplicas", most, "must be greater than 0")
    if least is not None and most < least:
        causes.invalid("spec.maxReplicas", most, "must be greater than or equal to `minReplicas`")
    _target(spec.get("scaleTargetRef") or {}, "spec.scaleTargetRef", causes)
    for index, metric in enumerate(spec.get("metrics") or ()):
        _metric(metric, f"spec.metrics[{index}]", causes)
    for direction in ("scaleUp", "scaleDown"):
        _scaling_rules((spec.get("behavior") or {}).get(direction), f"spec.behavior.{direction}", causes)


def autoscaler_update(new: Object, old: Object, causes: Causes, subresource: str) -> None:
    if subresource != "status":
        autoscaler_create(new, causes)


def _target(reference: JsonDict, path: str, causes: Causes) -> None:
    for field in ("kind", "name"):
        value = reference.get(field)
        if not value:
            causes.required(f"{path}.{field}")
        else:
            causes.all_invalid(f"{path}.{field}", value, names.path_segment(value))


def _metric(metric: JsonDict, path: str, causes: Causes) -> None:
    kind = metric.get("type")
    if not kind:
        causes.required(f"{path}.type", "must specify a metric source type")
        return
    if kind not in _METRIC_TYPES:
        causes.unsupported(f"{path}.type", kind, _METRIC_TYPES)
        return
    field = kind[0].lower() + kind[1:]
    source = metric.get(field)
    if source is None:
        causes.required(f"{path}.{field}", f"must populate information for the given metric source (type {kind})")
        return
    target = source.get("target") or {}
    if kind in ("Resource", "ContainerResource"):
        if not source.get("name"):
            causes.required(f"{path}.{field}.name", "must specify a resource name")
        if target.get("averageUtilization") is None and target.get("averageValue") is None:
            causes.required(
                f"{path}.{field}.target.averageUtilization",
                "must set either a target raw value or a target utilization",
            )
        elif target.get("averageUtilization") is not None and target.get("averageValue") is not None:
            causes.forbidden(
                f"{path}.{field}.target.averageValue", "may not set both a target raw value and a target utilization"
            )
        if (target.get("averageUtilization") or 1) < 1:
            causes.invalid(
                f"{path}.{field}.target.averageUtilization", target["averageUtilization"], "must be greater than 0"
            )
    elif not (source.get("metric") or {}).get("name"):
        causes.required(f"{path}.{field}.metric.name", "must specify a metric name")
    causes.one_of(f"{path}.{field}.target.type", target.get("type"), ("Utilization", "Value", "AverageValue"))


def _scaling_rules(rules: JsonDict | None, path: str, causes: Causes) -> None:
    if rules is None:
        return
    window = rules.get("stabilizationWindowSeconds")
    causes.not_negative(f"{path}.stabilizationWindowSeconds", window)
    if window is not None and window > 3600:
        causes.invalid(f"{path}.stabilizationWindowSeconds", window, "must be less than or equal to 3600")
    if rules.get("selectPolicy") not in (None, "Max", "Min", "Disabled"):
        causes.unsupported(f"{path}.selectPolicy", rules["selectPolicy"], ("Disabled", "Max", "Min"))
    policies = rules.get("policies")
    if policies is not None and not policies:
        causes.required(f"{path}.policies", "must specify at least one Policy")
    for index, policy in enumerate(policies or ()):
        where = f"{path}.policies[{index}]"
        causes.one_of(f"{where}.type", policy.get("type"), ("Percent", "Pods"))
        for field, most in (("value", None), ("periodSeconds", 1800)):
            value = policy.get(field) or 0
            if value <= 0:
                causes.invalid(f"{where}.{field}", value, "must be greater than zero")
            elif most and value > most:
                causes.invalid(f"{where}.{field}", value, f"must be less than or equal to {most}")


_PATH_TYPES: Final = ("Exact", "ImplementationSpecific", "Prefix")
_BAD_SEQUENCES: Final = ("//", "/./", "/../", "%2f", "%2F")
_BAD_SUFFIXES: Final = ("/..", "/.")


def ingress_create(obj: Object, causes: Causes) -> None:
    spec = obj.get("spec") or {}
    rules = spec.get("rules") or []
    if not rules and spec.get("defaultBackend") is None:
        causes.invalid("spec", rules, "either `defaultBackend` or `rules` must be specified")
    if spec.get("defaultBackend") is not None:
        _backend(spec["defaultBackend"], "spec.defaultBackend", causes)
    for index, rule in enumerate(rules):
        path = f"spec.rules[{index}]"
        if host := rule.get("host"):
            _host(host, f"{path}.host", causes)
        http = rule.get("http")
        if http is not None:
            if not http.get("paths"):
                causes.required(f"{path}.http.paths")
            for at, one in enumerate(http.get("paths") or ()):
                _ingress_path(one, f"{path}.http.paths[{at}]", causes)
    for index, tls in enumerate(spec.get("tls") or ()):
        for at, host in enumerate(tls.get("hosts") or ()):
            check = names.wildcard_subdomain if "*" in host else names.dns_subdomain
            causes.all_invalid(f"spec.tls[{index}].hosts[{at}]", host, check(host))
        if name := tls.get("secretName"):
            causes.all_invalid(f"spec.tls[{index}].secretName", name, names.dns_subdomain(name))
    annotated = ((obj.get("metadata") or {}).get("annotations") or {}).get("kubernetes.io/ingress.class")
    if name := spec.get("ingressClassName"):
        causes.all_invalid("spec.ingressClassName", name, names.dns_subdomain(name))
        if annotated:
            causes.invalid(
                "metadata.annotations[kubernetes.io/ingress.class]",
                annotated,
                "can not be set when the class field is also set",
            )


def _host(host: str, path: str, causes: Causes) -> None:
    if re.match(r"[0-9.]+\Z", host) and host.count(".") == 3:
        causes.invalid(path, host, "must be a DNS name, not an IP address")
    elif "*" in host:
        causes.all_invalid(path, host, names.wildcard_subdomain(host))
    else:
        causes.all_invalid(path, host, names.dns_subdomain(host))


def _ingress_path(one: JsonDict, path: str, causes: Causes) -> None:
    kind, target = one.get("pathType"), one.get("path") or ""
    if kind is None:
        causes.required(f"{path}.pathType", "pathType must be specified")
    elif kind in ("Exact", "Prefix"):
        if not target.startswith("/"):
            causes.invalid(f"{path}.path", target, "must be an absolute path")
        for sequence in _BAD_SEQUENCES if target else ():
            if sequence in target:
                causes.invalid(f"{path}.path", target, f"must not contain '{sequence}'")
        for suffix in _BAD_SUFFIXES:
            if target.endswith(suffix):
                causes.invalid(f"{path}.path", target, f"cannot end with '{suffix}'")
    elif kind == "ImplementationSpecific":
        if target and not target.startswith("/"):
            causes.invalid(f"{path}.path", target, "must be an absolute path")
    else:
        causes.unsupported(f"{path}.pathType", kind, _PATH_TYPES)
    _backend(one.get("backend") or {}, f"{path}.backend", causes)


def _backend(backend: JsonDict, path: str, causes: Causes) -> None:
    service, resource = backend.get("service"), backend.get("resource")
    if resource is not None and service is not None:
        causes.invalid(path, "", "cannot set both resource and service backends")
    elif resource is not None:
        for field in ("kind", "name"):
            if not resource.get(field):
                causes.required(f"{path}.resource.{field}")
    elif service is None:
        causes.required(path, "resource or service backend is required")
    else:
        name, port = service.get("name") or "", service.get("port") or {}
        if not name:
            causes.required(f"{path}.service.name")
        else:
            causes.all_invalid(f"{path}.service.name", name, names.dns1035_label(name))
        if port.get("name") and port.get("number"):
            causes.invalid(path, "", "cannot set both port name & port number")
        elif port.get("name"):
            causes.all_invalid(f"{path}.service.port.name", port["name"], names.port_name(port["name"]))
        elif port.get("number"):
            causes.all_invalid(f"{path}.service.port.number", port["number"], names.port_number(port["number"]))
        else:
            causes.required(path, "port name or number is required")


def ingress_update(new: Object, old: Object, causes: Causes, subresource: str) -> None:
    if subresource != "status":
        ingress_create(new, causes)


def ingressclass_create(obj: Object, causes: Causes) -> None:
    controller = (obj.get("spec") or {}).get("controller") or ""
    if len(controller) > 250:
        causes.too_long("spec.controller", 250)
    if not controller:
        causes.required("spec.controller")
    elif "/" not in controller or not all(controller.split("/", 1)):
        causes.invalid("spec.controller", controller, 'must be a domain-prefixed path (such as "acme.io/foo")')


def ingressclass_update(new: Object, old: Object, causes: Causes, subresource: str) -> None:
    ingressclass_create(new, causes)
    was, now = (old.get("spec") or {}).get("controller"), (new.get("spec") or {}).get("controller")
    causes.immutable("spec.controller", now, was)


def networkpolicy_create(obj: Object, causes: Causes) -> None:
    spec = obj.get("spec") or {}
    selectors.label_selector(spec.get("podSelector"), "spec.podSelector", causes)
    for direction, peers in (("ingress", "from"), ("egress", "to")):
        for index, rule in enumerate(spec.get(direction) or ()):
            path = f"spec.{direction}[{index}]"
            for at, port in enumerate(rule.get("ports") or ()):
                _policy_port(port, f"{path}.ports[{at}]", causes)
            for at, peer in enumerate(rule.get(peers) or ()):
                _policy_peer(peer, f"{path}.{peers}[{at}]", causes)
    kinds = spec.get("policyTypes") or []
    if len(kinds) > 2:
        causes.invalid("spec.policyTypes", kinds, "may not specify more than two policyTypes")
    for index, kind in enumerate(kinds):
        if kind not in ("Ingress", "Egress"):
            causes.unsupported(f"spec.policyTypes[{index}]", kind, ("Egress", "Ingress"))


def _policy_port(port: JsonDict, path: str, causes: Causes) -> None:
    if port.get("protocol") not in (None, *PROTOCOLS):
        causes.unsupported(f"{path}.protocol", port["protocol"], PROTOCOLS)
    number, last = port.get("port"), port.get("endPort")
    if isinstance(number, str):
        causes.all_invalid(f"{path}.port", number, names.port_name(number))
        if last is not None:
            causes.invalid(f"{path}.endPort", last, "may not be specified when `port` is non-numeric")
    elif number is not None:
        causes.all_invalid(f"{path}.port", number, names.port_number(number))
        if last is not None:
            if last < number:
                causes.invalid(f"{path}.endPort", last, "must be greater than or equal to `port`")
            causes.all_invalid(f"{path}.endPort", last, names.port_number(last))
    elif last is not None:
        causes.invalid(f"{path}.endPort", last, "may not be specified when `port` is not specified")


def _policy_peer(peer: JsonDict, path: str, causes: Causes) -> None:
    for field in ("podSelector", "namespaceSelector"):
        selectors.label_selector(peer.get(field), f"{path}.{field}", causes)
    block = peer.get("ipBlock")
    if block is not None:
        if peer.get("podSelector") is not None or peer.get("namespaceSelector") is not None:
            causes.forbidden(path, "may not specify both ipBlock and another peer")
        if not block.get("cidr"):
            causes.required(f"{path}.ipBlock.cidr")
        else:
            network(block["cidr"], f"{path}.ipBlock.cidr", causes)
        for at, cidr in enumerate(block.get("except") or ()):
            network(cidr, f"{path}.ipBlock.except[{at}]", causes)
    elif not any(peer.get(field) is not None for field in ("podSelector", "namespaceSelector")):
        causes.required(path, "must specify a peer")


def budget_create(obj: Object, causes: Causes) -> None:
    spec = obj.get("spec") or {}
    least, most = spec.get("minAvailable"), spec.get("maxUnavailable")
    if least is not None and most is not None:
        causes.invalid("spec", spec, "minAvailable and maxUnavailable cannot be both set")
    for field, value in (("minAvailable", least), ("maxUnavailable", most)):
        if value is not None:
            int_or_percent(value, f"spec.{field}", causes)
    selectors.label_selector(spec.get("selector"), "spec.selector", causes)
    eviction = spec.get("unhealthyPodEvictionPolicy")
    if eviction is not None and eviction not in ("AlwaysAllow", "IfHealthyBudget"):
        causes.unsupported("spec.unhealthyPodEvictionPolicy", eviction, ("AlwaysAllow", "IfHealthyBudget"))


def budget_update(new: Object, old: Object, causes: Causes, subresource: str) -> None:
    if subresource != "status":
        budget_create(new, causes)


_RBAC: Final = "rbac.authorization.k8s.io"


def _rules(obj: Object, causes: Causes, *, namespaced: bool) -> None:
    for index, rule in enumerate(obj.get("rules") or ()):
        path = f"rules[{index}]"
        if not rule.get("verbs"):
            causes.required(f"{path}.verbs", "verbs must contain at least one value")
        if urls := rule.get("nonResourceURLs"):
            if namespaced:
                causes.invalid(f"{path}.nonResourceURLs", urls, "namespaced rules cannot apply to non-resource URLs")
            if rule.get("apiGroups") or rule.get("resources") or rule.get("resourceNames"):
                causes.invalid(
                    f"{path}.nonResourceURLs",
                    urls,
                    "rules cannot apply to both regular resources and non-resource URLs",
                )
            continue
        if not rule.get("apiGroups"):
            causes.required(f"{path}.apiGroups", "resource rules must supply at least one api group")
        if not rule.get("resources"):
            causes.required(f"{path}.resources", "resource rules must supply at least one resource")


def role_create(obj: Object, causes: Causes) -> None:
    _rules(obj, causes, namespaced=True)


def clusterrole_create(obj: Object, causes: Causes) -> None:
    _rules(obj, causes, namespaced=False)
    for index, selector in enumerate((obj.get("aggregationRule") or {}).get("clusterRoleSelectors") or ()):
        selectors.label_selector(selector, f"aggregationRule.clusterRoleSelectors[{index}]", causes)


def _binding(obj: Object, causes: Causes, kinds: tuple[str, ...], *, namespaced: bool) -> None:
    reference = obj.get("roleRef") or {}
    if reference.get("apiGroup") != _RBAC:
        causes.unsupported("roleRef.apiGroup", reference.get("apiGroup") or "", (_RBAC,))
    if reference.get("kind") not in kinds:
        causes.unsupported("roleRef.kind", reference.get("kind") or "", kinds)
    name = reference.get("name")
    if not name:
        causes.required("roleRef.name")
    else:
        causes.all_invalid("roleRef.name", name, names.path_segment(name))
    for index, subject in enumerate(obj.get("subjects") or ()):
        path = f"subjects[{index}]"
        kind, group = subject.get("kind") or "", subject.get("apiGroup") or ""
        if not subject.get("name"):
            causes.required(f"{path}.name")
        if kind == "ServiceAccount":
            if subject.get("name"):
                causes.all_invalid(f"{path}.name", subject["name"], names.dns_subdomain(subject["name"]))
            if group:
                causes.unsupported(f"{path}.apiGroup", group, ("",))
            if not subject.get("namespace"):
                causes.required(f"{path}.namespace")
        elif kind in ("User", "Group"):
            if group != _RBAC:
                causes.unsupported(f"{path}.apiGroup", group, (_RBAC,))
        else:
            causes.unsupported(f"{path}.kind", kind, ("ServiceAccount", "User", "Group"))


def rolebinding_create(obj: Object, causes: Causes) -> None:
    _binding(obj, causes, ("Role", "ClusterRole"), namespaced=True)


def clusterrolebinding_create(obj: Object, causes: Causes) -> None:
    _binding(obj, causes, ("ClusterRole",), namespaced=False)


def _binding_update(new: Object, old: Object, causes: Causes) -> None:
    if not same(new.get("roleRef"), old.get("roleRef")):
        causes.invalid("roleRef", new.get("roleRef"), "cannot change roleRef")


def rolebinding_update(new: Object, old: Object, causes: Causes, subresource: str) -> None:
    rolebinding_create(new, causes)
    _binding_update(new, old, causes)


def clusterrolebinding_update(new: Object, old: Object, causes: Causes, subresource: str) -> None:
    clusterrolebinding_create(new, causes)
    _binding_update(new, old, causes)


_HIGHEST_PRIORITY: Final = 1_000_000_000
_SYSTEM_CLASSES: Final = {"system-node-critical": 2_000_001_000, "system-cluster-critical": 2_000_000_000}


def priorityclass_create(obj: Object, causes: Causes) -> None:
    name, value = (obj.get("metadata") or {}).get("name") or "", obj.get("value") or 0
    if name.startswith("system-"):
        if _SYSTEM_CLASSES.get(name) != value:
            causes.forbidden(
                "metadata.name",
                "priority class names with 'system-' prefix are reserved for system use only. "
                f"error: {name} is not a known system priority class",
            )
    elif value > _HIGHEST_PRIORITY:
        causes.forbidden("value", f"maximum allowed value of a user defined priority is {_HIGHEST_PRIORITY}")
    if obj.get("preemptionPolicy") is not None:
        causes.one_of("preemptionPolicy", obj["preemptionPolicy"], ("Never", "PreemptLowerPriority"))


def priorityclass_update(new: Object, old: Object, causes: Causes, subresource: str) -> None:
    if (new.get("value") or 0) != (old.get("value") or 0):
        causes.forbidden("value", "may not be changed in an update.")
    causes.immutable("preemptionPolicy", new.get("preemptionPolicy"), old.get("preemptionPolicy"))


def lease_create(obj: Object, causes: Causes) -> None:
    spec = obj.get("spec") or {}
    seconds, transitions = spec.get("leaseDurationSeconds"), spec.get("leaseTransitions")
    if seconds is not None and seconds <= 0:
        causes.invalid("spec.leaseDurationSeconds", seconds, "must be greater than 0")
    if transitions is not None and transitions < 0:
        causes.invalid("spec.leaseTransitions", transitions, "must be greater than or equal to 0")


def runtimeclass_create(obj: Object, causes: Causes) -> None:
    handler = obj.get("handler") or ""
    causes.all_invalid("handler", handler, names.dns_label(handler))


def runtimeclass_update(new: Object, old: Object, causes: Causes, subresource: str) -> None:
    causes.immutable("handler", new.get("handler"), old.get("handler"))


_USAGES: Final = frozenset(
    {
        "any", "cert sign", "client auth", "code signing", "content commitment", "crl sign", "data encipherment",
        "decipher only", "digital signature", "email protection", "encipher only", "ipsec end system",
        "ipsec tunnel", "ipsec user", "key agreement", "key encipherment", "microsoft sgc", "netscape sgc",
        "ocsp signing", "s/mime", "server auth", "signing", "timestamping",
    }
)  # fmt: skip


def csr_create(obj: Object, causes: Causes) -> None:
    spec = obj.get("spec") or {}
    if not spec.get("request"):
        causes.invalid("spec.request", "", "PEM block type must be CERTIFICATE REQUEST")
    if not spec.get("usages"):
        causes.required("spec.usages")
    for index, usage in enumerate(spec.get("usages") or ()):
        if usage not in _USAGES:
            causes.unsupported(f"spec.usages[{index}]", usage, sorted(_USAGES))
    if not spec.get("signerName"):
        causes.required("spec.signerName")
    elif spec["signerName"].count("/") != 1:
        causes.invalid(
            "spec.signerName",
            spec["signerName"],
            "must be a fully qualified domain and path of the form 'example.com/signer-name'",
        )
    seconds = spec.get("expirationSeconds")
    if seconds is not None and seconds < 600:
        causes.invalid(
            "spec.expirationSeconds", seconds, "may not specify a duration less than 600 seconds (10 minutes)"
        )


def csr_update(new: Object, old: Object, causes: Causes, subresource: str) -> None:
    if not same(new.get("spec"), old.get("spec")):
        causes.invalid("spec", new.get("spec"), "field is immutable")


def webhook_create(obj: Object, causes: Causes) -> None:
    seen: set[str] = set()
    for index, hook in enumerate(obj.get("webhooks") or ()):
        path = f"webhooks[{index}]"
        name = hook.get("name") or ""
        if not name:
            causes.required(f"{path}.name")
        elif problems := names.dns_subdomain(name):
            causes.invalid(f"{path}.name", name, ",".join(problems))
        elif name.count(".") < 2:
            causes.invalid(f"{path}.name", name, "should be a domain with at least three segments separated by dots")
        if name in seen:
            causes.duplicate(f"{path}.name", name)
        seen.add(name)
        versions = hook.get("admissionReviewVersions") or []
        if not versions:
            causes.required(f"{path}.admissionReviewVersions", "must specify one of v1, v1beta1")
        elif not {"v1", "v1beta1"} & set(versions):
            causes.invalid(f"{path}.admissionReviewVersions", versions, "must include at least one of v1, v1beta1")
        for field, supported in (("failurePolicy", ("Fail", "Ignore")), ("matchPolicy", ("Equivalent", "Exact"))):
            if hook.get(field) not in (None, *supported):
                causes.unsupported(f"{path}.{field}", hook[field], supported)
        effects = hook.get("sideEffects")
        if effects is None:
            causes.required(f"{path}.sideEffects", "must specify one of None, NoneOnDryRun")
        elif effects not in ("None", "NoneOnDryRun"):
            causes.unsupported(f"{path}.sideEffects", effects, ("None", "NoneOnDryRun"))
        seconds = hook.get("timeoutSeconds")
        if seconds is not None and not 1 <= seconds <= 30:
            causes.invalid(f"{path}.timeoutSeconds", seconds, "the timeout value must be between 1 and 30 seconds")
        for field in ("namespaceSelector", "objectSelector"):
            selectors.label_selector(hook.get(field), f"{path}.{field}", causes)
        _client_config(hook.get("clientConfig") or {}, f"{path}.clientConfig", causes)
        for at, rule in enumerate(hook.get("rules") or ()):
            for field in ("operations", "apiGroups", "apiVersions", "resources"):
                if not rule.get(field):
                    causes.required(f"{path}.rules[{at}].{field}")


def _client_config(config: JsonDict, path: str, causes: Causes) -> None:
    url, service = config.get("url"), config.get("service")
    if (url is None) == (service is None):
        causes.required(path, "exactly one of url or service is required")
    elif url is not None and not url.startswith("https://"):
        causes.invalid(
            f"{path}.url", url, "'https' is the only allowed URL scheme; desired format: https://host[/path]"
        )
    elif service is not None:
        for field in ("name", "namespace"):
            if not service.get(field):
                causes.required(f"{path}.service.{field}", f"service {field} is required")
