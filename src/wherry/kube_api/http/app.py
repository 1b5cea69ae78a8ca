"""The application behind the HTTP server: authenticate, route, authorise, run the verb, represent the answer."""

import asyncio
import gzip
import json
import logging
import time
from collections.abc import Callable, Coroutine
from typing import Any

import orjson

from wherry.kube_api.api import Api
from wherry.kube_api.auth.attributes import Attributes, refusal
from wherry.kube_api.auth.authn import Authenticator
from wherry.kube_api.auth.authorizer import Authorizer
from wherry.kube_api.cache import frame
from wherry.kube_api.call import ANONYMOUS, Call, User
from wherry.kube_api.http import shapes
from wherry.kube_api.http.inflight import InFlight
from wherry.kube_api.http.message import Request, Response, decode_path, json_response
from wherry.kube_api.http.options import delete_options, read_options
from wherry.kube_api.http.protocol import Answer
from wherry.kube_api.http.represent import PLAIN, Representation, negotiate, parse_body, parse_yaml, render
from wherry.kube_api.http.routes import Route, Router
from wherry.kube_api.http.watching import HttpWatch
from wherry.kube_api.objects import Entry, encode
from wherry.kube_api.rules import check_action_body
from wherry.kube_api.subresources import find_action
from wherry.kube_api.subresources.scale import has_scale, read_scale, write_scale
from wherry.kube_api.verbs import patch as patch_module
from wherry.kube_api.verbs.create import create
from wherry.kube_api.verbs.delete import delete
from wherry.kube_api.verbs.deletecollection import delete_collection
from wherry.kube_api.verbs.get import get
from wherry.kube_api.verbs.list import Page, head, list_, list_joined
from wherry.kube_api.verbs.update import update
from wherry.schema import errors
from wherry.schema.builtin import COMPONENT_STATUSES, NOT_STORED
from wherry.schema.resource import Resource

log = logging.getLogger(__name__)

GZIP_MIN = 128 * 1024
MAX_READS, MAX_WRITES = 400, 200
"""Requests under way at once; further ones get 429. Watches and upgrades do not count."""
CONNECT = frozenset({"log", "exec", "attach", "portforward", "proxy"})
VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
PATCH_TYPES = (patch_module.JSON, patch_module.MERGE, patch_module.STRATEGIC, patch_module.APPLY)

NonResource = Callable[[Request, User], Coroutine[Any, Any, Answer] | Response | None]
Connect = Callable[[Request, Call, Route], Coroutine[Any, Any, Answer]]


class App:
    """See `http.protocol.Application`."""

    def __init__(
        self,
        api: Api,
        authenticator: Authenticator,
        authorizer: Authorizer,
        non_resource: NonResource,
        connect: Connect,
    ) -> None:
        self._api = api
        self._authenticator = authenticator
        self._authorizer = authorizer
        self._non_resource = non_resource
        self._connect = connect
        self._router = Router(api.table)
        self._reads = InFlight(MAX_READS)
        self._writes = InFlight(MAX_WRITES)
        self.requests: dict[tuple[str, str, int], int] = {}
        """Answers so far by (verb, resource, status), for /metrics."""

    # -- http.protocol.Application

    def refuse(self, status: int, message: str) -> Response:
        error = errors.from_status(status, {"message": message})
        return Response(orjson.dumps({**error.status, "code": status}), status=status)

    def answer(self, request: Request) -> Response | Coroutine[Any, Any, Answer]:
        headers = request.headers
        real = user = ANONYMOUS
        try:
            real = user = self._authenticator.identify(request)
            if "impersonate-user" in headers or "impersonate-group" in headers or "impersonate-uid" in headers:
                user = self._authorizer.impersonate(user, headers)
            route = self._router.route(request.path)
            if route is None:
                return self._plain_path(request, user)
            if request.method == "GET" and not request.query_string and route.name and not route.subresource:
                quick = self._quick_get(request, user, route)
                if quick is not None:
                    return quick
            return self._resource(request, user, route, real)
        except errors.ApiError as error:
            self._audit_refusal(request, real, error)
            return error_response(error)

    def _audit_refusal(self, request: Request, user: User, error: errors.ApiError) -> None:
        """Note a request that did not get as far as its verb: nobody knows who asks, or for whom."""
        route = self._router.route(request.path) if self._authorizer.auditing else None
        if route is not None:
            self._authorizer.audit(request, user, route, self._verb(request, route), error.code, 0.0, user)

    # -- paths that are no resources

    def _plain_path(self, request: Request, user: User) -> Response | Coroutine[Any, Any, Answer]:
        verb = {"GET": "get", "HEAD": "get", "POST": "post", "PUT": "put", "DELETE": "delete"}.get(
            request.method, request.method.lower()
        )
        asked = Attributes(user, verb, path="/" + "/".join(decode_path(request.path)))
        if not self._authorizer.allows(asked):
            raise errors.Forbidden(f"forbidden: {refusal(asked)}", details={})
        try:
            found = self._non_resource(request, user)
        except errors.ApiError:
            raise
        except Exception:
            log.exception("%s %s", request.method, request.path)
            raise errors.InternalError("Internal error occurred: see the server's log") from None
        if found is None:
            raise errors.NotFound("the server could not find the requested resource", details={})
        if isinstance(found, Response) and _wants_gzip(request, found):
            return _compressed(found)
        return found

    # -- resources

    def _quick_get(self, request: Request, user: User, route: Route) -> Response | None:
        """GET of one object from the cache without a task; None when it needs the long way."""
        api, resource = self._api, route.resource
        if resource is None or not api.store.exclusive or resource in NOT_STORED or api.is_view(resource):
            return None
        if self._authorizer.auditing:
            return None
        if negotiate(request.headers.get("accept", "")) is not PLAIN:
            return None
        name, namespace = route.name or "", route.namespace or ""
        asked = Attributes(user, "get", route.group, route.plural, "", namespace, name)
        if not self._authorizer.allows(asked):
            return error_response(forbidden(asked))
        entry = api.cache_of(resource).get(namespace, name)
        if entry is None or api.cache.failure is not None:
            return None
        return Response(entry.data)

    async def _resource(self, request: Request, user: User, route: Route, real: User) -> Answer:
        """`real` is who asks, `user` on whose behalf."""
        started = time.perf_counter()
        verb = self._verb(request, route)
        is_read = verb in ("get", "list", "watch")
        long_running = verb == "watch" or route.subresource in CONNECT
        status = 500
        try:
            if long_running:
                answer = await self._guarded(request, user, route, verb)
            elif is_read:
                with self._reads.one(user.name):
                    answer = await self._guarded(request, user, route, verb)
            else:
                with self._writes.one(user.name):
                    answer = await self._guarded(request, user, route, verb)
            status = answer.status if answer is not None else 200
            return answer
        except errors.ApiError as error:
            answer = error_response(error)
            status = error.code
            return answer
        finally:
            key = (verb, route.plural, status)
            self.requests[key] = self.requests.get(key, 0) + 1
            self._authorizer.audit(request, user, route, verb, status, time.perf_counter() - started, real)

    def _verb(self, request: Request, route: Route) -> str:
        method = request.method
        if method in ("GET", "HEAD"):
            if route.subresource in CONNECT:
                return "get"
            if route.watch or ("watch=" in request.query_string and _is_watch(request)):
                return "watch"
            return "get" if route.name else "list"
        verb = VERBS.get(method, "")
        if verb == "delete" and not route.name:
            return "deletecollection"
        return verb

    async def _guarded(self, request: Request, user: User, route: Route, verb: str) -> Answer:
        """Authorise, then run; what nobody foresaw becomes a 500 that names no internals."""
        asked = Attributes(
            user,
            verb or "unknown",
            route.group,
            route.plural,
            route.subresource,
            route.namespace or "",
            route.name or _name_selected(request, verb),
        )
        if not self._authorizer.allows(asked):
            raise forbidden(asked, self._authorizer.narrowed(asked) or "")
        if route.resource is None:
            raise errors.NotFound("the server could not find the requested resource", details={})
        try:
            answer = await self._run(request, user, route, route.resource, verb)
            if answer is not None and _wants_gzip(request, answer):
                return await _compressed(answer)
            return answer
        except (errors.ApiError, asyncio.CancelledError):
            raise
        except Exception:
            log.exception("%s %s", request.method, request.path)
            raise errors.InternalError("Internal error occurred: see the server's log") from None

    async def _run(self, request: Request, user: User, route: Route, resource: Resource, verb: str) -> Answer:
        call = Call(user, verb, resource, route.namespace, route.name, route.subresource)
        query = request.query
        read_options(call, query)
        if not call.field_manager and verb in ("create", "update", "patch"):
            agent = request.headers.get("user-agent", "")
            call.field_manager = "" if _is_apply(request) else agent.partition("/")[0][:128] or "unknown"
        if route.subresource:
            if route.subresource not in resource.subresources:
                raise errors.NotFound("the server could not find the requested resource", details={})
            if route.subresource in CONNECT:
                return await self._connect(request, call, route)
        elif resource in NOT_STORED and verb not in ("create",):
            return await self._computed(request, call)
        representation = negotiate(request.headers.get("accept", ""))
        if verb == "get":
            return await self._get(request, call, representation)
        if verb == "list":
            return await self._list(request, call, representation)
        if verb == "watch":
            return await self._watch(request, call, representation)
        if verb == "create":
            return await self._create(request, call, representation)
        if verb == "update":
            body, call.raw = parse_body(request.body, request.headers.get("content-type", ""))
            if call.name is None:
                raise _not_allowed(request)
            if call.subresource == "scale":
                return self._object(
                    call, representation, *(await write_scale(self._api, call, body, "")), request=request
                )
            return self._object(call, representation, *(await update(self._api, call, body)), request=request)
        if verb == "patch":
            return await self._patch(request, call, representation)
        if verb == "delete":
            return await self._delete(request, call, representation, query)
        if verb == "deletecollection":
            body = parse_body(request.body, request.headers.get("content-type", ""))[0] if request.body else None
            options = delete_options(call, query, body)
            page = await delete_collection(self._api, call, options)
            return self._page(request, call, representation, page)
        raise _not_allowed(request)

    async def _get(self, request: Request, call: Call, representation: Representation) -> Answer:
        if call.subresource == "scale" and has_scale(self._api, call.resource):
            return self._object(call, representation, await read_scale(self._api, call), False, request=request)
        if call.subresource in ("binding", "eviction", "token", "finalize"):
            raise _not_allowed(request)
        return self._object(call, representation, await get(self._api, call), False, request=request)

    async def _list(self, request: Request, call: Call, representation: Representation) -> Answer:
        if representation.shape:
            return self._page(request, call, representation, await list_(self._api, call))
        return self._page(request, call, representation, await list_joined(self._api, call))

    def _page(self, request: Request, call: Call, representation: Representation, page: Page) -> Response:
        resource = call.resource
        if representation.shape == "Table":
            data = shapes.table(self._api, resource, page, request.query.get("includeObject", ["Metadata"])[0])
        elif representation.shape:
            data = shapes.partial_list(page)
        else:
            items = page.joined if page.joined is not None else b",".join([entry.data for entry in page.entries])
            data = b"%b%b]}\n" % (head(f"{resource.kind}List", resource.api_version, page), items)
        return _finish(request, call, representation, data)

    async def _watch(self, request: Request, call: Call, representation: Representation) -> Answer:
        shaper: Callable[[str, Entry], bytes] | None = None
        if representation.shape == "Table":
            include = request.query.get("includeObject", ["Metadata"])[0]
            shaper = shapes.TableShaper(self._api, call.resource, include)
        elif representation.shape:
            shaper = _partial_line

        if request.method == "HEAD":
            return Response()
        await HttpWatch(self._api, call, request, shaper).serve()
        return None

    async def _create(self, request: Request, call: Call, representation: Representation) -> Answer:
        body, call.raw = parse_body(request.body, request.headers.get("content-type", ""))
        action = find_action(call.resource, call.subresource)
        if action is not None:
            check_action_body(call, body)
            result = await action(self._api, call, body)
            return json_response(result, status=201, headers=_warnings(call))
        if call.subresource or call.name or call.resource in NOT_STORED:
            raise _not_allowed(request)
        entry = await create(self._api, call, body)
        return self._object(call, representation, entry, True, request=request)

    async def _patch(self, request: Request, call: Call, representation: Representation) -> Answer:
        type_ = request.headers.get("content-type", "").partition(";")[0].strip()
        if type_ not in PATCH_TYPES:
            raise errors.UnsupportedMediaType(
                "the body of the request was in an unknown format - accepted media types include: "
                + ", ".join(PATCH_TYPES)
            )
        if call.name is None:
            raise _not_allowed(request)
        if type_ == patch_module.APPLY:
            body = parse_yaml(request.body)
        else:
            try:
                body = orjson.loads(request.body)
            except orjson.JSONDecodeError as error:
                raise errors.BadRequest(f"error decoding patch: {error}") from None
        if call.subresource == "scale":
            return self._object(
                call, representation, *(await write_scale(self._api, call, body, type_)), request=request
            )
        return self._object(
            call, representation, *(await patch_module.patch(self._api, call, body, type_)), request=request
        )

    async def _delete(
        self, request: Request, call: Call, representation: Representation, query: dict[str, list[str]]
    ) -> Answer:
        body = parse_body(request.body, request.headers.get("content-type", ""))[0] if request.body else None
        options = delete_options(call, query, body)
        if call.subresource:
            raise _not_allowed(request)
        entry, gone = await delete(self._api, call, options)
        if not gone or self._api.strategy(call.resource).returns_deleted:
            return self._object(call, representation, entry, False, request=request)
        details: dict[str, Any] = {"name": call.name, "kind": call.resource.plural}
        if call.resource.group:
            details["group"] = call.resource.group
        details["uid"] = entry.peek()["metadata"]["uid"]
        status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}
        return json_response(status, headers=_warnings(call))

    async def _computed(self, request: Request, call: Call) -> Answer:
        """GET of resources that are computed, never stored."""
        compute = self._api.services.get(f"compute:{call.resource.qualified}")
        if compute is None or call.verb not in ("get", "list"):
            raise _not_allowed(request)
        result = await compute(call)
        representation = negotiate(request.headers.get("accept", ""))
        if representation.shape == "Table" and call.resource == COMPONENT_STATUSES:
            objects = [result] if call.name else result["items"]
            entries = [Entry("", one["metadata"]["name"], encode(one), 0) for one in objects]
            return self._page(request, call, representation, Page(entries, self._api.cache.revision))
        return json_response(result, headers=_warnings(call))

    def _object(
        self, call: Call, representation: Representation, entry: Entry, created: bool, *, request: Request
    ) -> Response:
        data = entry.data
        if representation.shape == "Table":
            page = Page([entry], entry.revision)
            data = shapes.table(self._api, call.resource, page, request.query.get("includeObject", ["Metadata"])[0])
        elif representation.shape:
            data = shapes.partial(entry)
        response = _finish(request, call, representation, data)
        response.status = 201 if created else 200
        return response


def _partial_line(type_: str, entry: Entry) -> bytes:
    return frame(type_, shapes.partial(entry))


def _finish(request: Request, call: Call, representation: Representation, data: bytes) -> Response:
    if representation.media_type != PLAIN.media_type:
        data = render(data, representation.media_type)
    return Response(data, content_type=representation.media_type, headers=_warnings(call))


def _wants_gzip(request: Request, response: Response) -> bool:
    return len(response.body) > GZIP_MIN and "gzip" in request.headers.get("accept-encoding", "")


async def _compressed(response: Response) -> Response:
    """The same answer with its body in gzip; made in a thread, because long lists take long."""
    response.body = await asyncio.to_thread(gzip.compress, response.body, 1)
    response.headers = [*(response.headers or ()), ("Content-Encoding", "gzip"), ("Vary", "Accept-Encoding")]
    return response


def _warnings(call: Call) -> list[tuple[str, str]] | None:
    if not call.warnings:
        return None
    return [
        ("Warning", f"299 - {json.dumps(text.replace(chr(10), ' '), ensure_ascii=False)}") for text in call.warnings
    ]


def _is_watch(request: Request) -> bool:
    value = request.query.get("watch", ["false"])[0]
    return value.lower() not in ("0", "false", "")


def _name_selected(request: Request, verb: str) -> str:
    """A list or watch of one name is authorised as that of the object."""
    if verb not in ("list", "watch", "deletecollection") or "fieldSelector" not in request.query_string:
        return ""
    for term in request.query.get("fieldSelector", [""])[0].split(","):
        path, _, value = term.partition("=")
        if path == "metadata.name":
            return value.removeprefix("=")
    return ""


def _is_apply(request: Request) -> bool:
    return request.method == "PATCH" and request.headers.get("content-type", "").startswith(patch_module.APPLY)


def _not_allowed(request: Request) -> errors.ApiError:
    return errors.MethodNotAllowed("the server does not allow this method on the requested resource", details={})


def forbidden(asked: Attributes, why: str = "") -> errors.Forbidden:
    """403 as the API server words it."""
    qualified = errors.qualified(asked.group, asked.resource)
    if asked.subresource:
        qualified = f"{asked.resource}/{asked.subresource}" + (f".{asked.group}" if asked.group else "")
    named = f'{qualified} "{asked.name}"' if asked.name else qualified
    details: dict[str, Any] = {"kind": asked.resource}
    if asked.name:
        details["name"] = asked.name
    if asked.group:
        details["group"] = asked.group
    return errors.Forbidden(f"{named} is forbidden: {refusal(asked, why)}", details=details)


def error_response(error: errors.ApiError) -> Response:
    headers = None
    retry = (error.details or {}).get("retryAfterSeconds")
    if retry:
        headers = [("Retry-After", str(retry))]
    return Response(orjson.dumps(error.status) + b"\n", status=error.code, headers=headers)
