import pytest

from wherry.images.errors import InvalidParameter
from wherry.images.references import key_of, parse_reference

DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("typed", "key", "familiar"),
    [
        ("nginx", "docker.io/library/nginx:latest", "nginx"),
        ("nginx:1.21", "docker.io/library/nginx:1.21", "nginx:1.21"),
        ("me/app", "docker.io/me/app:latest", "me/app"),
        ("docker.io/nginx", "docker.io/library/nginx:latest", "nginx"),
        ("index.docker.io/library/nginx", "docker.io/library/nginx:latest", "nginx"),
        ("localhost/app", "localhost/app:latest", "localhost/app"),
        ("localhost:5000/app:1", "localhost:5000/app:1", "localhost:5000/app:1"),
        ("registry.example.com/a/b/c:x", "registry.example.com/a/b/c:x", "registry.example.com/a/b/c:x"),
        ("[::1]:5000/app", "[::1]:5000/app:latest", "[::1]:5000/app"),
        (f"nginx@{DIGEST}", f"docker.io/library/nginx@{DIGEST}", f"nginx@{DIGEST}"),
        (f"nginx:1@{DIGEST}", f"docker.io/library/nginx@{DIGEST}", f"nginx:1@{DIGEST}"),
        ("a__b/c-d.e", "docker.io/a__b/c-d.e:latest", "a__b/c-d.e"),
    ],
)
def test_references_are_normalised_and_shown_as_docker_does(typed: str, key: str, familiar: str) -> None:
    parsed = parse_reference(typed)
    assert parsed.key == key
    assert parsed.familiar == familiar


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("", "invalid reference format"),
        ("Nginx", "invalid reference format: repository name (library/Nginx) must be lowercase"),
        ("nginx:", "invalid reference format"),
        ("-nginx", "invalid reference format"),
        ("nginx:-x", "invalid reference format"),
        ("nginx@sha256:abc", "invalid reference format"),
        ("nginx@sha256:" + "a" * 63, "invalid checksum digest length"),
        ("a" * 64, f"invalid repository name ({'a' * 64}), cannot specify 64-byte hexadecimal strings"),
        ("x/" + "a" * 260, "repository name must not be more than 255 characters"),
        ("nginx nginx", "invalid reference format"),
    ],
)
def test_what_is_no_reference_is_refused_in_dockers_words(typed: str, message: str) -> None:
    with pytest.raises(InvalidParameter) as caught:
        parse_reference(typed)
    assert caught.value.message == message


def test_a_tag_given_apart_replaces_the_one_in_the_name() -> None:
    assert key_of("app:old", "new").key == "docker.io/library/app:new"
    with pytest.raises(InvalidParameter, match="refusing to create a tag with a digest reference"):
        key_of(f"app@{DIGEST}", None)
