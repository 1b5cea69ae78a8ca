"""`kubectl set resources`."""

from wherry.cli.kubectl import pod_specs
from wherry.cli.kubectl.errors import KubectlError
from wherry.cli.kubectl.flags import Flag
from wherry.cli.kubectl.selection import Found
from wherry.cli.kubectl.session import Object, Session

HELP = "Specify compute resource requirements (CPU, memory) for any resource that defines a pod template."
EXAMPLES = """
kubectl set resources deployment nginx -c=nginx --limits=cpu=200m,memory=512Mi
"""
USAGE = "(-f FILENAME | TYPE NAME)  ([--limits=LIMITS & --requests=REQUESTS]"
FLAGS = (
    *pod_specs.FLAGS,
    pod_specs.CONTAINERS,
    Flag("limits", "", "str", "", "Limits, as cpu=100m,memory=256Mi; 0 removes one."),
    Flag("requests", "", "str", "", "Requests, as cpu=100m,memory=256Mi; 0 removes one."),
)


def amounts(text: str) -> dict[str, str]:
    """`cpu=100m,memory=1Gi`. Raises KubectlError."""
    from wherry.schema.quantity import parse

    found: dict[str, str] = {}
    for word in text.split(",") if text else ():
        key, equals, value = word.partition("=")
        if not equals:
            raise KubectlError(f"invalid argument syntax {word}, expected <resource>=<value>")
        try:
            parse(value)
        except ValueError as error:
            raise KubectlError(str(error)) from error
        found[key] = value
    return found


def run(session: Session) -> int:
    options = session.options
    limits, requests = amounts(options["limits"]), amounts(options["requests"])
    if not limits and not requests:
        raise KubectlError("you must specify an update to requests or limits (in the form of --requests/--limits)")

    def edit(one: Found, obj: Object) -> None:
        spec = pod_specs.pod_spec(obj)
        if spec is None:
            raise KubectlError(f"the object is not a pod or does not have a pod template: {obj.get('kind')}")
        containers = pod_specs.chosen(spec, options["containers"])
        if not containers:
            raise KubectlError(f"unable to find container named {options['containers']}")
        for container in containers:
            resources = container.setdefault("resources", {})
            for field, values in (("limits", limits), ("requests", requests)):
                if values:
                    own = resources.setdefault(field, {})
                    own.update(values)
                    for key in [key for key, value in own.items() if value == "0"]:
                        del own[key]

    found = pod_specs.objects(session, options.arguments)
    return pod_specs.change(session, found, edit, "resource requirements updated")
