"""`kubectl autoscale`."""

from typing import Any

from wherry.cli.kubectl.create.common import SAVE_CONFIG
from wherry.cli.kubectl.errors import KubectlError, UsageError
from wherry.cli.kubectl.flags import Flag
from wherry.cli.kubectl.selection import load
from wherry.cli.kubectl.session import DRY_RUN, FILES, MANAGER, PRINTING, Object, Session

HELP = "Create an autoscaler that chooses and sets the number of pods that run in a cluster."
EXAMPLES = """
kubectl autoscale deployment foo --min=2 --max=10 --cpu-percent=80
"""
USAGE = "(-f FILENAME | TYPE NAME | TYPE/NAME) [--min=MINPODS] --max=MAXPODS [--cpu-percent=CPU]"
FLAGS = (
    *FILES,
    *PRINTING,
    DRY_RUN,
    MANAGER,
    SAVE_CONFIG,
    Flag("cpu-percent", "", "int", -1, "The wanted average load of all pods, in percent of what they request."),
    Flag("max", "", "int", -1, "The most pods that may run. Required."),
    Flag("min", "", "int", -1, "The fewest pods that may run."),
    Flag("name", "", "str", "", "The autoscaler's name; the resource's own when left out."),
)


def run(session: Session) -> int:
    options = session.options
    if "max" not in options.changed:
        raise KubectlError('required flag(s) "max" not set')
    if options["max"] < 1:
        raise KubectlError(f"--max=MAXPODS is required and must be at least 1, max: {options['max']}")
    if options["max"] < options["min"]:
        raise KubectlError(
            f"--max=MAXPODS must be larger or equal to --min=MINPODS, max: {options['max']}, min: {options['min']}"
        )
    if not options.arguments and not options["filename"]:
        raise UsageError("You must provide one or more resources by argument or filename.")
    resource = session.find("horizontalpodautoscalers.v1.autoscaling")
    for one in load(session):
        if one.resource.kind not in ("Deployment", "ReplicaSet", "StatefulSet", "ReplicationController"):
            raise KubectlError(f"cannot autoscale a {one.resource.kind}")
        spec: Object = {
            "maxReplicas": options["max"],
            "scaleTargetRef": {"apiVersion": one.resource.api_version, "kind": one.resource.kind, "name": one.name},
        }
        if options["min"] > 0:
            spec["minReplicas"] = options["min"]
        if options["cpu-percent"] >= 0:
            spec["targetCPUUtilizationPercentage"] = options["cpu-percent"]
        meta: dict[str, Any] = {"creationTimestamp": None, "name": options["name"] or one.name}
        obj: Object = {
            "apiVersion": "autoscaling/v1",
            "kind": "HorizontalPodAutoscaler",
            "metadata": meta,
            "spec": spec,
            "status": {"currentReplicas": 0, "desiredReplicas": 0},
        }
        if options["save-config"]:
            from wherry.cli.kubectl import last_applied

            obj = last_applied.annotated(obj)
        if session.dry_run != "client":
            query = session.write_query("kubectl-autoscale", validate=False)
            obj = session.http.request("POST", resource.path(one.namespace), query, obj)
        session.done(resource, obj["metadata"]["name"], "autoscaled", obj)
    return 0
