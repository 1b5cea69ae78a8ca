"""`kubectl create`: from files, or by a generator for each kind; one file per family of kinds."""

from wherry.cli.kubectl.create.common import COMMON
from wherry.cli.kubectl.errors import KubectlError, ServerError, UsageError, raise_all
from wherry.cli.kubectl.flags import Flag
from wherry.cli.kubectl.session import FILES, SELECTOR, Session

HELP = "Create a resource from a file or from stdin."
EXAMPLES = """
# Create a pod from pod.json
kubectl create -f ./pod.json

# Create a deployment
kubectl create deployment web --image=nginx
"""
USAGE = "-f FILENAME"
FLAGS = (
    *COMMON,
    *FILES,
    SELECTOR,
    Flag("edit", "", "bool", False, "Edit the objects before they are created."),
    Flag("raw", "", "str", "", "A path to send POST to."),
)
VERBS = {
    "clusterrole": ("create.roles", "Create a cluster role"),
    "clusterrolebinding": ("create.bindings", "Create a cluster role binding for a particular cluster role"),
    "configmap": ("create.configmap", "Create a config map from a local file, directory or literal value"),
    "cm": ("create.configmap", "Short for configmap"),
    "cronjob": ("create.jobs", "Create a cron job with the specified name"),
    "cj": ("create.jobs", "Short for cronjob"),
    "deployment": ("create.deployment", "Create a deployment with the specified name"),
    "deploy": ("create.deployment", "Short for deployment"),
    "ingress": ("create.ingress", "Create an ingress with the specified name"),
    "ing": ("create.ingress", "Short for ingress"),
    "job": ("create.jobs", "Create a job with the specified name"),
    "namespace": ("create.simple", "Create a namespace with the specified name"),
    "ns": ("create.simple", "Short for namespace"),
    "poddisruptionbudget": ("create.simple", "Create a pod disruption budget with the specified name"),
    "pdb": ("create.simple", "Short for poddisruptionbudget"),
    "priorityclass": ("create.simple", "Create a priority class with the specified name"),
    "pc": ("create.simple", "Short for priorityclass"),
    "quota": ("create.simple", "Create a quota with the specified name"),
    "resourcequota": ("create.simple", "Same as quota"),
    "role": ("create.roles", "Create a role with single rule"),
    "rolebinding": ("create.bindings", "Create a role binding for a particular role or cluster role"),
    "secret": ("create.secret_group", "Create a secret using a specified subcommand"),
    "service": ("create.service_group", "Create a service using a specified subcommand"),
    "svc": ("create.service_group", "Short for service"),
    "serviceaccount": ("create.simple", "Create a service account with the specified name"),
    "sa": ("create.simple", "Short for serviceaccount"),
    "token": ("create.token", "Request a service account token"),
}


def run(session: Session) -> int:
    from wherry.cli.kubectl import last_applied
    from wherry.cli.kubectl.manifests import read
    from wherry.cli.kubectl.selection import target_of

    options = session.options
    if options["raw"]:
        return _raw(session)
    if options.arguments:
        raise UsageError(f"Unexpected args: [{' '.join(options.arguments)}]")
    if not options["filename"] and not options["kustomize"]:
        raise KubectlError("must specify one of -f and -k")
    errors: list[KubectlError] = []
    documents = read(options)
    if options["edit"]:
        from wherry.cli.kubectl.edit import edit_documents

        documents = edit_documents(session, documents)
    if options["selector"]:
        from wherry.schema.selectors import parse_labels

        selector = parse_labels(options["selector"])
        documents = [d for d in documents if selector.matches((d.object.get("metadata") or {}).get("labels") or {})]
    if not documents:
        raise KubectlError("no objects passed to create")
    for document in documents:
        try:
            target = target_of(session, document)
            obj = last_applied.annotated(document.object) if options["save-config"] else document.object
            if session.dry_run != "client":
                path = target.resource.path(target.namespace)
                obj = session.http.request("POST", path, session.write_query("kubectl-create"), obj)
        except ServerError as error:
            errors.append(error.within(f'error when creating "{document.source}"'))
            continue
        except KubectlError as error:
            errors.append(error)
            continue
        name = (obj.get("metadata") or {}).get("name") or (obj.get("metadata") or {}).get("generateName", "")
        session.done(target.resource, name, "created", obj)
    raise_all(errors)
    return 0


def _raw(session: Session) -> int:
    import sys

    from wherry.cli.kubectl.http import check

    names = session.options["filename"]
    if len(names) != 1:
        raise UsageError("--raw can only use a single local file or stdin")
    if names[0] == "-":
        body = sys.stdin.buffer.read()
    else:
        with open(names[0], "rb") as file:
            body = file.read()
    response = session.http.send("POST", session.options["raw"], None, body)
    text = response.read()
    check(response.status, text)
    sys.stdout.buffer.write(text)
    return 0
