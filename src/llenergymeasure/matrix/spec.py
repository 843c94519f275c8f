"""The pinned cells, read from matrix.toml."""

import difflib
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.version import InvalidVersion, Version

from llenergymeasure.errors import RequestError

BACKENDS = ("pytorch", "vllm", "tensorrt")
PLATFORMS = ("cpu", "cuda")

_TEXTS = ("package", "platform", "python", "torch", "torch_index")
_DEFAULTABLE = (*_TEXTS, "requirements", "deadline_s")
_KEYS = ("backend", "version", *_DEFAULTABLE)


@dataclass(frozen=True)
class Cell:
    """One backend at one version on one platform, with everything that makes up its environment.

    Attributes:
        package: the distribution that `version` is of, such as transformers for pytorch.
        torch: the version of PyTorch, "" where the package's own requirement decides.
        torch_index: where the platform's build of PyTorch is asked for when pip's configuration has none.
        requirements: what is installed beside the package, as pip takes it.
    """

    backend: str
    version: str
    package: str
    platform: str
    python: str
    torch: str = ""
    torch_index: str = ""
    requirements: tuple[str, ...] = ()
    deadline_s: float = 1800.0

    @property
    def name(self) -> str:
        return f"{self.backend}-{self.version}-{self.platform}"


@dataclass(frozen=True)
class Spec:
    cells: tuple[Cell, ...]

    def cell(self, name: str) -> Cell:
        for cell in self.cells:
            if cell.name == name:
                return cell
        names = [cell.name for cell in self.cells]
        raise RequestError(f"no cell {name!r} in matrix.toml", _nearest(name, names, "the cells are"))

    def of_backend(self, backend: str) -> tuple[Cell, ...]:
        return tuple(cell for cell in self.cells if cell.backend == backend)


def load(path: Path) -> Spec:
    """Raises RequestError with the file and the line of what is wrong."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise RequestError(f"{path}: {error.strerror}", "run it in the folder that holds matrix.toml") from error
    except UnicodeDecodeError as error:
        raise RequestError(f"{path}: not UTF-8 at byte {error.start}", "save it as UTF-8") from error
    return loads(text, str(path))


def loads(text: str, origin: str = "matrix.toml") -> Spec:
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RequestError(f"{origin}: not valid TOML: {error}", "mend that place") from error
    lines = _Lines(text, origin)
    _check_keys(document, ("defaults", "cell"), lines.top)
    defaults = _defaults(document.get("defaults", {}), lines)
    tables = document.get("cell", [])
    if not isinstance(tables, list) or not tables:
        raise RequestError(f"{origin}: no [[cell]]", 'add one with backend = "pytorch" and a version')
    cells: dict[str, Cell] = {}
    for index, table in enumerate(tables):
        where = lines.cell(index)
        cell = _cell(table, defaults, where)
        if cell.name in cells:
            raise RequestError(f"{where('version')}: a second cell {cell.name}", "remove one of the two")
        cells[cell.name] = cell
    return Spec(tuple(cells.values()))


class _Where:
    """Names the line of a key within one table, for messages."""

    def __init__(self, origin: str, header_line: int, keys: dict[str, int]) -> None:
        self._origin = origin
        self._header_line = header_line
        self._keys = keys

    def __call__(self, key: str = "") -> str:
        return f"{self._origin}:{self._keys.get(key, self._header_line)}"


class _Lines:
    """Line numbers of tables and keys, which tomllib does not give."""

    def __init__(self, text: str, origin: str) -> None:
        self._origin = origin
        self._tables: list[tuple[str, int, dict[str, int]]] = [("", 1, {})]
        for number, line in enumerate(text.splitlines(), start=1):
            if header := re.match(r"\s*\[\[?\s*([^\]]+?)\s*\]", line):
                self._tables.append((header[1], number, {}))
            elif key := re.match(r"\s*[\"']?([\w-]+)[\"']?\s*=", line):
                self._tables[-1][2].setdefault(key[1], number)

    @property
    def top(self) -> _Where:
        keys = {name.split(".")[0]: number for name, number, _ in reversed(self._tables) if name}
        return _Where(self._origin, 1, keys | self._tables[0][2])

    def cell(self, index: int) -> _Where:
        found = [table for table in self._tables if table[0] == "cell"]
        return _Where(self._origin, found[index][1], found[index][2]) if index < len(found) else self.top

    def defaults(self, backend: str) -> _Where:
        for name, number, keys in self._tables:
            if name.replace(" ", "") == f"defaults.{backend}":
                return _Where(self._origin, number, keys)
        return self.top


def _defaults(tables: Any, lines: _Lines) -> dict[str, dict[str, Any]]:
    if not isinstance(tables, dict) or not all(isinstance(table, dict) for table in tables.values()):
        raise RequestError(f"{lines.top('defaults')}: defaults is not a table per backend", "write [defaults.pytorch]")
    for backend, table in tables.items():
        where = lines.defaults(backend)
        _check_backend(backend, where)
        _check_keys(table, _DEFAULTABLE, where)
    return tables


def _cell(own: Any, defaults: dict[str, dict[str, Any]], where: _Where) -> Cell:
    if not isinstance(own, dict):
        raise RequestError(f"{where()}: a cell is not a table", "write [[cell]] on a line of its own")
    _check_keys(own, _KEYS, where)
    for key in ("backend", "version"):
        if not isinstance(own.get(key), str):
            raise RequestError(f"{where(key)}: a cell needs {key} as a text", f'write {key} = "…"')
    _check_backend(own["backend"], where)
    values = defaults.get(own["backend"], {}) | own
    for key in ("package", "platform", "python"):
        if key not in values:
            raise RequestError(f"{where()}: no {key}", f"set it here or in [defaults.{own['backend']}]")
    _check_values(values, where)
    values["requirements"] = tuple(values.get("requirements", ()))
    return Cell(**values)


def _check_values(values: dict[str, Any], where: _Where) -> None:
    for key in _TEXTS:
        if not isinstance(values.get(key, ""), str):
            raise RequestError(f"{where(key)}: {key} is not a text: {values[key]!r}", "put it in quotes")
    if values["platform"] not in PLATFORMS:
        remedy = _nearest(values["platform"], PLATFORMS, "the platforms are")
        raise RequestError(f"{where('platform')}: unknown platform {values['platform']!r}", remedy)
    if not re.fullmatch(r"3\.\d+", values["python"]):
        raise RequestError(f"{where('python')}: {values['python']!r} is no Python version", 'write it like "3.11"')
    for key in ("version", "torch"):
        _check_version(values.get(key, ""), where(key), key)
    deadline_s = values.get("deadline_s", 1.0)
    if isinstance(deadline_s, bool) or not isinstance(deadline_s, int | float) or deadline_s <= 0:
        raise RequestError(
            f"{where('deadline_s')}: deadline_s is not a number of seconds above 0", "write it like 1200"
        )
    _check_requirements(values.get("requirements", []), where)


def _check_version(version: str, where: str, key: str) -> None:
    if key == "torch" and not version:
        return
    try:
        exact = str(Version(version)) == version
    except InvalidVersion:
        exact = False
    if not exact:
        raise RequestError(f"{where}: {version!r} is no exact version", f'write {key} like "5.23.0"')


def _check_requirements(requirements: Any, where: _Where) -> None:
    if not isinstance(requirements, list) or not all(isinstance(item, str) for item in requirements):
        raise RequestError(
            f"{where('requirements')}: requirements is not a list of texts", 'write ["accelerate==1.15.0"]'
        )
    for item in requirements:
        try:
            Requirement(item)
        except InvalidRequirement as error:
            cause = f"{where('requirements')}: {item!r} is no requirement: {str(error).splitlines()[0]}"
            raise RequestError(cause, "write it as pip takes it") from error


def _check_backend(backend: str, where: _Where) -> None:
    if backend not in BACKENDS:
        raise RequestError(
            f"{where('backend')}: unknown backend {backend!r}", _nearest(backend, BACKENDS, "the backends are")
        )


def _check_keys(table: dict[str, Any], known: tuple[str, ...], where: _Where) -> None:
    for key in _unknown(table, known):
        raise RequestError(f"{where(key)}: unknown key {key!r}", _nearest(key, known, "the keys are"))


def _unknown(table: dict[str, Any], known: tuple[str, ...]) -> Iterator[str]:
    return (key for key in table if key not in known)


def _nearest(name: str, known: tuple[str, ...] | list[str], listing: str) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"did you mean {near[0]!r}?" if near else f"{listing} {', '.join(known)}"
