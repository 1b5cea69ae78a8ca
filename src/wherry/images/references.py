"""Image references as Docker reads and shows them.

Vocabulary: a *familiar* name is what people type (`nginx`, `me/app:1`), a *normalised* name has its domain and
its `library/` (`docker.io/library/nginx`). A reference is a name with a tag, a digest, both or neither.
The grammar is that of the distribution project's `reference` package.
"""

import re
from dataclasses import dataclass, replace

from .errors import InvalidParameter

DEFAULT_DOMAIN = "docker.io"
DEFAULT_TAG = "latest"

_DOMAIN_COMPONENT = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_DOMAIN_NAME = rf"{_DOMAIN_COMPONENT}(?:\.{_DOMAIN_COMPONENT})*"
_DOMAIN = rf"(?:{_DOMAIN_NAME}|\[(?:[a-fA-F0-9:]+)\])(?::[0-9]+)?"
_SEPARATOR = r"(?:[._]|__|[-]+)"
_PATH_COMPONENT = rf"[a-z0-9]+(?:{_SEPARATOR}[a-z0-9]+)*"
_NAME = rf"(?:{_DOMAIN}/)?{_PATH_COMPONENT}(?:/{_PATH_COMPONENT})*"
_TAG = r"[\w][\w.-]{0,127}"
_DIGEST = r"[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}"

_REFERENCE = re.compile(rf"({_NAME})(?::({_TAG}))?(?:@({_DIGEST}))?", re.ASCII)
_IDENTIFIER = re.compile(r"[a-f0-9]{64}")
_TAG_ONLY = re.compile(_TAG, re.ASCII)
_SHA256 = re.compile(r"sha256:[0-9a-f]{64}")
MAX_NAME = 255


@dataclass(frozen=True)
class Reference:
    """A parsed reference: `domain/path[:tag][@digest]`."""

    domain: str
    path: str
    tag: str | None = None
    digest: str | None = None

    @property
    def name(self) -> str:
        """Normalised, without tag and digest: `docker.io/library/nginx`."""
        return f"{self.domain}/{self.path}"

    @property
    def familiar_name(self) -> str:
        """As people type it: `nginx`, `me/app`, `localhost:5000/app`."""
        if self.domain == DEFAULT_DOMAIN:
            return self.path.removeprefix("library/") if self.path.count("/") == 1 else self.path
        return self.name

    @property
    def familiar(self) -> str:
        return self.familiar_name + self._suffix

    @property
    def _suffix(self) -> str:
        return (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")

    @property
    def key(self) -> str:
        """What the store files a tag or a digest under: normalised, `name:tag` or `name@digest`."""
        return f"{self.name}@{self.digest}" if self.digest else f"{self.name}:{self.tag or DEFAULT_TAG}"

    def with_default_tag(self) -> "Reference":
        return self if self.tag or self.digest else replace(self, tag=DEFAULT_TAG)

    def __str__(self) -> str:
        return self.name + self._suffix


def parse_reference(text: str) -> Reference:
    """Parse what a user typed and normalise it, as `docker pull` does.

    Raises InvalidParameter with the words of the reference package ("invalid reference format").
    """
    if _IDENTIFIER.fullmatch(text):
        raise InvalidParameter(f"invalid repository name ({text}), cannot specify 64-byte hexadecimal strings")
    domain, remainder = _split_domain(text)
    # The tag and the digest may hold capitals, the path must not.
    path_end = min((i for i in (remainder.find(":"), remainder.find("@")) if i >= 0), default=len(remainder))
    path = remainder[:path_end]
    if path.lower() != path:
        raise InvalidParameter(f"invalid reference format: repository name ({path}) must be lowercase")
    match = _REFERENCE.fullmatch(f"{domain}/{remainder}")
    if not match or not text:
        raise InvalidParameter("invalid reference format")
    if len(match[1]) > MAX_NAME:
        raise InvalidParameter(f"repository name must not be more than {MAX_NAME} characters")
    digest = match[3]
    if digest is not None and not _SHA256.fullmatch(digest):
        algorithm = digest.partition(":")[0]
        known = algorithm in ("sha256", "sha384", "sha512")
        raise InvalidParameter("invalid checksum digest length" if known else "unsupported digest algorithm")
    return Reference(domain, match[1].removeprefix(f"{domain}/"), match[2], digest)


def _split_domain(text: str) -> tuple[str, str]:
    head, slash, rest = text.partition("/")
    if not slash or (not any(c in head for c in ".:") and head != "localhost" and head.lower() == head):
        domain, remainder = DEFAULT_DOMAIN, text
    else:
        domain, remainder = head, rest
    if domain == "index.docker.io":
        domain = DEFAULT_DOMAIN
    if domain == DEFAULT_DOMAIN and "/" not in remainder:
        remainder = f"library/{remainder}"
    return domain, remainder


def familiar(key: str) -> str:
    """The familiar form of a key of the store: `docker.io/library/nginx:1` gives `nginx:1`."""
    return parse_reference(key).familiar


def is_digest(text: str) -> bool:
    """A complete sha256 digest with its algorithm."""
    return _SHA256.fullmatch(text) is not None


def is_identifier(text: str) -> bool:
    """64 hexadecimal digits without an algorithm."""
    return _IDENTIFIER.fullmatch(text) is not None


def valid_tag(tag: str) -> bool:
    return _TAG_ONLY.fullmatch(tag) is not None


def key_of(repo: str, tag: str | None) -> Reference:
    """The reference of `docker tag`'s and `docker import`'s two parameters; the tag defaults to `latest`."""
    reference = parse_reference(repo)
    if reference.digest and not tag:
        raise InvalidParameter("refusing to create a tag with a digest reference")
    if tag:
        if not valid_tag(tag):
            raise InvalidParameter("invalid tag format")
        return replace(reference, tag=tag, digest=None)
    return reference.with_default_tag()
