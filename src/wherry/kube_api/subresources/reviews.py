"""Reviews: questions about tokens and permissions that are POSTed and answered, never stored.

https://kubernetes.io/docs/reference/kubernetes-api/authentication-resources/ and …/authorization-resources/
"""

from typing import Any

from wherry.kube_api.api import Api
from wherry.kube_api.auth.attributes import Attributes
from wherry.kube_api.call import Call, User
from wherry.schema import errors
from wherry.schema.resource import Object


def _spec(call: Call, body: Any) -> Object:
    if not isinstance(body, dict) or body.get("kind") not in (None, call.resource.kind):
        raise errors.BadRequest(f"the object provided is unrecognized (must be of type {call.resource.kind})")
    spec = body.get("spec") or {}
    if not isinstance(spec, dict):
        raise errors.BadRequest("spec must be an object")
    return spec


def _answer(call: Call, body: Any, status: Object) -> Object:
    made: Object = {
        "kind": call.resource.kind,
        "apiVersion": call.resource.api_version,
        "metadata": (body or {}).get("metadata") or {"creationTimestamp": None},
    }
    if isinstance(body, dict) and "spec" in body:
        made["spec"] = body["spec"]
    made["status"] = status
    return made


def _info(user: User) -> Object:
    made: Object = {"username": user.name, "groups": list(user.groups)}
    if user.uid:
        made["uid"] = user.uid
    if user.extra:
        made["extra"] = {key: list(values) for key, values in user.extra}
    return made


async def review_token(api: Api, call: Call, body: Any) -> Object:
    """Whose token is this?"""
    spec = _spec(call, body)
    audiences = [str(one) for one in spec.get("audiences") or ()]
    user = api.services["authenticator"].by_token(str(spec.get("token") or ""), audiences or None)
    if user is None:
        return _answer(call, body, {"authenticated": False, "user": {}, "error": "invalid bearer token"})
    status: Object = {"authenticated": True, "user": _info(user)}
    status["audiences"] = audiences or api.services["tokens"].audiences
    return _answer(call, body, status)


async def review_self(api: Api, call: Call, body: Any) -> Object:
    """Who am I?"""
    _spec(call, body)
    return _answer(call, body, {"userInfo": _info(call.user)})


def _asked(user: User, spec: Object, field: str = "spec") -> Attributes:
    resource, path = spec.get("resourceAttributes"), spec.get("nonResourceAttributes")
    if bool(resource) == bool(path):
        raise errors.invalid(
            "authorization.k8s.io", "SelfSubjectAccessReview", "",
            [errors.Cause("FieldValueInvalid",
                          "Invalid value: null: exactly one of nonResourceAttributes or resourceAttributes must be "
                          "specified", f"{field}.resourceAttributes")],
        )  # fmt: skip
    if path:
        return Attributes(user, path.get("verb", ""), path=path.get("path", "") or "/")
    assert resource
    return Attributes(
        user,
        resource.get("verb", ""),
        resource.get("group", ""),
        resource.get("resource", ""),
        resource.get("subresource", ""),
        resource.get("namespace", ""),
        resource.get("name", ""),
    )


def _verdict(api: Api, asked: Attributes) -> Object:
    allowed = _allows(api, asked)
    return {"allowed": allowed} if not allowed else {"allowed": True, "reason": "RBAC: allowed"}


def _allows(api: Api, asked: Attributes) -> bool:
    """`*` as a verb, group or resource asks for everything."""
    allowed: bool = api.services["authorizer"].allows(asked)
    return allowed


async def review_own_access(api: Api, call: Call, body: Any) -> Object:
    """May I?"""
    return _answer(call, body, _verdict(api, _asked(call.user, _spec(call, body))))


async def review_access(api: Api, call: Call, body: Any) -> Object:
    """May they?"""
    spec = _spec(call, body)
    user = User(
        str(spec.get("user") or ""),
        tuple(spec.get("groups") or ()),
        str(spec.get("uid") or ""),
        tuple((key, tuple(values)) for key, values in (spec.get("extra") or {}).items()),
    )
    if not user.name and not user.groups:
        raise errors.invalid(
            "authorization.k8s.io", "SubjectAccessReview", "",
            [errors.Cause("FieldValueInvalid", 'Invalid value: "": at least one of user or group must be specified',
                          "spec.user")],
        )  # fmt: skip
    return _answer(call, body, _verdict(api, _asked(user, spec)))


async def review_local_access(api: Api, call: Call, body: Any) -> Object:
    """May they, in this namespace?"""
    spec = _spec(call, body)
    if ((spec.get("resourceAttributes") or {}).get("namespace") or "") != call.namespace:
        raise errors.invalid(
            "authorization.k8s.io", "LocalSubjectAccessReview", "",
            [errors.Cause("FieldValueInvalid", "Invalid value: must match metadata.namespace",
                          "spec.resourceAttributes.namespace")],
        )  # fmt: skip
    return await review_access(api, call, body)


async def review_own_rules(api: Api, call: Call, body: Any) -> Object:
    """What may I, in this namespace?"""
    spec = _spec(call, body)
    namespace = spec.get("namespace") or ""
    if not namespace:
        raise errors.BadRequest("no namespace on request")
    resources: list[Object] = []
    paths: list[Object] = []
    rules = list(api.services["authorizer"].rbac.rules(call.user, namespace))
    for rule in rules:
        verbs = list(rule.get("verbs") or ())
        if rule.get("resources"):
            one: Object = {"verbs": verbs, "apiGroups": rule.get("apiGroups") or [], "resources": rule["resources"]}
            if rule.get("resourceNames"):
                one["resourceNames"] = rule["resourceNames"]
            resources.append(one)
        if rule.get("nonResourceURLs"):
            paths.append({"verbs": verbs, "nonResourceURLs": rule["nonResourceURLs"]})
    return _answer(call, body, {"resourceRules": resources, "nonResourceRules": paths, "incomplete": False})
