"""`compose attach`."""

import click

from wherry.cli.compose.session import Session

_PATIENCE_SECONDS = 2.0


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
    import contextlib
    import queue
    import signal
    import threading

    from wherry.cli.compose.terminal import join, keep_size
    from wherry.compose.conditions import wait_completed
    from wherry.docker_api.client import DockerError

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
    ended: queue.SimpleQueue[int] = queue.SimpleQueue()

    def wait() -> None:
        with contextlib.suppress(DockerError, OSError):
            ended.put(wait_completed(session.client, container))

    threading.Thread(target=wait, daemon=True).start()
    join(stream, stdin=stdin, is_tty=config["Tty"])
    try:
        # The output of what has ended is over a moment before the engine says so.
        code = ended.get(timeout=_PATIENCE_SECONDS)
    except queue.Empty:
        code = 0  # detached by its keys
    context.exit(code)
