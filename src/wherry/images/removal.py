"""Removing images: untag or delete, and when neither is allowed. The rules and words of `docker rmi`."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from .catalog import Catalog, Image
from .errors import Conflict
from .references import is_identifier, parse_reference


@dataclass(frozen=True)
class User:
    """A container that stands on an image."""

    container_id: str
    image_id: str
    running: bool


@dataclass
class Removal:
    """What to do: names to take away, images to delete (in order). Nothing has been done yet."""

    unname: list[tuple[str, str]]
    """(name, image id)"""
    delete: list[str]

    def records(self) -> list[dict[str, str]]:
        """Docker's answer, without the layers."""
        found = [{"Untagged": parse_reference(name).familiar} for name, _ in self.unname]
        return found + [{"Deleted": image_id} for image_id in self.delete]


def plan(catalog: Catalog, text: str, users: Iterable[User], *, force: bool, prune: bool) -> Removal:
    """What removing `text` means. Raises NotFound, or Conflict in Docker's words."""
    image = catalog.resolve(text)
    users = [user for user in users if user.image_id == image.id]
    removal = Removal([], [])
    by_reference = not _is_id_prefix(image.id, text)
    if by_reference:
        reference = parse_reference(text)
        if not force and _single(image.names) and users:
            raise Conflict(
                f'conflict: unable to remove repository reference "{text}" (must force) - container '
                f"{users[0].container_id[:12]} is using its referenced image {_short(image.id)}"
            )
        name = reference.key if reference.key in image.names else f"{reference.name}@{reference.digest}"
        removal.unname.append((name, image.id))
        left = image.names - {name}
        same = {other for other in left if parse_reference(other).name == reference.name}
        if "@" not in name and all("@" in other for other in same):
            # Digests of a repository have no meaning without one of its tags.
            removal.unname += [(other, image.id) for other in sorted(same)]
            left -= same
        if left:
            return removal
    else:
        repositories = {parse_reference(name).name for name in image.names}
        tags = [name for name in image.names if "@" not in name]
        if image.names and len(repositories) == 1 and len(tags) <= 1:
            _check(catalog, image, users, force=force, ignore_names=True)
            removal.unname += [(name, image.id) for name in sorted(image.names)]
    taken = {name for name, _ in removal.unname}
    try:
        _check(catalog, image, users, force=force, ignore_names=by_reference or image.names == taken)
    except Conflict:
        if by_reference:
            return removal  # the name is gone, the image stays for those who need it
        raise
    if not by_reference and force:
        removal.unname += [(name, image.id) for name in sorted(image.names - taken)]
    removal.delete.append(image.id)
    if prune:
        _add_parents(catalog, image, removal, lambda parent: not any(user.image_id == parent.id for user in users))
    return removal


def _add_parents(catalog: Catalog, image: Image, removal: Removal, unused: Callable[[Image], bool]) -> None:
    """Untagged parents that were kept only for their child go with it."""
    gone = {image.id}
    current = catalog.get(image.parent) if image.parent else None
    while current is not None and not current.names and unused(current):
        if any(child.id not in gone for child in catalog.children(current.id)):
            break
        removal.delete.append(current.id)
        gone.add(current.id)
        current = catalog.get(current.parent) if current.parent else None


def _check(catalog: Catalog, image: Image, users: list[User], *, force: bool, ignore_names: bool) -> None:
    running = next((user for user in users if user.running), None)
    if catalog.children(image.id):
        raise _conflict(image, "image has dependent child images", hard=True)
    if running is not None:
        raise _conflict(image, f"image is being used by running container {running.container_id[:12]}", hard=True)
    if force:
        return
    if image.names and not ignore_names:
        raise _conflict(image, "image is referenced in multiple repositories", hard=False)
    if users:
        raise _conflict(image, f"image is being used by stopped container {users[0].container_id[:12]}", hard=False)


def _conflict(image: Image, why: str, *, hard: bool) -> Conflict:
    forced = "cannot be forced" if hard else "must be forced"
    return Conflict(f"conflict: unable to delete {_short(image.id)} ({forced}) - {why}")


def _single(names: set[str]) -> bool:
    """One name, or one tag and the digest of the same repository."""
    if len(names) <= 1:
        return True
    if len(names) != 2:
        return False
    one, other = (parse_reference(name) for name in names)
    return (one.digest is None) != (other.digest is None) and one.name == other.name


def _is_id_prefix(image_id: str, text: str) -> bool:
    return is_identifier(text) or image_id.startswith(text) or image_id.removeprefix("sha256:").startswith(text)


def _short(image_id: str) -> str:
    return image_id.removeprefix("sha256:")[:12]
