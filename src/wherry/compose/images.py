"""Images of a project's services: which to pull or build before containers are made, and doing so."""

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from wherry.compose import graph, names
from wherry.compose.build_context import dockerfile_of, pack
from wherry.compose.build_wishes import context_services, wishes_of
from wherry.compose.convert import nanoseconds
from wherry.compose.credentials import auth_header, build_header
from wherry.compose.errors import ComposeError
from wherry.compose.observe import image_or_none
from wherry.compose.project import Project
from wherry.compose.report import Report, silent
from wherry.compose.steps import Observed, Step
from wherry.docker_api import build_request
from wherry.docker_api.client import DockerClient, DockerError

_AGES = {"daily": 86_400.0, "weekly": 604_800.0}


@dataclass(frozen=True)
class ImageWishes:
    """`build`: build what has a build section even when its image is there; `pull`: the policy that wins over all."""

    build: bool = False
    no_build: bool = False
    pull: str = ""


def plan_images(
    project: Project, services: Collection[str], observed: Observed, wishes: ImageWishes, ages: Mapping[str, float]
) -> list[Step]:
    """What to pull or build for `services`; an image that several need once. `ages`: seconds since an image came.

    Raises ComposeError for an image that is not there and may be neither pulled nor built.
    """
    steps: dict[str, Step] = {}
    pending = list(services)
    for service in pending:  # grows by the services whose images a build needs
        definition = project.services[service]
        image = names.image_name(project, service)
        policy = wishes.pull or definition.get("pull_policy") or "missing"
        there = image in observed.images
        why = ""
        action = "build" if definition.get("build") else "pull"
        if action == "build" and not wishes.no_build and (wishes.build or policy == "build"):
            why = "--build" if wishes.build else "pull_policy: build"
        elif policy == "always" and definition.get("image") and (action == "pull" or not there):
            why = "pull policy always" if action == "pull" else "its image is not there"
        elif there and action == "pull" and (limit := _age_limit(definition, policy)) is not None:
            why = _too_old(ages.get(image), limit)
        elif not there:
            if (action == "pull" and policy == "never") or (action == "build" and wishes.no_build):
                raise project.error(f'service "{service}": no such image: {image}: No such image: {image}',
                                    ("services", service))  # fmt: skip
            why = "its image is not there"
        if why and image not in steps:
            kind = "build" if action == "build" else "pull"
            steps[image] = Step(f"{kind} {image}", "build" if kind == "build" else "pull", image, why, service)
            needed = context_services(project, service) if kind == "build" else []
            pending += [one for one in needed if one not in pending and project.services[one].get("build")]
    return list(steps.values())


def _age_limit(definition: Mapping[str, Any], policy: str) -> float | None:
    """Seconds after which an image is to be pulled again; None where its age does not matter."""
    if policy == "refresh":
        return nanoseconds(definition.get("pull_refresh_after", "0")) / 1e9
    if policy.startswith("every_"):
        return nanoseconds(policy.removeprefix("every_")) / 1e9
    return _AGES.get(policy)


def _too_old(age: float | None, limit: float) -> str:
    return f"it is older than {round(limit)} s" if age is None or age > limit else ""


def image_ages(client: DockerClient, project: Project, services: Collection[str]) -> dict[str, float]:
    """Seconds since the image of each service that asks for its age came here."""
    from datetime import datetime

    found = {}
    for service in services:
        definition = project.services[service]
        if _age_limit(definition, definition.get("pull_policy") or "") is None:
            continue
        name = names.image_name(project, service)
        tagged = ((image_or_none(client, name) or {}).get("Metadata") or {}).get("LastTagTime")
        if tagged and not tagged.startswith("0001"):
            moment = datetime.fromisoformat(tagged[:19] + "+00:00")
            found[name] = time.time() - moment.timestamp()
    return found


@dataclass
class Images:
    """Pulls, builds and pushes for one project. `output(service, text)` hears what a build prints."""

    client: DockerClient
    project: Project
    report: Report = silent
    output: Callable[[str, str], None] = lambda service, text: None
    parallel: int = 0
    dry: bool = False
    build_options: dict[str, Any] = field(default_factory=dict)
    """Of the `build` command: no_cache, pull, args, memory."""

    def run(self, steps: Collection[Step]) -> None:
        """Carries out the steps of `plan_images`. Raises ComposeError or DockerError."""
        acts = {"pull": self.pull, "build": self.build}

        def task(step: Step) -> graph.Task:
            needed = {names.image_name(self.project, one) for one in context_services(self.project, step.service)}
            after = [other.id for other in steps if other.name in needed]
            return graph.Task(step.id, lambda: acts[step.action](step.service), after)

        graph.run([task(step) for step in steps], self.parallel)

    def pull(self, service: str) -> None:
        image = names.image_name(self.project, service)
        self.report(service, "Pulling")
        if not self.dry:
            name, tag = split_reference(image)
            query = {"fromImage": name, "tag": tag, "platform": self.project.services[service].get("platform")}
            try:
                self._drain("/images/create", query, auth_header(image))
            except (ComposeError, DockerError) as error:
                self.report(service, "Error", "error")
                raise ComposeError(f"{service}: {error}") from None
        self.report(service, "Pulled", "done")

    def push(self, service: str) -> None:
        image = names.image_name(self.project, service)
        self.report(service, "Pushing")
        if not self.dry:
            name, tag = split_reference(image)
            try:
                self._drain(f"/images/{quote(name, safe='/:')}/push", {"tag": tag}, auth_header(image))
            except (ComposeError, DockerError) as error:
                self.report(service, "Error", "error")
                raise ComposeError(f"{service}: {error}") from None
        self.report(service, "Pushed", "done")

    def _drain(self, path: str, query: dict[str, Any], headers: dict[str, str]) -> None:
        response = self.client.call("POST", path, query, headers=headers)
        for message in response.json_lines():
            if "error" in message:
                raise ComposeError(str(message["error"]))

    def build(self, service: str) -> None:
        definition = self.project.services[service]
        build = definition["build"]
        image = names.image_name(self.project, service)
        self.report(service, "Building")
        if not self.dry:
            query = build_query(self.project, service, self.build_options)
            if "://" in build["context"] or build["context"].startswith(("git@", "github.com/")):
                query["remote"] = build["context"]
                data: Iterable[bytes] = ()
            else:
                context = Path(build["context"])
                if not context.is_dir():
                    raise self.project.error(f"unable to prepare context: path {str(context)!r} not found",
                                             ("services", service, "build", "context"))  # fmt: skip
                name, content = dockerfile_of(context, build.get("dockerfile", ""), build.get("dockerfile_inline"))
                query["dockerfile"] = name
                data = pack(context, name, content)
            wanted = wishes_of(self.project, service)
            response = build_request.send(self.client, query, data, wanted, build_header())
            for message in build_request.messages(response):
                if "error" in message:
                    self.report(service, "Error", "error")
                    raise ComposeError(f"failed to build {service}: {message['error']}")
                if text := message.get("stream") or message.get("status"):
                    self.output(service, text if text.endswith("\n") or "stream" in message else f"{text}\n")
        self.report(service, "Built", "done")
        self.report(f"Image {image}", "Built", "done")


_NOT_OVER_THE_API = {
    "ssh": "SSH agents in builds",
    "cache_to": "cache exporters",
    "entitlements": "entitlements",
    "privileged": "privileged builds",
}


def build_query(project: Project, service: str, options: dict[str, Any]) -> dict[str, Any]:
    """The parameters of POST /build. Raises ComposeError for what the builder's API cannot be told."""
    definition = project.services[service]
    build = definition["build"]
    for key, what in _NOT_OVER_THE_API.items():
        if build.get(key):
            raise project.error(f"{what} are not supported by the engine's build API",
                                ("services", service, "build", key))  # fmt: skip
    if len(build.get("platforms") or ()) > 1:
        raise project.error(
            "images for several platforms are not supported", ("services", service, "build", "platforms")
        )
    image = names.image_name(project, service)
    arguments = {name: value for name, value in (build.get("args") or {}).items() if value is not None}
    labels = {
        **(build.get("labels") or {}),
        names.PROJECT: project.name,
        names.SERVICE: service,
        names.VERSION: names.COMPOSE_VERSION,
    }
    query: dict[str, Any] = {
        "t": [image, *(build.get("tags") or ())],
        "buildargs": {**arguments, **(options.get("args") or {})},
        "labels": labels,
        "target": build.get("target"),
        "nocache": bool(build.get("no_cache") or options.get("no_cache")),
        "pull": bool(build.get("pull") or options.get("pull")),
        "networkmode": build.get("network"),
        "shmsize": build.get("shm_size"),
        "platform": (build.get("platforms") or [definition.get("platform")])[0],
        "memory": options.get("memory"),
        "rm": True,
        "forcerm": True,
    }
    if build.get("extra_hosts"):
        query["extrahosts"] = ",".join(
            f"{name}:{address}" for name, addresses in build["extra_hosts"].items() for address in addresses
        )
    if build.get("ulimits"):
        limits = [
            {"Name": name, **({"Soft": one["soft"], "Hard": one["hard"]} if isinstance(one, dict) else
                              {"Soft": one, "Hard": one})}
            for name, one in build["ulimits"].items()
        ]  # fmt: skip
        import json

        query["ulimits"] = json.dumps(limits)
    return query


def split_reference(image: str) -> tuple[str, str]:
    """(name, tag or digest); the tag is `latest` when there is none."""
    name, at, digest = image.partition("@")
    if at:
        return name, digest
    head, colon, tag = image.rpartition(":")
    return (head, tag) if colon and "/" not in tag else (image, "latest")
