"""`kubectl version`."""

from wherry import __version__
from wherry.cli.kubectl.errors import CannotConnect, KubectlError
from wherry.cli.kubectl.flags import Flag
from wherry.cli.kubectl.session import Session

HELP = "Print the client and server version information for the current context."
USAGE = ""
FLAGS = (
    Flag("client", "", "bool", False, "The client's version only; no server is asked."),
    Flag("output", "o", "str", "", "One of 'yaml' or 'json'."),
)
CLIENT = {"major": "1", "minor": "32", "gitVersion": f"v1.32.0+wherry.{__version__}", "platform": "linux/amd64"}


def run(session: Session) -> int:
    options = session.options
    if options.arguments:
        raise KubectlError(f"extra arguments: [{' '.join(options.arguments)}]")
    form = options["output"]
    if form not in ("", "yaml", "json"):
        raise KubectlError("--output must be 'yaml' or 'json'")
    server = None
    problem: KubectlError | None = None
    if not options["client"]:
        try:
            server = session.http.get("/version")
        except CannotConnect as error:
            problem = error
    if form:
        whole = {"clientVersion": CLIENT, **({"serverVersion": server} if server else {})}
        if form == "json":
            import json

            print(json.dumps(whole, indent=2))
        else:
            from wherry.cli.kubectl.yamlio import dump

            print(dump(whole), end="")
    else:
        print(f"Client Version: {CLIENT['gitVersion']}")
        if server:
            print(f"Server Version: {server['gitVersion']}")
    if problem is not None:
        raise problem
    return 0
