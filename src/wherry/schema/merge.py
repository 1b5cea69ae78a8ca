"""The three kinds of patch that a client may send: JSON patch, merge patch, strategic merge patch.

All three are pure: they return a new object and leave their inputs alone. Specified in RFC 6902, RFC 7386 and
https://kubernetes.io/docs/tasks/manage-kubernetes-objects/update-api-object-kubectl-patch/. Malformed patches raise
BadRequest; patches that do not fit the object raise Invalid (422) as the real API server does.
"""

from typing import Any, Final, cast

from wherry.schema.definitions import ANY, Type, type_of
from wherry.schema.errors import BadRequest, Invalid
from wherry.schema.objects import deep_copy, json_copy
from wherry.schema.resource import Object, Resource

MAX_JSON_PATCH_OPERATIONS: Final = 10_000

_REJECTED: Final = "the server rejected our request due to an error in our request"


def _unprocessable(why: str) -> Invalid:
    return Invalid(
        _REJECTED, details={"causes": [{"reason": "UnexpectedServerResponse", "message": why, "field": "patch"}]}
    )


def json_patch(obj: Object, patch: Any) -> Object:
    """Apply a list of operations (add, remove, replace, move, copy, test)."""
    if not isinstance(patch, list):
        raise BadRequest(
            f"error decoding patch: json: cannot unmarshal {_go_word(patch)} into Go value of type jsonpatch.Patch"
        )
    if len(patch) > MAX_JSON_PATCH_OPERATIONS:
        raise BadRequest(
            f"The allowed maximum operations in a JSON patch is {MAX_JSON_PATCH_OPERATIONS}, got {len(patch)}"
        )
    document: Any = json_copy(obj)
    for operation in patch:
        if not isinstance(operation, dict):
            raise BadRequest("error decoding patch: an operation must be an object")
        document = _apply_operation(document, operation)
    if not isinstance(document, dict):
        raise _unprocessable("the patched document is not an object")
    return document


def _go_word(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    return {dict: "object", str: "string", int: "number", float: "number"}.get(type(value), "null")


def _apply_operation(document: Any, operation: dict[str, Any]) -> Any:
    word, path = operation.get("op"), operation.get("path")
    if not isinstance(path, str):
        raise BadRequest(f"missing path in JSON patch operation {word!r}")
    if word in ("add", "replace", "test") and "value" not in operation and word != "test":
        raise BadRequest(f"missing value in JSON patch operation {word!r} at {path}")
    if word == "add":
        return _add(document, path, deep_copy(operation["value"]))
    if word == "remove":
        return _remove(document, path)[0]
    if word == "replace":
        if path == "":
            return deep_copy(operation["value"])
        parent, token = _parent(document, path, "replace")
        _existing(parent, token, path, "replace")
        if isinstance(parent, dict):
            parent[token] = deep_copy(operation["value"])
        else:
            parent[_index(token, len(parent) - 1, path, "replace")] = deep_copy(operation["value"])
        return document
    if word == "test":
        found = _get(document, path)
        if found != operation.get("value"):
            raise _unprocessable(f"testing value {path} failed: test failed")
        return document
    if word in ("move", "copy"):
        source = operation.get("from")
        if not isinstance(source, str):
            raise BadRequest(f"missing from in JSON patch operation {word!r}")
        if word == "copy":
            return _add(document, path, deep_copy(_get(document, source)))
        if path != source and path.startswith(source + "/"):
            raise _unprocessable(f"move operation cannot move {source} into one of its children")
        document, moved = _remove(document, source)
        return _add(document, path, moved)
    raise BadRequest(f"Unexpected kind: {word}")


def _tokens(path: str) -> list[str]:
    if path == "":
        return []
    if not path.startswith("/"):
        raise _unprocessable(f'doc is missing path: "{path}": missing value')
    return [token.replace("~1", "/").replace("~0", "~") for token in path[1:].split("/")]


def _index(token: str, last: int, path: str, word: str) -> int:
    if not token.isascii() or not token.isdigit() or (len(token) > 1 and token[0] == "0") or len(token) > 9:
        raise _unprocessable(f"{word} operation does not apply: doc is missing path: {path}: invalid array index")
    index = int(token)
    if index > last:
        why = "invalid index referenced: index out of bounds"
        raise _unprocessable(f"{word} operation does not apply: doc is missing path: {path}: {why}")
    return index


def _parent(document: Any, path: str, word: str) -> tuple[dict[str, Any] | list[Any], str]:
    tokens = _tokens(path)
    value = document
    for token in tokens[:-1]:
        if isinstance(value, dict) and token in value:
            value = value[token]
        elif isinstance(value, list):
            value = value[_index(token, len(value) - 1, path, word)]
        else:
            raise _unprocessable(f'{word} operation does not apply: doc is missing path: "{path}": missing value')
    if not isinstance(value, (dict, list)):
        raise _unprocessable(f'{word} operation does not apply: doc is missing path: "{path}": missing value')
    return value, tokens[-1]


def _existing(parent: dict[str, Any] | list[Any], token: str, path: str, word: str) -> Any:
    if isinstance(parent, dict):
        if token not in parent:
            noun = "key" if word in ("replace", "remove") else "path"
            raise _unprocessable(f"{word} operation does not apply: doc is missing {noun}: {path}: missing value")
        return parent[token]
    return parent[_index(token, len(parent) - 1, path, word)]


def _get(document: Any, path: str) -> Any:
    if path == "":
        return document
    parent, token = _parent(document, path, "test")
    return _existing(parent, token, path, "test")


def _add(document: Any, path: str, value: Any) -> Any:
    if path == "":
        return value
    parent, token = _parent(document, path, "add")
    if isinstance(parent, dict):
        parent[token] = value
    elif token == "-":
        parent.append(value)
    else:
        parent.insert(_index(token, len(parent), path, "add"), value)
    return document


def _remove(document: Any, path: str) -> tuple[Any, Any]:
    if path == "":
        raise _unprocessable("remove operation does not apply: cannot remove the whole document")
    parent, token = _parent(document, path, "remove")
    removed = _existing(parent, token, path, "remove")
    if isinstance(parent, dict):
        del parent[token]
    else:
        del parent[int(token)]
    return document, removed


def merge_patch(obj: Any, patch: Any) -> Any:
    """Apply a JSON merge patch: objects merge, null deletes, everything else replaces."""
    if not isinstance(patch, dict):
        return deep_copy(patch)
    result: dict[str, Any] = json_copy(obj) if isinstance(obj, dict) else {}
    _merge_into(result, patch)
    return result


def _merge_into(target: dict[str, Any], patch: dict[str, Any]) -> None:
    for key, value in patch.items():
        if value is None:
            target.pop(key, None)
        elif isinstance(value, dict):
            found = target.get(key)
            if not isinstance(found, dict):
                found = target[key] = {}
            _merge_into(found, value)
        else:
            target[key] = deep_copy(value)


_PATCH: Final = "$patch"
_RETAIN: Final = "$retainKeys"
_ORDER: Final = "$setElementOrder/"
_DELETE: Final = "$deleteFromPrimitiveList/"


def strategic_merge(resource: Resource | Type, obj: Object, patch: Any) -> Object:
    """Apply a strategic merge patch by the merge keys and strategies of the kind's definition.

    Directives: `$patch` (replace, delete, merge), `$retainKeys`, `$setElementOrder/<list>`,
    `$deleteFromPrimitiveList/<list>`. Raises BadRequest for a patch that breaks their rules.
    """
    if not isinstance(patch, dict):
        raise BadRequest(f"json: cannot unmarshal {_go_word(patch)} into Go value of type map[string]interface {{}}")
    kind = resource if isinstance(resource, Type) else type_of(resource) or ANY
    return _merge_map(json_copy(obj), deep_copy(patch), kind)


def _merge_map(original: dict[str, Any], patch: dict[str, Any], kind: Type) -> dict[str, Any]:
    if (directive := patch.pop(_PATCH, None)) is not None:
        if directive == "replace":
            return cast("dict[str, Any]", _without_directives(patch))
        if directive == "delete":
            return {}
        if directive != "merge":
            raise BadRequest(f"unknown patch type found: {directive}")
    _retain_keys(original, patch)
    _apply_element_orders(original, patch, kind)
    for key, value in patch.items():
        if key.startswith(_DELETE):
            target = original.get(key.removeprefix(_DELETE))
            if isinstance(target, list):
                unwanted = value if isinstance(value, list) else [value]
                original[key.removeprefix(_DELETE)] = [item for item in target if item not in unwanted]
            continue
        if value is None:
            original.pop(key, None)
            continue
        found: Any = original.get(key)
        if key not in original or type(found) is not type(value):
            original[key] = _without_directives(value)
        elif isinstance(value, dict):
            child = _field(kind, key)
            if "replace" in child.strategies:
                original[key] = _without_directives(value)
            else:
                original[key] = _merge_map(found, value, child)
        elif isinstance(value, list):
            original[key] = _merge_list(found, value, _field(kind, key))
        else:
            original[key] = value
    return original


def _field(kind: Type, key: str) -> Type:
    if kind.kind == "object":
        return kind.fields.get(key, ANY)
    return kind.items or ANY if kind.kind == "map" else ANY


def _retain_keys(original: dict[str, Any], patch: dict[str, Any]) -> None:
    wanted = patch.pop(_RETAIN, None)
    if wanted is None:
        return
    if not isinstance(wanted, list):
        raise BadRequest("invalid patch format of retainKeys directive")
    extra = [key for key, value in patch.items() if value is not None and not key.startswith("$") and key not in wanted]
    if extra:
        raise BadRequest("the elements present in the patch are not all in the retainKeys list")
    for key in list(original):
        if key not in wanted:
            del original[key]


def _apply_element_orders(original: dict[str, Any], patch: dict[str, Any], kind: Type) -> None:
    for directive in [key for key in patch if key.startswith(_ORDER)]:
        order = patch.pop(directive)
        key = directive.removeprefix(_ORDER)
        if not isinstance(order, list):
            raise BadRequest("invalid patch format of setElementOrder list")
        child = _field(kind, key)
        server, wanted = original.get(key), patch.get(key)
        if f"{_DELETE}{key}" in patch and isinstance(server, list):
            unwanted = patch.pop(f"{_DELETE}{key}")
            server = [item for item in server if item not in unwanted]
        if isinstance(server, list) and isinstance(wanted, list):
            if "merge" not in child.strategies:
                continue
            merged = _merge_list(list(server), wanted, child)
        elif isinstance(wanted, list):
            merged = _without_directives(wanted)
        elif isinstance(server, list) and key not in patch:
            merged = server
        else:
            continue
        patch.pop(key, None)
        merge_key = child.merge_key if any(isinstance(item, dict) for item in merged) else ""
        original[key] = _ordered(merged, order, original.get(key) or [], merge_key)


def _identity(item: Any, merge_key: str) -> Any:
    if not merge_key:
        return item
    if not isinstance(item, dict) or merge_key not in item:
        raise BadRequest(f"map: {_go_map(item)} does not contain declared merge key: {merge_key}")
    return item[merge_key]


def _go_map(item: Any) -> str:
    if isinstance(item, dict):
        return "map[" + " ".join(f"{key}:{_go_map(value)}" for key, value in sorted(item.items())) + "]"
    return str(item)


def _merge_list(original: list[Any], patch: list[Any], kind: Type) -> list[Any]:
    """Merge a list whose strategy is merge; any other is replaced."""
    if "merge" not in kind.strategies:
        return [_without_directives(item) for item in patch if not _is_list_directive(item)]
    if not any(isinstance(item, dict) for item in (*original, *patch)):
        if any(isinstance(item, list) for item in patch):
            raise BadRequest("unable to merge lists of lists")
        merged = list(original)
        merged += [item for item in dict.fromkeys(patch) if item not in original]
        return _ordered(merged, patch, original, "")
    merge_key, items = kind.merge_key, kind.items or ANY
    if not merge_key:
        raise BadRequest(f"cannot merge lists without merge key for {kind.go_name}")
    plain: list[dict[str, Any]] = []
    replace = False
    merged = list(original)
    for item in patch:
        if not isinstance(item, dict):
            raise BadRequest("cannot mix maps and primitives in a list")
        directive = item.get(_PATCH)
        if directive is None:
            plain.append(item)
        elif directive == "delete":
            unwanted = _identity(item, merge_key)
            merged = [one for one in merged if _identity(one, merge_key) != unwanted]
        elif directive == "replace":
            replace = True
        elif directive == "merge":
            raise BadRequest("merging lists cannot yet be specified in the patch")
        else:
            raise BadRequest(f"unknown patch type found: {directive}")
    if replace:
        return [_without_directives(item) for item in plain]
    for item in plain:
        wanted = _identity(item, merge_key)
        for index, found in enumerate(merged):
            if _identity(found, merge_key) == wanted:
                merged[index] = _merge_map(found, item, items)
                break
        else:
            merged.append(_without_directives(item))
    return _ordered(merged, plain, original, merge_key)


def _is_list_directive(item: Any) -> bool:
    return isinstance(item, dict) and item.get(_PATCH) == "replace" and len(item) == 1


def _ordered(merged: list[Any], patch_order: list[Any], server_order: list[Any], merge_key: str) -> list[Any]:
    """Items that the patch names in the patch's order, the rest in the server's, woven together.

    Where both an item of the patch and one of the rest are in the server's list, the server's order between the
    two decides; else the patch's comes first.
    """
    wanted = [_identity(item, merge_key) for item in patch_order]
    known = [_identity(item, merge_key) for item in server_order]
    named = [item for item in merged if _identity(item, merge_key) in wanted]
    rest = [item for item in merged if _identity(item, merge_key) not in wanted]
    named.sort(key=lambda item: wanted.index(_identity(item, merge_key)))
    result: list[Any] = []
    left, right = 0, 0
    while left < len(rest) and right < len(named):
        one, other = _identity(rest[left], merge_key), _identity(named[right], merge_key)
        if one in known and other in known and known.index(one) < known.index(other):
            result.append(rest[left])
            left += 1
        else:
            result.append(named[right])
            right += 1
    return result + rest[left:] + named[right:]


def _without_directives(value: Any) -> Any:
    """What a patch adds where there was nothing: no directives, no nulls, no elements that only delete."""
    if isinstance(value, dict):
        return {
            key: _without_directives(child)
            for key, child in value.items()
            if child is not None and key not in (_PATCH, _RETAIN) and not key.startswith((_ORDER, _DELETE))
        }
    if isinstance(value, list):
        return [
            _without_directives(item)
            for item in value
            if not (isinstance(item, dict) and item.get(_PATCH) in ("delete", "replace"))
        ]
    return value
