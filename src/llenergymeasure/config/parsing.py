"""Parse YAML, TOML and JSON into the same plain data, and refuse what would not be the same or would not end."""

import json
import math
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from llenergymeasure.config.files import decoded, read_file
from llenergymeasure.config.origin import Location, Origin, one_line, spell
from llenergymeasure.errors import RequestError

SUFFIXES = (".yaml", ".yml", ".toml", ".json")
START = "start from the README's first experiment, or write `llem schema` to a file for your editor"
LARGEST_MIB = 16
MOST_NODES = 1_000_000
DEEPEST = 40
_MEND = "mend the file at that place"


def read(path: Path) -> tuple[Any, Origin]:
    """The data of a configuration file, and where each of its keys stands.

    Raises:
        RequestError: the file cannot be read, or is not valid; the cause names file, line and column.
    """
    shown = one_line(path)
    if path.suffix not in SUFFIXES:
        raise RequestError(f"{shown}: not a configuration by its name", f"name it {', '.join(SUFFIXES)}")
    text = decoded(path, read_file(path, LARGEST_MIB, START))
    lines: dict[str, int] = {}
    try:
        if path.suffix == ".toml":
            data = _toml(text, shown)
        elif path.suffix == ".json":
            data = _json(text, shown)
        else:
            data = _yaml(text, shown, lines)
    except RecursionError:
        raise RequestError(f"{shown}: too many levels of nesting", "a configuration has a few") from None
    except ValueError as error:  # what a parser does not foresee, such as a number of thousands of digits
        raise RequestError(f"{shown}: cannot be read as a configuration: {_first(error)}", "mend the file") from None
    origin = Origin(shown, lines)
    _refuse_strange(data, (), origin)
    return data, origin


def _first(error: ValueError) -> str:
    return one_line(str(error).partition(";")[0])


def _toml(text: str, file: str) -> Any:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        what, _, where = str(error).partition(" (at ")
        found = re.match(r"line (\d+), column (\d+)", where)
        last = text.rstrip("\n").split("\n")
        line, column = found.groups() if found else (len(last), len(last[-1]) + 1)
        raise RequestError(f"{file}:{line}:{column}: not valid TOML: {what}", _MEND) from None


def _json(text: str, file: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=lambda pairs: _each_once(pairs, file))
    except json.JSONDecodeError as error:
        what = error.msg.removesuffix(" at")
        raise RequestError(f"{file}:{error.lineno}:{error.colno}: not valid JSON: {what}", _MEND) from None


def _each_once(pairs: list[tuple[str, Any]], file: str) -> dict[str, Any]:
    """A JSON object; a key that stands twice is an error, since the last would be kept in silence."""
    made: dict[str, Any] = {}
    for key, value in pairs:
        if key in made:
            raise RequestError(f"{file}: {one_line(key)} stands twice in one object", "keep one of them")
        made[key] = value
    return made


class _Loader(yaml.SafeLoader):
    """Plain values only: a date stays the text that it is in TOML's and JSON's strings, and errors know their place."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - PyYAML's own name and form
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:  # noqa: FBT001, FBT002 - PyYAML's signature
        try:
            return super().construct_object(node, deep)
        except ValueError as error:
            raise yaml.constructor.ConstructorError(None, None, _first(error), node.start_mark) from None


def _yaml(text: str, file: str, lines: dict[str, int]) -> Any:
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        _refuse_excess(node, file)
        for location, line in _key_lines(node, (), file):
            if location in lines:
                raise RequestError(
                    f"{file}:{line}: {location} stands twice, first on line {lines[location]}", "keep one of them"
                )
            lines[location] = line
        return loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
        problem, remedy = _yaml_words(error.problem or "")
        raise RequestError(f"{file}{where}: not valid YAML: {problem}", remedy) from None
    except yaml.reader.ReaderError as error:
        before = text[: error.position].split("\n")
        raise RequestError(
            f"{file}:{len(before)}:{len(before[-1]) + 1}: not valid YAML: the character U+{_code(error):04X}",
            'remove it, or write it in double quotes as an escape such as "\\x07"',
        ) from None


def _code(error: yaml.reader.ReaderError) -> int:
    return ord(error.character) if isinstance(error.character, str) else int(error.character)


def _yaml_words(problem: str) -> tuple[str, str]:
    if problem.startswith("could not determine a constructor for the tag"):
        return f"unknown tag {problem.rpartition(' ')[2]}", "remove the tag: a configuration holds plain values"
    if "'\\t'" in problem:
        return "a tabulator where YAML takes none", "indent and separate with spaces"
    return one_line(problem), _MEND


def _refuse_excess(root: yaml.Node, file: str) -> None:
    """Refuse a document that its aliases make endless or huge, before anything walks the whole of it."""
    known: dict[int, tuple[int, int]] = {}
    under_way: set[int] = set()

    def measure(node: yaml.Node, depth: int) -> tuple[int, int]:
        """Nodes and levels below and with this one."""
        if id(node) in under_way:
            raise RequestError(f"{file}:{node.start_mark.line + 1}: an alias contains itself", "write the value out")
        if id(node) not in known:
            if depth > DEEPEST:
                raise _too_deep(f"{file}:{node.start_mark.line + 1}: ")
            under_way.add(id(node))
            below = [measure(child, depth + 1) for child in _children(node)]
            under_way.remove(id(node))
            known[id(node)] = 1 + sum(nodes for nodes, _ in below), 1 + max((levels for _, levels in below), default=0)
        nodes, levels = known[id(node)]
        if depth + levels > DEEPEST + 1:
            raise _too_deep(f"{file}:{node.start_mark.line + 1}: ")
        if nodes > MOST_NODES:
            raise RequestError(
                f"{file}:{node.start_mark.line + 1}: more than {MOST_NODES} values, its aliases written out",
                "use fewer aliases; many prompts go into a file of their own",
            )
        return nodes, levels

    measure(root, 1)


def _too_deep(place: str) -> RequestError:
    return RequestError(f"{place}deeper than {DEEPEST} levels", "a configuration has a few")


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


def _key_lines(node: yaml.Node, path: Location, file: str) -> Iterator[tuple[str, int]]:
    """Where each key stands, by its spelled location; one that stands twice comes twice."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                raise RequestError(f"{file}:{line}: a key is a name, this is a list or mapping", "give a field's name")
            here = (*path, key.value)
            yield spell(here), line
            yield from _key_lines(value, here, file)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield from _key_lines(value, (*path, index), file)


def _refuse_strange(data: Any, location: Location, origin: Origin) -> None:
    """Only what all three formats can say, and a result can record."""
    place = origin.place(spell(location))
    here = f"{place}{spell(location) or 'configuration'}: "
    if len(location) > DEEPEST:
        raise _too_deep(f"{place}{spell(location[:3])}…: ")
    if isinstance(data, dict):
        for key, value in data.items():
            if not isinstance(key, str | int) or isinstance(key, bool):
                raise RequestError(f"{here}a key is read as {key!r}, not as a name", "put the key into quotes")
            _refuse_strange(value, (*location, str(key)), origin)
    elif isinstance(data, list):
        for index, value in enumerate(data):
            _refuse_strange(value, (*location, index), origin)
    elif isinstance(data, str):
        try:
            data.encode("utf-8")
        except UnicodeEncodeError:
            raise RequestError(
                f"{here}holds half of a surrogate pair", "write the character itself, or both halves of the escape"
            ) from None
    elif isinstance(data, float) and not math.isfinite(data):
        raise RequestError(f"{here}{data} is no finite number", "give a number")
    elif data is not None and not isinstance(data, bool | int | float):
        kind = type(data).__name__
        raise RequestError(f"{here}takes no {kind} (given: {one_line(data)})", "put it into quotes where text is meant")
