"""`kubectl api-versions`."""

from wherry.cli.kubectl.errors import UsageError
from wherry.cli.kubectl.session import Session

HELP = 'Print the supported API versions on the server, in the form of "group/version".'
USAGE = ""
FLAGS = ()


def run(session: Session) -> int:
    if session.options.arguments:
        raise UsageError(f"unexpected arguments: [{' '.join(session.options.arguments)}]")
    found = list(session.http.get("/api").get("versions") or ())
    for group in session.http.get("/apis").get("groups") or ():
        found += [version["groupVersion"] for version in group["versions"]]
    for version in sorted(found):
        print(version)
    return 0
