"""`compose events`."""

import json

import click

from wherry.cli.compose.session import Session


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Output events as a stream of json objects.")
@click.option("--since", help="Show all events created since timestamp.")
@click.option("--until", help="Stream events until this timestamp.")
@click.argument("services", nargs=-1, metavar="[SERVICE]...")
@click.pass_obj
def events(session: Session, as_json: bool, since: str | None, until: str | None, services: tuple[str, ...]) -> None:
    """Receive real time events from containers."""
    import time
    from datetime import UTC, datetime

    from wherry.cli.format.units import parse_moment
    from wherry.compose.errors import ComposeError
    from wherry.compose.names import PROJECT, SERVICE

    name, _ = session.project_or_name(services)
    query: dict[str, object] = {"filters": {"type": ["container"], "label": [f"{PROJECT}={name}"]}}
    try:
        query |= {key: parse_moment(text, time.time()) for key, text in (("since", since), ("until", until)) if text}
    except ValueError as error:
        raise ComposeError(str(error)) from None
    for event in session.client.call("GET", "/events", query).json_lines():
        attributes = dict(event["Actor"]["Attributes"])
        service = attributes.get(SERVICE, "")
        if services and service not in services:
            continue
        shown = {key: value for key, value in attributes.items() if not key.startswith("com.docker.compose.")}
        moment = datetime.fromtimestamp(event["timeNano"] / 1e9, UTC)
        if as_json:
            told = {
                "time": moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
                "type": "container",
                "service": service,
                "id": event["Actor"]["ID"],
                "action": event["Action"],
                "attributes": shown,
            }
            click.echo(json.dumps(told, separators=(",", ":")))
        else:
            listed = ", ".join(f"{key}={value}" for key, value in sorted(shown.items()))
            stamp = moment.strftime("%Y-%m-%d %H:%M:%S.%f")
            click.echo(f"{stamp} container {event['Action']} {event['Actor']['ID']} ({listed})")
