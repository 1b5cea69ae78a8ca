"""`kubectl create deployment`."""

from typing import Any

from wherry.cli.kubectl.create.common import COMMON, command_of, finish, metadata
from wherry.cli.kubectl.errors import KubectlError, UsageError
from wherry.cli.kubectl.flags import Flag
from wherry.cli.kubectl.session import Session

HELP = "Create a deployment with the specified name."
EXAMPLES = """
# A deployment that runs the nginx image
kubectl create deployment web --image=nginx --replicas=3 --port=80

# A deployment with a command
kubectl create deployment box --image=busybox -- date
"""
USAGE = "NAME --image=image -- [COMMAND] [args...]"
FLAGS = (
    *COMMON,
    Flag("image", "", "list", (), "Image names to run."),
    Flag("port", "", "int", -1, "The port that the container exposes."),
    Flag("replicas", "r", "int", 1, "Number of replicas."),
)


def run(session: Session) -> int:
    options = session.options
    arguments = options.arguments
    if not arguments or options.dash_at == 0:
        raise UsageError("exactly one NAME is required, got 0")
    if options.dash_at < 0 and len(arguments) > 1:
        raise UsageError(f"exactly one NAME is required, got {len(arguments)}")
    images = options["image"]
    if not images:
        raise KubectlError('required flag(s) "image" not set')
    command = command_of(session)
    if len(images) > 1 and command:
        raise KubectlError("cannot specify multiple --image options and command")
    if options["replicas"] < 0:
        raise KubectlError(f"invalid --replicas {options['replicas']}: must be greater than or equal to 0")
    name = arguments[0]
    labels = {"app": name}
    containers: list[dict[str, Any]] = []
    for image in images:
        container: dict[str, Any] = {"image": image, "name": _container_name(image), "resources": {}}
        if command:
            container["command"] = command
        if options["port"] >= 0 and len(containers) == 0:
            container["ports"] = [{"containerPort": options["port"]}]
        containers.append(container)
    obj = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata(session, name, labels=labels),
        "spec": {
            "replicas": options["replicas"],
            "selector": {"matchLabels": labels},
            "strategy": {},
            "template": {
                "metadata": {"creationTimestamp": None, "labels": labels},
                "spec": {"containers": containers},
            },
        },
        "status": {},
    }
    return finish(session, "deployments.apps", obj, failed="failed to create deployment: ")


def _container_name(image: str) -> str:
    """The last part of the image's name, without tag and digest."""
    last = image.rpartition("/")[2]
    name = last.partition("@")[0].partition(":")[0]
    return "".join(c if c.isalnum() or c == "-" else "-" for c in name.lower())
