"""What the source says about a parameter's standing: whether it is active, deprecated or without effect."""

import ast
import re
from collections.abc import Iterator, Sequence

from llenergymeasure.surface.bodies import Found
from llenergymeasure.surface.model import ACTIVE, DEPRECATED, IGNORED
from llenergymeasure.surface.sources import statements
from llenergymeasure.surface.values import Scope

_INEFFECTIVE = re.compile(r"\b(?:has no effect|and ignored)\b", re.IGNORECASE)
_STALE = re.compile(r"\bdeprecated\b|\bkept for BC\b", re.IGNORECASE)


def status_of(found: Found | None, line: int, lines: list[str], documented: str) -> str:
    """Active unless the source says otherwise: dropped, a comment beside or above the line, or the documentation."""
    if found is not None and found.ignored:
        return IGNORED
    if documented.lower().startswith("deprecated") or _STALE.search(_remarks(line, lines)):
        return DEPRECATED
    return ACTIVE


def _remarks(line: int, lines: list[str]) -> str:
    """The comment on a source line, and the one that heads the block of lines it stands in."""
    if not 0 < line <= len(lines):
        return ""
    here = lines[line - 1]
    indent = len(here) - len(here.lstrip())
    remarks = [here.partition("#")[2]]
    for above in reversed(lines[: line - 1]):
        text = above.strip()
        if not text or len(above) - len(above.lstrip()) < indent:
            break
        if text.startswith("#"):
            remarks.append(text)
            break
    return " ".join(remarks)


def stated(name: str, text: str) -> str:
    """What a parameter's own documentation says of its standing."""
    if "deprecated" not in text.lower():  # most texts: a pattern of their own would take its time for each
        return ACTIVE
    words = rf"(?:this \w+|\W?{re.escape(name)}\W?) (?:is|will be|has been) deprecated\b|\W?deprecated\b[\])]?:?"
    found = re.search(rf"(?:^\s*|\.\s+)(?:{words})", text, re.IGNORECASE | re.MULTILINE)
    return _standing(text) if found else ACTIVE


def _standing(text: str) -> str:
    return IGNORED if _INEFFECTIVE.search(text) else DEPRECATED


def warned_about(functions: Sequence[ast.FunctionDef], scope: Scope) -> dict[str, str]:
    """Status of the names whose use makes a function warn that they are deprecated."""
    found: dict[str, str] = {}
    for function in functions if "deprecated" in scope.module.text.lower() else ():
        for node in statements(function.body):
            if isinstance(node, ast.If):
                tested = _tested(node.test)
                for message in _warnings(node.body, scope):
                    found |= {name: _standing(message) for name in tested if _deprecates(message, name)}
            elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
                found |= _flag(node.value, scope)
    return found


def _tested(test: ast.expr) -> set[str]:
    """Names on which a condition depends, without those that are held against words: there a value is meant."""
    held = {ast.unparse(node.left) for node in ast.walk(test) if isinstance(node, ast.Compare) and _is_of_value(node)}
    names = {ast.unparse(node) for node in ast.walk(test) if isinstance(node, ast.Name | ast.Attribute)}
    return {name.removeprefix("self.") for name in names - held}


def _is_of_value(node: ast.Compare) -> bool:
    right = node.comparators[0]
    is_word = isinstance(right, ast.Constant) and isinstance(right.value, str)
    return isinstance(node.ops[0], ast.In | ast.NotIn) or is_word


def _deprecates(message: str, name: str) -> bool:
    if "deprecated" not in message:
        return False
    flag = f"(?:--)?{re.escape(name)}|--{re.escape(name.replace('_', '-'))}"
    return re.search(rf"(?<![\w.])(?:{flag})\b.*\bdeprecated\b", message) is not None


def _flag(call: ast.Call, scope: Scope) -> dict[str, str]:
    """The parameter behind a command line's flag that is declared to be deprecated."""
    match call:
        case ast.Call(func=ast.Attribute(attr="add_argument"), args=[ast.Constant(value=str() as flag), *_]):
            name = flag.lstrip("-").replace("-", "_")
            help_text = " ".join(_texts([keyword.value for keyword in call.keywords], scope))
            marked = any(keyword.arg == "deprecated" for keyword in call.keywords)
            if marked or _deprecates(help_text, name):
                return {name: _standing(help_text)}
    return {}


def _warnings(body: list[ast.stmt], scope: Scope) -> Iterator[str]:
    calls = [item.value for item in body if isinstance(item, ast.Expr) and isinstance(item.value, ast.Call)]
    for call in calls:
        if "warn" in ast.unparse(call.func):
            yield " ".join(_texts([*call.args, *(keyword.value for keyword in call.keywords)], scope)).replace(
                "\n", " "
            )


def _texts(arguments: Sequence[ast.expr], scope: Scope) -> Iterator[str]:
    """The texts in a call's arguments, also those that have a name."""
    for argument in arguments:
        for node in ast.walk(argument):
            named = scope.module.constants.get(node.id) if isinstance(node, ast.Name) else node
            if isinstance(named, ast.Constant) and isinstance(named.value, str):
                yield named.value
