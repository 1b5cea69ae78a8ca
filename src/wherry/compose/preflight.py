"""What `up` looks for on this machine before it changes anything: the files that a project's containers are given."""

import os
from collections.abc import Collection

from wherry.compose.project import Project


def check_files(project: Project, services: Collection[str]) -> None:
    """Raises ComposeError, with file, line and key, for a config, secret or bind source that is not there.

    A bind source that may be made (`create_host_path`) is.
    """
    for name in services:
        definition = project.services[name]
        for kind, section in (("configs", project.configs), ("secrets", project.secrets)):
            for grant in definition.get(kind) or ():
                file = section[grant["source"]].get("file")
                if file and not os.path.exists(file):
                    raise project.error(f"open {file}: no such file or directory", (kind, grant["source"], "file"))
        for volume in definition.get("volumes") or ():
            may_be_made = (volume.get("bind") or {}).get("create_host_path")
            if volume["type"] == "bind" and not may_be_made and not os.path.lexists(volume["source"]):
                raise project.error(
                    f'invalid mount config for type "bind": bind source path does not exist: {volume["source"]}',
                    ("services", name, "volumes"),
                )
