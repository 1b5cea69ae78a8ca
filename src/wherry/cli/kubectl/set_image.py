"""`kubectl set image`."""

from wherry.cli.kubectl import pod_specs
from wherry.cli.kubectl.errors import KubectlError
from wherry.cli.kubectl.selection import Found
from wherry.cli.kubectl.session import Object, Session

HELP = "Update existing container image(s) of resources."
EXAMPLES = """
kubectl set image deployment/nginx busybox=busybox nginx=nginx:1.9.1
kubectl set image deployments,rc nginx=nginx:1.9.1 --all
"""
USAGE = "(-f FILENAME | TYPE NAME) CONTAINER_NAME_1=CONTAINER_IMAGE_1 ... CONTAINER_NAME_N=CONTAINER_IMAGE_N"
FLAGS = pod_specs.FLAGS


def run(session: Session) -> int:
    resources, words = pod_specs.split(session.options.arguments)
    if not resources and not session.options["filename"]:
        raise (KubectlError("one or more resources must be specified as <resource> <name> or <resource>/<name>"))
    images: dict[str, str] = {}
    for word in words:
        name, equals, image = word.partition("=")
        if not equals or not name or not image:
            raise KubectlError(f"invalid parameter: {word}")
        images[name] = image
    if not images:
        raise KubectlError("at least one image update is required")
    if len(images) > 1 and "*" in images:
        raise KubectlError(
            "all containers are already specified by *, but saw more than one container_name=container_image pairs"
        )

    def edit(one: Found, obj: Object) -> None:
        spec = pod_specs.pod_spec(obj)
        if spec is None:
            raise KubectlError(f"the object is not a pod or does not have a pod template: {one.object.get('kind')}")
        containers = [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]
        for name, image in images.items():
            matching = [container for container in containers if name in ("*", container["name"])]
            if not matching:
                raise KubectlError(f'unable to find container named "{name}"')
            for container in matching:
                container["image"] = image

    return pod_specs.change(session, pod_specs.objects(session, resources), edit, "image updated")
