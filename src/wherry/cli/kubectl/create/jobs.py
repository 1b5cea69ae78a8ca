"""`kubectl create job` and `kubectl create cronjob`."""

from typing import Any

from wherry.cli.kubectl.create.common import COMMON, command_of, finish, metadata
from wherry.cli.kubectl.errors import KubectlError, UsageError
from wherry.cli.kubectl.flags import Flag
from wherry.cli.kubectl.session import Session

HELP = "Create a job or a cron job with the specified name."
EXAMPLES = """
kubectl create job hello --image=busybox -- date
kubectl create job now --from=cronjob/nightly
kubectl create cronjob nightly --image=busybox --schedule="0 3 * * *" -- date
"""
USAGE = "NAME --image=image [--from=cronjob/name] [--schedule='0/5 * * * ?'] -- [COMMAND] [args...]"
FLAGS = (
    *COMMON,
    Flag("image", "", "str", "", "Image name to run."),
    Flag("from", "", "str", "", "The cron job to make the job from."),
    Flag("schedule", "", "str", "", "When a cron job runs, in cron's format."),
    Flag("restart", "", "str", "", "Restart policy of a cron job's pods: OnFailure, Never."),
)


def run(session: Session) -> int:
    options = session.options
    if not options.arguments or options.dash_at == 0:
        raise UsageError("exactly one NAME is required, got 0")
    if (options.dash_at < 0 and len(options.arguments) > 1) or options.dash_at > 1:
        raise UsageError(f"exactly one NAME is required, got {len(options.arguments)}")
    name = options.arguments[0]
    if session.command.split()[-1] in ("cronjob", "cj"):
        return _cron_job(session, name)
    return _job(session, name)


def _container(session: Session, name: str) -> dict[str, Any]:
    container: dict[str, Any] = {"image": session.options["image"], "name": name, "resources": {}}
    command = command_of(session)
    if command:
        container["command"] = command
    return container


def _job(session: Session, name: str) -> int:
    options = session.options
    if bool(options["image"]) == bool(options["from"]):
        raise KubectlError("either --image or --from must be specified")
    if options["from"] and command_of(session):
        raise KubectlError("cannot specify --from and command")
    obj: dict[str, Any] = {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata(session, name), "status": {}}
    if options["from"]:
        kind, _, source = options["from"].partition("/")
        resource = session.find(kind)
        if resource.name != "cronjobs":
            raise KubectlError("from must be an existing cronjob")
        cron = session.http.get(resource.path(session.namespace, source))
        template = cron["spec"]["jobTemplate"]
        meta = template.get("metadata") or {}
        obj["metadata"]["annotations"] = {
            **(meta.get("annotations") or {}),
            "cronjob.kubernetes.io/instantiate": "manual",
        }
        if meta.get("labels"):
            obj["metadata"]["labels"] = meta["labels"]
        obj["metadata"]["ownerReferences"] = [
            {
                "apiVersion": "batch/v1",
                "kind": "CronJob",
                "name": source,
                "uid": cron["metadata"]["uid"],
                "controller": True,
            }
        ]
        obj["spec"] = template["spec"]
    else:
        obj["spec"] = {
            "template": {
                "metadata": {"creationTimestamp": None},
                "spec": {"containers": [_container(session, name)], "restartPolicy": "Never"},
            }
        }
    return finish(session, "jobs.batch", obj, failed="failed to create job: ")


def _cron_job(session: Session, name: str) -> int:
    options = session.options
    missing = [flag for flag in ("image", "schedule") if not options[flag]]
    if missing:
        quoted = ", ".join(f'"{flag}"' for flag in missing)
        raise KubectlError(f"required flag(s) {quoted} not set")
    pod = {"containers": [_container(session, name)], "restartPolicy": options["restart"] or "OnFailure"}
    obj = {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": metadata(session, name),
        "spec": {
            "jobTemplate": {
                "metadata": {"creationTimestamp": None, "name": name},
                "spec": {"template": {"metadata": {"creationTimestamp": None}, "spec": pod}},
            },
            "schedule": options["schedule"],
        },
        "status": {},
    }
    return finish(session, "cronjobs.batch", obj, failed="failed to create cronjob: ")
