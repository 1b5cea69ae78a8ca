"""`wherry down`: stop an instance."""

import asyncio
import os
import signal
import time

import click

from wherry.cli.state import need_root, read_state
from wherry.host.instance import Instance


def stop_containers(instance: Instance) -> int:
    """Stops every running container, pods' containers included, each with its own signal and timeout.

    Opens the engine in this process: `wherry-node` must be stopped, or its kubelet would start pods again.
    """
    from wherry.engine.engine import Engine

    async def stop_all() -> int:
        engine = await Engine.open(instance)
        try:
            running = await engine.containers.list(all=False)
            await asyncio.gather(*(engine.containers.stop(container["Id"]) for container in running))
        finally:
            await engine.close()
        return len(running)

    return asyncio.run(stop_all())


def stop_processes(instance: Instance, timeout: float = 30.0) -> bool:
    """Ends the supervisor and the processes it watches, by pid. False when nothing was running."""
    state = read_state(instance)
    if not state.any_alive:
        return False
    if state.pid:
        os.kill(state.pid, signal.SIGTERM)
    else:  # the supervisor was killed; its processes are not
        for process in state.processes:
            if process.alive:
                os.kill(process.pid, signal.SIGTERM)
    deadline = time.monotonic() + timeout
    while read_state(instance).any_alive:
        if time.monotonic() > deadline:
            raise click.ClickException(f"still running after {timeout:.0f} s: wherry status")
        time.sleep(0.02)
    return True


@click.command()
@click.option("--containers", is_flag=True, help="Also stop every container.")
@click.option(
    "--all", "everything", is_flag=True, help="Also end every container and remove all networks, mounts and cgroups."
)
@click.pass_obj
def down(instance: Instance, containers: bool, everything: bool) -> None:
    """Stop Wherry. Containers keep running, and the next `wherry up` finds them again.

    Images, volumes, containers' files and cluster data always stay.
    """
    if refusal := need_root("wherry down"):
        raise click.ClickException(refusal)
    was_running = stop_processes(instance)
    click.echo("Wherry is stopped" if was_running else "Wherry was not running")
    if containers or everything:
        stopped = stop_containers(instance)
        click.echo(f"Stopped {stopped} container{'' if stopped == 1 else 's'}")
    if everything:
        from wherry.host import leftovers

        left = leftovers.purge(instance)
        if left:
            raise click.ClickException("could not remove:\n" + "\n".join(left.lines()))
        click.echo("Containers, networks, mounts and cgroups are gone; images, volumes and cluster data stay")
