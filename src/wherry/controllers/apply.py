"""Applying a Plan: the steps with their preconditions, the events, the status, and the answers put into the caches."""

import asyncio
import itertools
import logging
from collections.abc import Iterator, Sequence

from wherry.client.api import Client, PatchType
from wherry.client.events import EventRecorder
from wherry.client.informer import Informers
from wherry.controllers.plan import Create, Delete, Event, Patch, Plan, Step, Update, describe
from wherry.schema.errors import AlreadyExists, ApiError, Conflict, Forbidden, Invalid, NotFound
from wherry.schema.resource import Object, Resource

log = logging.getLogger(__name__)

_PARALLEL = 32


class PlanError(Exception):
    """One or more steps failed; `errors` in order."""

    def __init__(self, errors: Sequence[ApiError | OSError]) -> None:
        super().__init__("; ".join(str(error) for error in errors))
        self.errors = list(errors)

    @property
    def expected(self) -> bool:
        """Whether it is only about lost races, which the next round settles."""
        return all(isinstance(error, Conflict | NotFound) for error in self.errors)


class PlanApplier:
    """Applies plans about objects of one resource. A batch runs at once, batches one after the other."""

    def __init__(self, client: Client, informers: Informers, recorder: EventRecorder, resource: Resource) -> None:
        self._client = client
        self._informers = informers
        self._recorder = recorder
        self._resource = resource

    async def apply(self, plan: Plan, obj: Object | None) -> None:
        """Carry out `plan` for `obj` (None: it is gone). Raises PlanError when a step failed; later steps wait."""
        errors: list[ApiError | OSError] = []
        latest = obj
        for event in plan.events:
            self._record(event, obj)
        for batch in _batches(plan.steps):
            results = await asyncio.gather(*(self._apply_step(step, obj) for step in batch))
            for step, result in zip(batch, results, strict=True):
                if isinstance(result, ApiError | OSError):
                    errors.append(result)
                elif latest is not None and result is not None and _same(step, latest, result):
                    latest = result
            if errors:
                break
        status = plan.status
        if errors and plan.status_if_failed is not None:
            status = _filled(plan.status_if_failed, str(errors[0]))
        if status is not None and latest is not None:
            try:
                await self._write_status(latest, status)
            except (ApiError, OSError) as error:
                errors.append(error)
        if errors:
            raise PlanError(errors)

    async def _write_status(self, obj: Object, status: Object) -> None:
        if (obj.get("status") or {}) == status:
            return
        resource = self._resource
        updated = await self._client.update(resource, obj | {"status": status}, subresource="status")
        self._informers[resource].record_write(updated)

    async def _apply_step(self, step: Step, obj: Object | None) -> Object | ApiError | OSError | None:
        """The object as written, None where nothing came of it, or the error."""
        try:
            written = await self._write(step)
        except (ApiError, OSError) as error:
            if isinstance(error, NotFound) and isinstance(step, Delete):
                return None
            if isinstance(error, AlreadyExists) and isinstance(step, Create) and step.may_exist:
                return None
            if isinstance(error, Forbidden) and isinstance(step, Create) and _is_terminating(error):
                return None  # nothing can be made there any more, and what is there will go
            if step.failed is not None and not isinstance(error, Conflict | NotFound):
                self._record(step.failed, obj, error=str(error))
            if isinstance(error, Invalid):
                log.warning("%s: %s", describe(step), error)
            return error
        if step.done is not None and written is not None:
            self._record(step.done, obj, name=written["metadata"]["name"])
        return written

    async def _write(self, step: Step) -> Object:
        client, cache = self._client, self._informers.known(step.resource)
        if isinstance(step, Create):
            written = await client.create(step.resource, step.object, step.object["metadata"].get("namespace"))
        elif isinstance(step, Update):
            written = await client.update(step.resource, step.object, subresource=step.subresource)
        elif isinstance(step, Patch):
            metadata = step.target["metadata"]
            guard = {"uid": metadata["uid"]}
            if step.check_version:
                guard["resourceVersion"] = metadata["resourceVersion"]
            patch = step.patch | {"metadata": step.patch.get("metadata", {}) | guard}
            written = await client.patch(
                step.resource,
                metadata["name"],
                patch,
                metadata.get("namespace"),
                type=PatchType.MERGE,
                subresource=step.subresource,
            )
        else:
            return await self._delete(step)
        # Some subresources answer with another kind (Scale, Binding).
        if cache is not None and written.get("kind") == step.resource.kind:
            cache.record_write(written)
        return written

    async def _delete(self, step: Delete) -> Object:
        metadata = step.target["metadata"]
        answer = await self._client.delete(
            step.resource,
            metadata["name"],
            metadata.get("namespace"),
            uid=metadata["uid"],
            resource_version=metadata["resourceVersion"] if step.check_version else None,
            grace_period_seconds=step.grace_period_seconds,
            propagation_policy=step.propagation,
        )
        cache = self._informers.known(step.resource)
        if cache is not None:
            left = answer.get("metadata") or {}
            stays = left.get("deletionTimestamp") and (left.get("finalizers") or left.get("deletionGracePeriodSeconds"))
            if answer.get("kind") != "Status" and stays:
                cache.record_write(answer)
            else:
                cache.record_delete(step.target)
        return step.target

    def _record(self, event: Event, obj: Object | None, *, name: str = "", error: str = "") -> None:
        about = event.about or obj
        if about is None:
            return
        message = event.message.replace("{name}", name).replace("{error}", error)
        self._recorder.record(about, event.type, event.reason, message)


def _batches(steps: Sequence[Step]) -> Iterator[list[Step]]:
    """Runs of the same verb on the same resource, together; creates start slowly (1, 2, 4…), so that a need that
    cannot be met (a quota, a broken webhook) costs one refused request and not a thousand."""
    for (verb, _), run in itertools.groupby(steps, lambda step: (type(step), step.resource)):
        left = list(run)
        size = 1 if verb is Create else _PARALLEL
        while left:
            yield left[:size]
            left = left[size:]
            size = min(size * 2, _PARALLEL)


def _same(step: Step, obj: Object, written: Object) -> bool:
    return not isinstance(step, Delete) and (written.get("metadata") or {}).get("uid") == obj["metadata"]["uid"]


def _is_terminating(error: Forbidden) -> bool:
    causes = (error.details or {}).get("causes") or ()
    return any(cause.get("reason") == "NamespaceTerminating" for cause in causes) or (
        "because it is being terminated" in error.message
    )


def _filled(status: Object, error: str) -> Object:
    conditions = [
        condition | {"message": condition.get("message", "").replace("{error}", error)}
        for condition in status.get("conditions") or ()
    ]
    return status | {"conditions": conditions} if conditions else status
