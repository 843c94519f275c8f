"""One canonical spelling for a type, wherever it was written: annotation, string, docstring or live object."""

import ast
import inspect
import re
from collections.abc import Callable, Iterable
from typing import Any

_BUILTIN = {name.capitalize(): name for name in ("list", "dict", "tuple", "set", "type")} | {"FrozenSet": "frozenset"}
_ENTRY = re.compile(r"^(?P<indent>[ \t]*)(?P<name>\w+) ?\((?P<body>.*)\):?[ \t]*(?P<rest>.*)$", re.MULTILINE)
_LINK = re.compile(r"\[`(?:~[\w.]*\.)?~?([\w.]+)`\]")
_TRAILER = re.compile(r",? *\*?(optional|required)\*?.*$|,? *defaults? to .*$", re.DOTALL)


def canonical(node: ast.expr | str | None) -> str:
    """`Optional[X]` and `X | None` read alike, typing's aliases are builtins, quotes are dropped, None stands last.

    Returns "" for what is not a type expression.
    """
    if node is None:
        return ""
    if isinstance(node, str):
        try:
            node = ast.parse(node.strip(), mode="eval").body
        except SyntaxError:
            return ""
    return _join(_members(node))


def type_key(spelling: str) -> frozenset[str]:
    """What two spellings of one type share: the order of a union's members and module prefixes do not count."""
    try:
        node = ast.parse(spelling, mode="eval").body
    except SyntaxError:
        return frozenset({spelling})
    return frozenset(re.sub(r"\b(\w+\.)+(?=\w)", "", member) for member in _members(node))


def choices(node: ast.expr | str | None, members: Callable[[str], Iterable[Any]] = lambda _: ()) -> tuple[Any, ...]:
    """The values of an annotation that consists of Literals, None, and names for which `members` has values."""
    if isinstance(node, str):
        try:
            node = ast.parse(node, mode="eval").body
        except SyntaxError:
            return ()
    found: list[Any] = []
    for member in _members(node) if node is not None else []:
        if member != "None":
            values = literal_values(member) if member.startswith("Literal[") else tuple(members(member))
            if not values:
                return ()
            found.extend(values)
    return tuple(dict.fromkeys(found))


def literal_values(spelling: str) -> tuple[Any, ...]:
    """The values of every Literal anywhere in a type."""
    found: list[Any] = []
    for item in ast.walk(ast.parse(spelling, mode="eval")) if "Literal[" in spelling else ():
        if isinstance(item, ast.Subscript) and ast.unparse(item.value).rpartition(".")[2] == "Literal":
            values = item.slice.elts if isinstance(item.slice, ast.Tuple) else [item.slice]
            found.extend(value.value for value in values if isinstance(value, ast.Constant))
    return tuple(dict.fromkeys(found))


def live_spelling(annotation: Any) -> str:
    """The canonical spelling of an annotation taken from a live object."""
    if annotation is inspect.Parameter.empty:
        return ""
    if isinstance(annotation, str):
        return canonical(annotation)
    return canonical(inspect.formatannotation(annotation))


def documented_types(docstring: str | None) -> dict[str, tuple[str, str]]:
    """Parameter name to (type, first words of its description), from entries such as ``name (`int`, *optional*):``."""
    found: dict[str, tuple[str, str]] = {}
    if not docstring:
        return found
    lines = docstring.splitlines()
    for index, line in enumerate(lines):
        match = _ENTRY.match(line)
        if match and match["name"] not in found:
            following = lines[index + 1].strip() if index + 1 < len(lines) else ""
            found[match["name"]] = (_documented_type(match["body"]), match["rest"] or following)
    return found


def _documented_type(text: str) -> str:
    text = _TRAILER.sub("", _LINK.sub(r"\1", text).replace("`", "")).strip().rstrip(",")
    return canonical(re.sub(r",? or ", " | ", text))


def _members(node: ast.expr) -> list[str]:  # noqa: PLR0911 - one return per kind
    """The members of a union, flattened; one member for anything else."""
    if isinstance(node, ast.Constant):
        if node.value is None:
            return ["None"]
        if isinstance(node.value, str):
            try:
                return _members(ast.parse(node.value, mode="eval").body)
            except SyntaxError:
                return []
        return [repr(node.value)]
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return _members(node.left) + _members(node.right)
    if isinstance(node, ast.Subscript):
        return _subscript(node)
    if isinstance(node, ast.Name | ast.Attribute):
        return [_name(node)]
    if isinstance(node, ast.List):
        return [f"[{', '.join(_join(_members(item)) for item in node.elts)}]"]
    return []


def _subscript(node: ast.Subscript) -> list[str]:
    name = _name(node.value)
    arguments = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
    if name == "Optional":
        return [*_members(arguments[0]), "None"]
    if name == "Union":
        return [member for argument in arguments for member in _members(argument)]
    if name in ("Annotated", "Required", "NotRequired", "Final", "ClassVar", "SkipValidation"):
        return _members(arguments[0])
    if name == "Literal":
        return [f"Literal[{', '.join(dict.fromkeys(ast.unparse(argument) for argument in arguments))}]"]
    inner = ["..." if _is_ellipsis(argument) else _join(_members(argument)) for argument in arguments]
    return [f"{name}[{', '.join(inner)}]"] if all(inner) else [name]


def _is_ellipsis(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is Ellipsis


def _name(node: ast.expr) -> str:
    text = ast.unparse(node)
    for prefix in ("typing.", "collections.abc.", "builtins.", "t.", "_"):
        text = text.removeprefix(prefix)
    return _BUILTIN.get(text, "None" if text == "NoneType" else text)


def _join(members: list[str]) -> str:
    unique = dict.fromkeys(members)
    rest = [member for member in unique if member != "None"]
    return " | ".join([*rest, "None"] if "None" in unique else rest)
