"""`kubectl auth whoami`."""

from wherry.cli.kubectl import table
from wherry.cli.kubectl.session import PRINTING, Session

HELP = "Experimental: check who you are and your attributes (groups, extra)."
USAGE = ""
FLAGS = PRINTING


def run(session: Session) -> int:
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview", "metadata": {}}
    answer = session.http.request("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", None, body)
    if session.options["output"]:
        from wherry.cli.kubectl.output import print_object

        print_object(session.options, answer)
        return 0
    user = (answer.get("status") or {}).get("userInfo") or {}
    rows = [["ATTRIBUTE", "VALUE"]]
    if user.get("username"):
        rows.append(["Username", user["username"]])
    if user.get("uid"):
        rows.append(["UID", user["uid"]])
    if user.get("groups"):
        rows.append(["Groups", f"[{' '.join(user['groups'])}]"])
    for key, value in sorted((user.get("extra") or {}).items()):
        rows.append([f"Extra: {key}", f"[{' '.join(value)}]"])
    table.write(rows)
    return 0
