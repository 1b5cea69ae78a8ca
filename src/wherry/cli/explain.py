"""`wherry explain pod NAME`: why a pod is where it is, or nowhere: per node and per rule, and by whose decision."""

import asyncio
import json
from datetime import datetime
from typing import Any

import click

from wherry.cli.state import no_cluster
from wherry.host.instance import Instance

PATH = "/debug/wherry/explain/"
"""Where the API server tells what it decided: see `explaining.py`."""
KINDS = ("pod", "pods", "po")


@click.command()
@click.argument("kind", type=click.Choice(KINDS), metavar="pod")
@click.argument("name")
@click.option("-n", "--namespace", default="default", show_default=True)
@click.option("--nodes", type=int, default=20, show_default=True, help="Show at most so many nodes.")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
@click.pass_obj
def explain(instance: Instance, kind: str, name: str, namespace: str, nodes: int, as_json: bool) -> None:
    """Say why a pod is where it is, or nowhere."""
    if refusal := no_cluster(instance):
        raise click.ClickException(refusal)
    found = asyncio.run(_ask(instance, f"{PATH}pods/{namespace}/{name}"))
    if found is None:
        raise click.ClickException(f'pods "{name}" not found in namespace {namespace}')
    if as_json:
        click.echo(json.dumps(found, indent=2))
    else:
        click.echo("\n".join(lines(found, nodes)))


async def _ask(instance: Instance, path: str) -> dict[str, Any] | None:
    from wherry.client.http import HttpClient
    from wherry.schema.errors import ApiError, NotFound

    async with HttpClient.from_kubeconfig(instance.kubeconfig) as client:
        try:
            return await client.get_path(path)
        except NotFound:
            return None
        except ApiError as error:
            raise click.ClickException(str(error)) from error


def lines(found: dict[str, Any], most_nodes: int) -> list[str]:
    """The document as text, one line each."""
    scheduling = found["scheduling"]
    where = f"on node {found['node']}" if found["node"] else "on no node"
    out = [f"Pod {found['namespace']}/{found['name']}: {found['phase'] or 'Unknown'}, {where}"]
    out += _containers(found["containers"])
    out += ["", f"Scheduling (by {scheduling['scheduler']}):"]
    if scheduling.get("message"):
        out.append(f"  Last refusal: {scheduling['message']}")
    if "rules" in scheduling:
        out += _nodes(scheduling, found["node"], most_nodes)
    if found["decisions"]:
        out += ["", "Decisions of controllers, oldest first:"]
        for one in found["decisions"]:
            did = f" -> {', '.join(one['steps'])}" if one["steps"] else ""
            failed = f" (failed: {one['error']})" if one["error"] else ""
            why = "; ".join(one["reasons"]) or "no reason noted"
            out.append(f"  {_clock(one['at'])} {one['controller']} {one['object']}: {why}{did}{failed}")
    if found["events"]:
        out += ["", "Events:"]
        for event in found["events"]:
            times = f" (x{event['count']})" if event["count"] > 1 else ""
            out.append(f"  {event['type']:<8}{event['reason']}{times}: {event['message']}")
    return out


def _containers(containers: list[dict[str, Any]]) -> list[str]:
    out = []
    for one in containers:
        why = ": ".join(part for part in (one["reason"], one["message"]) if part)
        ready = "ready" if one["ready"] else "not ready"
        out.append(f"  container {one['name']}: {one['state']}, {ready}, {one['restarts']} restarts")
        if why:
            out.append(f"    {why}")
    return out


def _nodes(scheduling: dict[str, Any], bound: str, most: int) -> list[str]:
    total = scheduling["nodes"]
    out = [f"  {scheduling['feasible']} of {total} nodes can run it by {len(scheduling['rules'])} rules, as of now."]
    for rule, reason in scheduling["anywhere"].items():
        out.append(f"  everywhere   {rule}: {reason}")
    for one in sorted(scheduling["counts"], key=lambda count: -int(count["nodes"])):
        out.append(f"  {one['nodes']:>5} nodes  {one['rule']}: {one['reason']}")
    verdicts = scheduling["verdicts"]
    for name, verdict in list(verdicts.items())[:most]:
        here = "  <- it is here" if name == bound else ""
        if verdict["refusals"]:
            out.append(f"  no   {name}{here}")
            out += [f"         {rule}: {', '.join(reasons)}" for rule, reasons in verdict["refusals"].items()]
        elif scheduling["anywhere"]:
            out.append(f"  --   {name}{here}")
        else:
            points = ", ".join(f"{rule} {value:g}" for rule, value in verdict["scores"].items())
            out.append(f"  yes  {name}{here}  {verdict['total']:g} points{f' ({points})' if points else ''}")
    if total > min(most, len(verdicts)):
        out.append(f"  … and {total - min(most, len(verdicts))} more nodes")
    return out


def _clock(at: float) -> str:
    return datetime.fromtimestamp(at).astimezone().strftime("%H:%M:%S")
