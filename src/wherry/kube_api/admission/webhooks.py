"""Admission webhooks: other servers that may change or refuse what is written.

Mutating webhooks are called one after the other (those that ask for it a second time, when a later one changed the
object), validating ones all at once. Which requests go to which webhook is in `webhook_rules.py`.
https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/
"""

import asyncio
import base64
import binascii
import logging
import uuid
from typing import TYPE_CHECKING, Any

import orjson

from wherry.kube_api.admission.chain import Plugin
from wherry.kube_api.admission.webhook_caller import Caller, CallFailed
from wherry.kube_api.admission.webhook_rules import Asked, ConditionFailed, wants
from wherry.kube_api.call import Call
from wherry.schema import builtin, errors, merge
from wherry.schema.objects import deep_copy
from wherry.schema.resource import Object

if TYPE_CHECKING:
    from wherry.kube_api.api import Api

log = logging.getLogger(__name__)

EXEMPT = frozenset(
    {
        builtin.MUTATING_WEBHOOK_CONFIGURATIONS, builtin.VALIDATING_WEBHOOK_CONFIGURATIONS,
        builtin.TOKEN_REVIEWS, builtin.SUBJECT_ACCESS_REVIEWS, builtin.SELF_SUBJECT_ACCESS_REVIEWS,
    }
)  # fmt: skip
"""Never shown to webhooks: a broken one must not lock the door to its own repair."""


class Webhooks(Plugin):
    """See the module."""

    def __init__(self, api: "Api") -> None:
        self._caller = Caller(api)

    async def mutate(self, api: "Api", call: Call, obj: Object, old: Object | None) -> Object:
        chosen = self._webhooks(api, call, builtin.MUTATING_WEBHOOK_CONFIGURATIONS)
        if not chosen:
            return obj
        operation = "CREATE" if old is None else "UPDATE"
        seen: dict[str, Object] = {}
        for name, webhook in chosen:
            obj = await self._mutated(api, call, name, webhook, obj, old, operation)
            seen[name] = deep_copy(obj)
        for name, webhook in chosen:
            if webhook.get("reinvocationPolicy") == "IfNeeded" and seen[name] != obj:
                obj = await self._mutated(api, call, name, webhook, obj, old, operation)
        return obj

    async def validate(self, api: "Api", call: Call, obj: Object, old: Object | None) -> None:
        await self._validate(api, call, obj, old, "CREATE" if old is None else "UPDATE")

    async def validate_delete(self, api: "Api", call: Call, old: Object) -> None:
        for name, webhook in self._webhooks(api, call, builtin.MUTATING_WEBHOOK_CONFIGURATIONS):
            await self._ask(api, call, name, webhook, None, old, "DELETE")
        await self._validate(api, call, None, old, "DELETE")

    async def close(self) -> None:
        await self._caller.close()

    async def _validate(self, api: "Api", call: Call, obj: Object | None, old: Object | None, operation: str) -> None:
        chosen = self._webhooks(api, call, builtin.VALIDATING_WEBHOOK_CONFIGURATIONS)
        if chosen:
            asked = (self._ask(api, call, name, webhook, obj, old, operation) for name, webhook in chosen)
            found = await asyncio.gather(*asked, return_exceptions=True)
            for one in found:
                if isinstance(one, BaseException):
                    raise one

    def _webhooks(self, api: "Api", call: Call, resource: Any) -> list[tuple[str, Object]]:
        """(configuration/webhook, webhook) in the order in which they are called."""
        cache = api.cache_of(resource)
        if not cache.count or call.resource in EXEMPT:
            return []
        return [
            (f"{entry.name}/{webhook['name']}", webhook)
            for entry in cache.entries()
            for webhook in entry.shared().get("webhooks") or ()
        ]

    async def _mutated(
        self, api: "Api", call: Call, name: str, webhook: Object, obj: Object, old: Object | None, operation: str
    ) -> Object:
        answer = await self._ask(api, call, name, webhook, obj, old, operation)
        patch = answer.get("patch")
        if not patch:
            return obj
        short = webhook["name"]
        if answer.get("patchType") != "JSONPatch":
            raise errors.InternalError(
                f'failed calling webhook "{short}": webhook returned response.patch but not patchType'
            )
        try:
            operations = orjson.loads(base64.b64decode(patch, validate=True))
            return merge.json_patch(obj, operations)
        except (binascii.Error, ValueError, errors.ApiError) as error:
            raise errors.InternalError(
                f'Internal error occurred: webhook "{short}" sent a bad patch: {error}'
            ) from error

    async def _ask(
        self,
        api: "Api",
        call: Call,
        name: str,
        webhook: Object,
        obj: Object | None,
        old: Object | None,
        operation: str,
    ) -> Object:
        """The `response` of the review, {} when the webhook is not concerned. Raises what the webhook refuses with."""
        asked = Asked(call, obj, old, operation)
        short = webhook["name"]
        fails = (webhook.get("failurePolicy") or "Fail") == "Fail"
        try:
            if not wants(api, webhook, asked):
                return {}
        except ConditionFailed as error:
            if fails:
                raise errors.Forbidden(
                    f'failed to evaluate the match conditions of webhook "{short}": {error}'
                ) from error
            return {}
        if call.dry_run and webhook.get("sideEffects") not in ("None", "NoneOnDryRun"):
            raise errors.BadRequest(f'admission webhook "{short}" does not support dry run')
        request_id = str(uuid.uuid4())
        review = {
            "kind": "AdmissionReview",
            "apiVersion": "admission.k8s.io/v1",
            "request": asked.request(request_id),
        }
        try:
            answer = await self._caller.post(webhook["clientConfig"], review, webhook.get("timeoutSeconds") or 10)
            response = answer.get("response") if isinstance(answer, dict) else None
            if not isinstance(response, dict):
                raise CallFailed("webhook response is required to have a response")
            if response.get("uid") != request_id:
                raise CallFailed(f'expected response.uid="{request_id}", got "{response.get("uid")}"')
        except CallFailed as error:
            if not fails:
                log.warning("failed calling webhook %s, failing open: %s", name, error)
                return {}
            raise errors.InternalError(f'Internal error occurred: failed calling webhook "{short}": {error}') from None
        for text in response.get("warnings") or ():
            call.warn(str(text))
        if response.get("allowed") is not True:
            raise _denied(short, response.get("status") or {})
        return response


def _denied(name: str, status: Object) -> errors.ApiError:
    said = status.get("message") or status.get("reason")
    message = f'admission webhook "{name}" denied the request' + (f": {said}" if said else " without explanation")
    code = status.get("code")
    if not isinstance(code, int) or not 400 <= code < 600:
        code = 403
    body = {**status, "message": message}
    body.setdefault("reason", {403: "Forbidden", 400: "BadRequest", 422: "Invalid"}.get(code, ""))
    return errors.from_status(code, body)
