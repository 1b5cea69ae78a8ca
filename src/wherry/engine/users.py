"""Who a process in a container is: `User` looked up in the container's own /etc/passwd and /etc/group.

Specified in the Docker Engine API, Config.User (`user`, `user:group`, `uid`, `uid:gid`) and passwd(5), group(5).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from wherry.engine.errors import InvalidParameter
from wherry.engine.rootpaths import read_text

_MAXIMUM = (1 << 31) - 1


@dataclass(frozen=True)
class User:
    """The ids of a process, its supplementary groups and its home (`/` when nobody says)."""

    uid: int = 0
    gid: int = 0
    groups: tuple[int, ...] = ()
    home: str = "/"


def look_up(root: Path | str, user: str, extra_groups: Sequence[str] = ()) -> User:
    """`user` (may be empty: root) inside the root file system `root`, plus HostConfig.GroupAdd.

    Raises InvalidParameter with the message that runc and Docker give for names that do not exist.
    """
    passwd, group = read_text(root, "/etc/passwd") or "", read_text(root, "/etc/group") or ""
    return resolve(user, extra_groups, passwd, group)


def resolve(user: str, extra_groups: Sequence[str], passwd: str, group: str) -> User:
    """As `look_up`, on the texts of the two files."""
    wanted, _, wanted_group = user.partition(":")
    uid, gid, name, home = 0, 0, "", "/"
    entries = list(_entries(passwd, 6))
    number = _number(wanted)
    for fields in entries:
        if (not wanted and fields[2] == "0") or (wanted and (fields[0] == wanted or fields[2] == wanted)):
            name, uid, gid, home = fields[0], _number(fields[2]) or 0, _number(fields[3]) or 0, fields[5] or "/"
            break
    else:
        if wanted:
            if number is None:
                raise InvalidParameter(f"unable to find user {wanted}: no matching entries in passwd file")
            uid = number
    if uid > _MAXIMUM:
        raise InvalidParameter("uids and gids must be in range 0-2147483647")
    groups = list(_entries(group, 3))
    supplementary: list[int] = []
    if wanted_group:
        gid = _group(groups, wanted_group)
    elif name:
        for fields in groups:
            members = fields[3].split(",") if len(fields) > 3 else []
            identity = _number(fields[2])
            if name in members and identity is not None:
                supplementary.append(identity)
    for extra in extra_groups:
        supplementary.append(_group(groups, extra))
    return User(uid, gid, tuple(dict.fromkeys(supplementary)), home)


def _group(groups: Sequence[Sequence[str]], wanted: str) -> int:
    for fields in groups:
        if fields[0] == wanted or fields[2] == wanted:
            return _number(fields[2]) or 0
    number = _number(wanted)
    if number is None:
        raise InvalidParameter(f"unable to find group {wanted}: no matching entries in group file")
    if number > _MAXIMUM:
        raise InvalidParameter("uids and gids must be in range 0-2147483647")
    return number


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() else None


def _entries(text: str, least: int) -> Iterator[list[str]]:
    for line in text.splitlines():
        fields = line.strip().split(":")
        if len(fields) >= least and fields[0] and not fields[0].startswith("#"):
            yield fields
