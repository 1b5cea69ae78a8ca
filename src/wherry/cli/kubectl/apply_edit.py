"""`kubectl apply edit-last-applied`."""

import os

from wherry.cli.kubectl import last_applied
from wherry.cli.kubectl.edit import _HEADER, _edit, _parse, _without_comments
from wherry.cli.kubectl.errors import KubectlError
from wherry.cli.kubectl.http import MERGE_PATCH
from wherry.cli.kubectl.selection import load
from wherry.cli.kubectl.session import FILES, MANAGER, PRINTING, Session
from wherry.cli.kubectl.yamlio import YamlError, dump

HELP = "Edit the latest last-applied-configuration annotations of resources from the default editor."
USAGE = "(RESOURCE/NAME | -f FILENAME)"
FLAGS = (*FILES, *PRINTING, MANAGER)


def run(session: Session) -> int:
    for one in load(session):
        applied = last_applied.decode(one.object)
        if applied is None:
            raise KubectlError(f"no last-applied-configuration annotation found on resource: {one.name}")
        before = dump(applied)
        edited, path = _edit(_HEADER + before, False, "")
        os.unlink(path)
        body = _without_comments(edited)
        if body == before.strip("\n"):
            print("Edit cancelled, no changes made.")
            continue
        try:
            documents = _parse(body)
        except YamlError as error:
            raise KubectlError(f"The edited file had a syntax error: {error}") from error
        if not documents:
            raise KubectlError("Edit cancelled, saved file was empty.")
        patch = {"metadata": {"annotations": {last_applied.KEY: last_applied.encode(documents[0])}}}
        query = session.write_query(validate=False)
        result = session.http.request("PATCH", one.path, query, patch, content_type=MERGE_PATCH)
        session.done(one.resource, one.name, "edited", result)
    return 0
