"""`compose attach`."""

import click

from wherry.cli.compose.session import Session


@click.command()
@click.option("--detach-keys", default=None, help="Override the key sequence for detaching from a container.")
@click.option("--index", type=int, default=0, help="Index of the container if service has multiple replicas.")
@click.option("--no-stdin", is_flag=True, help="Do not attach STDIN.")
@click.option("--sig-proxy/--no-sig-proxy", default=True, help="Proxy all received signals to the process.")
@click.argument("service")
@click.pass_context
def attach(
    context: click.Context, detach_keys: str | None, index: int, no_stdin: bool, sig_proxy: bool, service: str
) -> None:
    """Attach local standard input, output, and error streams to a service's running container."""
    import signal

    from wherry.cli.compose.terminal import join, keep_size

    session: Session = context.obj
    container = session.one_container(service, index)["Id"]
    config = session.client.get(f"/containers/{container}/json")["Config"]
    stdin = config["OpenStdin"] and not no_stdin
    query = {"stream": True, "stdin": stdin, "stdout": True, "stderr": True, "detachKeys": detach_keys}
    stream = session.client.hijack(f"/containers/{container}/attach", query)
    if config["Tty"]:
        keep_size(session.client, f"/containers/{container}/resize")
    if sig_proxy:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(
                number, lambda got, _: session.client.post(f"/containers/{container}/kill", {"signal": int(got)})
            )
    join(stream, stdin=stdin, is_tty=config["Tty"])
    state = session.client.get(f"/containers/{container}/json")["State"]
    context.exit(0 if state["Running"] else state["ExitCode"])
