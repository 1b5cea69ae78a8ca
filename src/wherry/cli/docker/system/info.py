"""`docker info`."""

from __future__ import annotations

from wherry.cli.docker.errors import CliError
from wherry.cli.docker.inspection import evaluate
from wherry.cli.docker.version import client_version
from wherry.cli.format.gojson import dumps
from wherry.cli.format.gotemplate import DOCKER_FUNCTIONS, ParseError, Template
from wherry.cli.format.units import bytes_size

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from typing import Any

    from wherry.cli.docker.flags import Flags
    from wherry.cli.docker.program import Cli

USAGE = "[OPTIONS]"
ARGUMENTS = (0, 0)
FLAGS = """
f,format string    Print by this: json, or a Go template
"""


def run(cli: Cli, flags: Flags, arguments: list[str]) -> int:
    from wherry.docker_api.client import CannotConnect, DockerError

    form = flags["format"]
    template = None
    if form and form != "json":
        try:
            template = Template(form, functions=DOCKER_FUNCTIONS, missing="error")
        except ParseError as error:
            raise CliError(f"template parsing error: {error}", 64) from None
    version = client_version(cli)
    client = {"Debug": False, **version, "Plugins": [], "Warnings": None}
    client.pop("ApiVersion")
    info: dict[str, Any] = {}
    wrong = ""
    try:
        info = cli.client.get("/info")
    except (DockerError, CannotConnect) as error:
        from wherry.cli.docker.program import cannot_connect

        wrong = cannot_connect(cli, error) if isinstance(error, CannotConnect) else str(error)
    if form == "json":
        cli.out(dumps({**info, **({"ServerErrors": [wrong]} if wrong else {}), "ClientInfo": client}))
    elif template is not None:
        cli.out(evaluate(template, {**info, "ServerErrors": [wrong] if wrong else None, "ClientInfo": client}))
    else:
        lines = [
            "Client:",
            f" Version:    {version['Version']}",
            f" Context:    {cli.context}",
            " Debug Mode: false",
            "",
        ]
        lines.append("Server:")
        if info:
            lines += server_lines(info)
        cli.out("\n".join(lines))
        for warning in info.get("Warnings") or []:
            cli.error(str(warning))
        if wrong:
            raise CliError(f"{wrong}\nerrors pretty printing info")
        cli.out("")
    if wrong:
        raise CliError(wrong)
    return 0


def server_lines(info: dict[str, Any]) -> list[str]:
    """The engine's half, one fact per line."""
    plugins = info.get("Plugins") or {}
    lines = [
        f" Containers: {info['Containers']}",
        f"  Running: {info['ContainersRunning']}",
        f"  Paused: {info['ContainersPaused']}",
        f"  Stopped: {info['ContainersStopped']}",
        f" Images: {info['Images']}",
        f" Server Version: {info['ServerVersion']}",
        f" Storage Driver: {info['Driver']}",
        *(f"  {name}: {value}" for name, value in info.get("DriverStatus") or []),
        f" Logging Driver: {info['LoggingDriver']}",
        f" Cgroup Driver: {info['CgroupDriver']}",
        f" Cgroup Version: {info['CgroupVersion']}",
        " Plugins:",
        *(
            f"  {kind}: {' '.join(plugins[kind])}"
            for kind in ("Volume", "Network", "Authorization", "Log")
            if plugins.get(kind)
        ),
        f" Swarm: {(info.get('Swarm') or {}).get('LocalNodeState', 'inactive')}",
        f" Runtimes: {' '.join(info.get('Runtimes') or {})}",
        f" Default Runtime: {info['DefaultRuntime']}",
        f" Init Binary: {info['InitBinary']}",
        f" containerd version: {info['ContainerdCommit']['ID']}",
        f" runc version: {info['RuncCommit']['ID']}",
        f" init version: {info['InitCommit']['ID']}",
        " Security Options:",
    ]
    for option in info.get("SecurityOptions") or []:
        pairs = dict(part.partition("=")[::2] for part in option.split(","))
        lines.append(f"  {pairs.pop('name', '')}")
        lines += [f"   {'Profile' if key == 'profile' else key}: {value}" for key, value in pairs.items()]
    lines += [
        f" Kernel Version: {info['KernelVersion']}",
        f" Operating System: {info['OperatingSystem']}",
        f" OSType: {info['OSType']}",
        f" Architecture: {info['Architecture']}",
        f" CPUs: {info['NCPU']}",
        f" Total Memory: {bytes_size(info['MemTotal'])}",
        f" Name: {info['Name']}",
        f" ID: {info['ID']}",
        f" Docker Root Dir: {info['DockerRootDir']}",
        f" Debug Mode: {'true' if info.get('Debug') else 'false'}",
    ]
    for key, title in (("HttpProxy", "HTTP Proxy"), ("HttpsProxy", "HTTPS Proxy"), ("NoProxy", "No Proxy")):
        if info.get(key):
            lines.append(f" {title}: {info[key]}")
    if info.get("Labels"):
        lines += [" Labels:", *(f"  {label}" for label in info["Labels"])]
    lines.append(f" Experimental: {'true' if info.get('ExperimentalBuild') else 'false'}")
    registries = info.get("RegistryConfig") or {}
    insecure = [name for name, one in (registries.get("IndexConfigs") or {}).items() if not one.get("Secure")]
    insecure += registries.get("InsecureRegistryCIDRs") or []
    if insecure:
        lines += [" Insecure Registries:", *(f"  {one}" for one in insecure)]
    if registries.get("Mirrors"):
        lines += [" Registry Mirrors:", *(f"  {one}" for one in registries["Mirrors"])]
    lines.append(f" Live Restore Enabled: {'true' if info.get('LiveRestoreEnabled') else 'false'}")
    return lines
