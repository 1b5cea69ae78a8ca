"""`wherry up`: start what does not run yet, wait until it is ready, say where everything is."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import click

from wherry.cli import supervisor
from wherry.cli.state import SupervisorState, need_root, read_state
from wherry.host.instance import Instance

POLL_SECONDS = 0.02


def commands(
    instance: Instance, engine_only: bool, tcp: str | None, options: dict[str, str]
) -> list[tuple[str, list[str]]]:
    """(name, argv) of each process of the instance."""
    binary = Path(sys.executable).parent
    places = ["--root", str(instance.root), "--run", str(instance.run)]
    node = [str(binary / "wherry-node"), *places]
    if tcp:
        node += ["--tcp", tcp]
    if engine_only:
        return [("wherry-node", [*node, "--engine-only"])]
    server = [str(binary / "wherry-server"), *places]
    for name, value in options.items():
        server += [f"--{name}", value] if value else [f"--{name}"]
    return [("wherry-server", server), ("wherry-node", node)]


def start_supervisor(instance: Instance, processes: list[tuple[str, list[str]]]) -> None:
    """Starts the detached supervisor; returns when it has detached. Raises ClickException when it cannot."""
    for directory, mode in ((instance.root, 0o711), (instance.run, 0o711), (instance.log_dir, 0o750)):
        directory.mkdir(parents=True, exist_ok=True)
        directory.chmod(mode)
    specs = [f"{name}={json.dumps(argv)}" for name, argv in processes]
    started = subprocess.run(
        [sys.executable, "-I", "-S", supervisor.__file__, str(instance.run), str(instance.log_dir), *specs],
        capture_output=True,
        text=True,
        check=False,
        env={
            **os.environ,
            "PYTHONUNBUFFERED": "1",
            "PYTHONDONTWRITEBYTECODE": os.environ.get("PYTHONDONTWRITEBYTECODE", ""),
        },
    )
    if started.returncode not in (0, 3):
        raise click.ClickException(f"the supervisor did not start: {started.stderr.strip()}")


def last_words(instance: Instance, name: str) -> str:
    """The end of what a process wrote to stderr, for an error message."""
    try:
        text = (instance.log_dir / f"{name}.err").read_text(errors="replace")
    except OSError:
        return ""
    return "\n".join(text.strip().splitlines()[-5:])


def wait_ready(instance: Instance, names: list[str], timeout: float) -> SupervisorState:
    """Waits until every process in `names` has reported READY=1."""
    deadline = time.monotonic() + timeout
    while True:
        state = read_state(instance)
        found = [state.process(name) for name in names]
        if all(process and process.alive and process.ready_after is not None for process in found):
            return state
        for process in found:
            if process and process.restarts >= 3 and process.ready_after is None:
                raise click.ClickException(
                    f"{process.name} does not start ({process.last_exit}). Its last words "
                    f"({instance.log_dir / process.name}.err):\n{last_words(instance, process.name)}"
                )
        if time.monotonic() > deadline:
            late = [
                name for name, process in zip(names, found, strict=True) if not process or process.ready_after is None
            ]
            hints = "".join(
                f"\n{name}: {process.status}"
                for name, process in zip(names, found, strict=True)
                if process and process.status
            )
            raise click.ClickException(
                f"not ready after {timeout:.0f} s: {', '.join(late)}.{hints}\n"
                f"Look at {instance.log_dir} and at: wherry status"
            )
        time.sleep(POLL_SECONDS)


def describe(instance: Instance, state: SupervisorState, names: list[str], already: bool) -> str:
    lines = []
    for name in names:
        process = state.process(name)
        assert process is not None
        took = f"ready after {process.ready_after:.2f} s" if process.ready_after is not None else "not ready"
        lines.append(f"{name:<14} pid {process.pid}, {'already running' if already else took}")
    lines.append(f"Engine socket: {instance.docker_socket}")
    if "wherry-server" in names:
        lines.append(f"Kubeconfig:    {instance.kubeconfig}")
    places = "" if instance.run == Path("/run/wherry") else f" --root {instance.root} --run {instance.run}"
    wherry = f"{Path(sys.executable).parent / 'wherry'}{places}"
    lines += ["", "Try:", f'  eval "$({wherry} env)"', "  docker ps"]
    lines.append("  kubectl get nodes" if "wherry-server" in names else f"  {wherry} status")
    return "\n".join(lines)


def choose_etcd(
    instance: Instance, running: bool, urls: str, ca: str | None, cert: str | None, key: str | None
) -> None:
    """Remembers which etcd the cluster's data is in. Raises ClickException when it is somewhere else already."""
    from wherry.store.choice import StoreChoice, WrongChoice, choose, load

    files = [str(Path(one).resolve()) if one else "" for one in (ca, cert, key)]
    choice = StoreChoice(tuple(urls.split(",")), *files)
    if running and load(instance.root) != choice:
        raise click.ClickException("this instance runs on another store; stop it first: wherry down")
    try:
        choose(instance.root, choice)
    except WrongChoice as error:
        raise click.ClickException(str(error)) from error


@click.command()
@click.option("--engine-only", is_flag=True, help="Only the container engine: just Docker, no cluster.")
@click.option(
    "--tcp", metavar="HOST:PORT", help="Also serve the Docker API there (loopback, or with TLS client certificates)."
)
@click.option("--api-port", type=int, metavar="PORT", help="Port of the Kubernetes API (6443, or the next free one).")
@click.option("--audit-log", is_flag=True, help="Note every request to the Kubernetes API in log/audit.log.")
@click.option("--etcd", metavar="URL,…", help="Keep the cluster's data in this etcd instead of SQLite (remembered).")
@click.option("--etcd-ca", type=click.Path(exists=True), help="CA of the etcd's certificate.")
@click.option("--etcd-cert", type=click.Path(exists=True), help="Client certificate for the etcd.")
@click.option("--etcd-key", type=click.Path(exists=True), help="Its key.")
@click.option(
    "--timeout", type=float, default=60.0, show_default=True, help="Seconds to wait until everything is ready."
)
@click.pass_obj
def up(
    instance: Instance,
    engine_only: bool,
    tcp: str | None,
    api_port: int | None,
    audit_log: bool,
    etcd: str | None,
    etcd_ca: str | None,
    etcd_cert: str | None,
    etcd_key: str | None,
    timeout: float,
) -> None:
    """Start Wherry on this machine and wait until it is ready.

    Running it again is quick and changes nothing. What dies is restarted.
    """
    if refusal := need_root("wherry up"):
        raise click.ClickException(refusal)
    options = {"api-port": str(api_port)} if api_port else {}
    if audit_log:
        options["audit-log"] = ""
    processes = commands(instance, engine_only, tcp, options)
    names = [name for name, _ in processes]
    state = read_state(instance)
    running = {process.name for process in state.processes if process.alive}
    known = {process.name for process in state.processes}
    if running and known != set(names):
        have = ", ".join(sorted(known))
        raise click.ClickException(f"this instance already runs {have}; stop it first: wherry down")
    if etcd:
        choose_etcd(instance, bool(running), etcd, etcd_ca, etcd_cert, etcd_key)
    already = bool(state.pid)
    if not already:
        start_supervisor(instance, processes)
    state = wait_ready(instance, names, timeout)
    click.echo(describe(instance, state, names, already))
