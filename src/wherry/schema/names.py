"""Name formats: DNS labels and subdomains, label keys and values, ports, environment variables, config keys.

Each check returns the list of what is wrong with the value, in Kubernetes' words; an empty list means valid.
Specified in https://kubernetes.io/docs/concepts/overview/working-with-objects/names/ and .../labels/.
"""

import re
from functools import lru_cache
from typing import Final

_LABEL_FORMAT: Final = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN_FORMAT: Final = _LABEL_FORMAT + r"(\." + _LABEL_FORMAT + ")*"
_LABEL_1035_FORMAT: Final = "[a-z]([-a-z0-9]*[a-z0-9])?"
_WILDCARD_FORMAT: Final = r"\*\." + _SUBDOMAIN_FORMAT
_QUALIFIED_FORMAT: Final = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_LABEL_VALUE_FORMAT: Final = "(" + _QUALIFIED_FORMAT + ")?"
_PERCENT_FORMAT: Final = "[0-9]+%"
_HEADER_FORMAT: Final = "[-A-Za-z0-9]+"
_CONFIG_KEY_FORMAT: Final = "[-._a-zA-Z0-9]+"
_C_IDENTIFIER_FORMAT: Final = "[A-Za-z_][A-Za-z0-9_]*"

# \Z instead of $: Python's $ also matches before a final newline, RE2's does not.
_LABEL: Final = re.compile(_LABEL_FORMAT + r"\Z")
_SUBDOMAIN: Final = re.compile(_SUBDOMAIN_FORMAT + r"\Z")
_LABEL_1035: Final = re.compile(_LABEL_1035_FORMAT + r"\Z")
_WILDCARD: Final = re.compile(_WILDCARD_FORMAT + r"\Z")
_QUALIFIED: Final = re.compile(_QUALIFIED_FORMAT + r"\Z")
_LABEL_VALUE: Final = re.compile(_LABEL_VALUE_FORMAT + r"\Z")
_PERCENT: Final = re.compile(_PERCENT_FORMAT + r"\Z")
_HEADER: Final = re.compile(_HEADER_FORMAT + r"\Z")
_CONFIG_KEY: Final = re.compile(_CONFIG_KEY_FORMAT + r"\Z")
_C_IDENTIFIER: Final = re.compile(_C_IDENTIFIER_FORMAT + r"\Z")

_LABEL_TEXT: Final = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', "
    "and must start and end with an alphanumeric character"
)
_SUBDOMAIN_TEXT: Final = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', "
    "and must start and end with an alphanumeric character"
)
_LABEL_1035_TEXT: Final = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', "
    "start with an alphabetic character, and end with an alphanumeric character"
)
_WILDCARD_TEXT: Final = (
    "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of "
    "lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character"
)
_QUALIFIED_TEXT: Final = (
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character"
)
_LABEL_VALUE_TEXT: Final = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', "
    "and must start and end with an alphanumeric character"
)

LABEL_MAX: Final = 63
SUBDOMAIN_MAX: Final = 253


def too_long(limit: int) -> str:
    return f"must be no more than {limit} characters"


def out_of_range(low: int, high: int) -> str:
    return f"must be between {low} and {high}, inclusive"


def regex_error(text: str, pattern: str, *examples: str) -> str:
    """`<text> (e.g. 'a',  or 'b', regex used for validation is '<pattern>')`, punctuation as Kubernetes has it."""
    if not examples:
        return f"{text} (regex used for validation is '{pattern}')"
    shown = " or ".join(f"'{example}', " for example in examples)
    return f"{text} (e.g. {shown}regex used for validation is '{pattern}')"


def _length(value: str) -> int:
    return len(value) if value.isascii() else len(value.encode())


@lru_cache(maxsize=4096)
def _dns_label(value: str) -> tuple[str, ...]:
    errors = []
    if _length(value) > LABEL_MAX:
        errors.append(too_long(LABEL_MAX))
    if not _LABEL.match(value):
        if _SUBDOMAIN.match(value):
            errors.append("must not contain dots")
        else:
            errors.append(regex_error(_LABEL_TEXT, _LABEL_FORMAT, "my-name", "123-abc"))
    return tuple(errors)


def dns_label(value: str) -> list[str]:
    """RFC 1123 label: namespaces, containers, volumes."""
    return list(_dns_label(value))


@lru_cache(maxsize=4096)
def _dns_subdomain(value: str) -> tuple[str, ...]:
    errors = []
    if _length(value) > SUBDOMAIN_MAX:
        errors.append(too_long(SUBDOMAIN_MAX))
    if not _SUBDOMAIN.match(value):
        errors.append(regex_error(_SUBDOMAIN_TEXT, _SUBDOMAIN_FORMAT, "example.com"))
    return tuple(errors)


def dns_subdomain(value: str) -> list[str]:
    """RFC 1123 subdomain: the names of most objects."""
    return list(_dns_subdomain(value))


def dns1035_label(value: str) -> list[str]:
    """RFC 1035 label: services."""
    errors = []
    if _length(value) > LABEL_MAX:
        errors.append(too_long(LABEL_MAX))
    if not _LABEL_1035.match(value):
        errors.append(regex_error(_LABEL_1035_TEXT, _LABEL_1035_FORMAT, "my-name", "abc-123"))
    return errors


def wildcard_subdomain(value: str) -> list[str]:
    """`*.example.com`: ingress hosts."""
    errors = []
    if _length(value) > SUBDOMAIN_MAX:
        errors.append(too_long(SUBDOMAIN_MAX))
    if not _WILDCARD.match(value):
        errors.append(regex_error(_WILDCARD_TEXT, _WILDCARD_FORMAT, "*.example.com"))
    return errors


@lru_cache(maxsize=4096)
def _qualified_name(value: str) -> tuple[str, ...]:
    errors: list[str] = []
    parts = value.split("/")
    if len(parts) > 2:
        text = regex_error(_QUALIFIED_TEXT, _QUALIFIED_FORMAT, "MyName", "my.name", "123-abc")
        return (f"a valid label key {text} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')",)
    name = parts[-1]
    if len(parts) == 2:
        if not parts[0]:
            errors.append("prefix part must be non-empty")
        else:
            errors += [f"prefix part {error}" for error in _dns_subdomain(parts[0])]
    if not name:
        errors.append("name part must be non-empty")
    elif _length(name) > LABEL_MAX:
        errors.append(f"name part {too_long(LABEL_MAX)}")
    if not _QUALIFIED.match(name):
        text = regex_error(_QUALIFIED_TEXT, _QUALIFIED_FORMAT, "MyName", "my.name", "123-abc")
        errors.append(f"name part {text}")
    return tuple(errors)


def qualified_name(value: str) -> list[str]:
    """`name` or `prefix/name`: label keys, annotation keys (lower-cased first), finalizers, resource names."""
    return list(_qualified_name(value))


@lru_cache(maxsize=4096)
def _label_value(value: str) -> tuple[str, ...]:
    errors = []
    if _length(value) > LABEL_MAX:
        errors.append(too_long(LABEL_MAX))
    if not _LABEL_VALUE.match(value):
        errors.append(regex_error(_LABEL_VALUE_TEXT, _LABEL_VALUE_FORMAT, "MyValue", "my_value", "12345"))
    return tuple(errors)


def label_value(value: str) -> list[str]:
    return list(_label_value(value))


def port_number(port: int) -> list[str]:
    return [] if 1 <= port <= 65535 else [out_of_range(1, 65535)]


def port_name(value: str) -> list[str]:
    """IANA service name: at most 15 of a-z, 0-9 and single inner hyphens, with a letter somewhere."""
    errors = []
    if _length(value) > 15:
        errors.append(too_long(15))
    if not re.match(r"[-a-z0-9]+\Z", value):
        errors.append("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)")
    if not re.search("[a-z]", value):
        errors.append("must contain at least one letter (a-z)")
    if "--" in value:
        errors.append("must not contain consecutive hyphens")
    if value.startswith("-") or value.endswith("-"):
        errors.append("must not begin or end with a hyphen")
    return errors


def percent(value: str) -> list[str]:
    if _PERCENT.match(value):
        return []
    text = "a valid percent string must be a numeric string followed by an ending '%'"
    return [regex_error(text, _PERCENT_FORMAT, "1%", "93%")]


def http_header_name(value: str) -> list[str]:
    if _HEADER.match(value):
        return []
    text = "a valid HTTP header must consist of alphanumeric characters or '-'"
    return [regex_error(text, _HEADER_FORMAT, "X-Header-Name")]


def env_var_name(value: str) -> list[str]:
    """Printable ASCII without `=` (the relaxed rule that is in force since Kubernetes 1.34)."""
    errors = []
    if not value:
        errors.append("environment variable name must be non-empty")
    if not all(" " <= char <= "~" and char != "=" for char in value):
        errors.append(
            "a valid environment variable name must consist only of printable ASCII characters other than '='"
        )
    return errors


def c_identifier(value: str) -> list[str]:
    if _C_IDENTIFIER.match(value):
        return []
    text = (
        "a valid C identifier must start with alphabetic character or '_', "
        "followed by a string of alphanumeric characters or '_'"
    )
    return [regex_error(text, _C_IDENTIFIER_FORMAT, "my_name", "MY_NAME", "MyName")]


def config_key(value: str) -> list[str]:
    """Keys of ConfigMaps and Secrets: they become file names."""
    errors = []
    if _length(value) > SUBDOMAIN_MAX:
        errors.append(too_long(SUBDOMAIN_MAX))
    if not _CONFIG_KEY.match(value):
        text = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'"
        errors.append(regex_error(text, _CONFIG_KEY_FORMAT, "key.name", "KEY_NAME", "key-name"))
    if value in (".", ".."):
        errors.append(f"must not be '{value}'")
    elif value.startswith(".."):
        errors.append("must not start with '..'")
    return errors


def path_segment(value: str) -> list[str]:
    """Names that only must fit into a URL: roles, cluster roles and their bindings."""
    if value in (".", ".."):
        return [f"may not be '{value}'"]
    return [f"may not contain '{char}'" for char in ("/", "%") if char in value]


def mask_trailing_dash(prefix: str) -> str:
    """A generateName may end in a dash, since characters will follow: what to check in its stead."""
    return prefix[:-2] + "a" if len(prefix) > 1 and prefix.endswith("-") else prefix
