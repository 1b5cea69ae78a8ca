"""`wherry snapshot`: the cluster's data in one file, and back."""

import asyncio
import time
from pathlib import Path

import click

from wherry.cli.state import need_root, read_state
from wherry.host.instance import Instance


@click.group()
def snapshot() -> None:
    """Save the cluster's objects to a file, restore them, or look into such a file.

    A snapshot is the same whether the cluster keeps its data in SQLite or in etcd, so it also moves a cluster from
    one to the other. Secrets stay encrypted in it: to restore it on another machine, take the `pki` folder along.
    """


@snapshot.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.pass_obj
def save(instance: Instance, file: Path) -> None:
    """Write all objects to FILE. The cluster may be running."""
    from wherry.store import choice, snapshots
    from wherry.store.api import StoreError

    if refusal := need_root("wherry snapshot save"):
        raise click.ClickException(refusal)
    chosen = choice.load(instance.root)
    database = instance.root / choice.SQLITE_FILE
    if not chosen.endpoints and not database.exists():
        raise click.ClickException(f"there is no cluster in {instance.root}")

    async def from_etcd() -> snapshots.Snapshot:
        store = await choice.open_store(instance.root, chosen)
        try:
            return await snapshots.save(store, file)
        finally:
            await store.close()

    try:
        made = asyncio.run(from_etcd()) if chosen.endpoints else snapshots.save_sqlite(database, file)
    except (StoreError, OSError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{file}: {made.objects} objects at revision {made.revision}, {made.size} bytes")


@snapshot.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.pass_obj
def restore(instance: Instance, file: Path) -> None:
    """Replace the cluster's data by what is in FILE. Wherry must be stopped (wherry down).

    Containers that belong to pods the snapshot does not know are ended when Wherry starts again.
    """
    from wherry.store import choice, snapshots
    from wherry.store.api import StoreError

    if refusal := need_root("wherry snapshot restore"):
        raise click.ClickException(refusal)
    if read_state(instance).any_alive:
        raise click.ClickException("Wherry is running: stop it first with `wherry down`")
    chosen = choice.load(instance.root)

    async def into_etcd() -> None:
        store = await choice.open_store(instance.root, chosen)
        try:
            await snapshots.restore_into(file, store)
        finally:
            await store.close()

    kept = None
    try:
        if chosen.endpoints:
            asyncio.run(into_etcd())
        else:
            instance.root.mkdir(parents=True, exist_ok=True)
            kept = snapshots.restore_sqlite(file, instance.root / choice.SQLITE_FILE)
    except (StoreError, OSError, snapshots.BadSnapshot) as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"restored {file} into {chosen.shown}")
    if kept is not None:
        click.echo(f"what was there before is kept in {kept}")


@snapshot.command()
@click.argument("file", type=click.Path(path_type=Path))
def inspect(file: Path) -> None:
    """Check FILE and tell what is in it."""
    from wherry.store import snapshots

    try:
        found = snapshots.inspect(file)
    except (OSError, snapshots.BadSnapshot) as error:
        raise click.ClickException(str(error)) from error
    made = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(found.made))
    click.echo(f"made      {made} from {found.source}")
    click.echo(f"revision  {found.revision}")
    click.echo(f"objects   {found.objects}, {found.size} bytes")
    click.echo(f"sha256    {found.digest} (good)")
    width = max((len(name) for name in found.counts), default=0)
    for name, count in found.counts.items():
        click.echo(f"  {name:<{width}}  {count}")
