"""The pinned cells, read from matrix.toml."""

import difflib
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import InvalidName, canonicalize_name
from packaging.version import InvalidVersion, Version

from llenergymeasure.errors import RequestError
from llenergymeasure.matrix import image_keys, limits
from llenergymeasure.matrix.image_keys import Place

BACKENDS = ("pytorch", "vllm", "tensorrt")
PLATFORMS = ("cpu", "cuda")
# What every runner sets or takes away, so that a cell starts alike everywhere; how its tests run, a cell may say.
RUNNERS_OWN = (
    "PATH",
    "PYTHONPATH",
    "PYTHONHOME",
    "PYTHONNOUSERSITE",
    "PYTHONUNBUFFERED",
    "VIRTUAL_ENV",
    "CONDA_PREFIX",
    "HF_HUB_OFFLINE",
    "TRANSFORMERS_OFFLINE",
)

_TEXTS = ("package", "platform", "python", "torch", "torch_index", "base_image", "base_digest")
_LISTS = ("requirements", "without", "system_packages")
_DEFAULTABLE = (*_TEXTS, *_LISTS, "environment", "deadline_s", "expected", "disk_gb", "limits")
_KEYS = ("backend", "version", *_DEFAULTABLE)


@dataclass(frozen=True)
class Cell:
    """One backend at one version on one platform, with everything that makes up its environment.

    Attributes:
        package: the distribution that `version` is of, such as transformers for pytorch.
        torch: the version of PyTorch, "" where the package's own requirement decides.
        torch_index: where the platform's build of PyTorch is asked for when pip's configuration has none.
        requirements: what is installed beside the package, as pip takes it.
        without: distributions that the package requires and the cell leaves out.
        environment: variables that the cell's programs get; no part of what is installed.
        expected: whether the cell is red without a record; else it is only not run.
        base_image: what its container image starts from, name and tag; "" where it has no image.
        base_digest: which image of that name it is, "" while no registry has been asked.
        system_packages: what its image has of the base's own package manager, if the base lacks it.
        disk_gb: what building its image for the first time takes, 0 where nobody has measured it.
        limits: what its container may take, where that differs from `limits.Limits`.
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
    without: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict, hash=False)
    expected: bool = True
    base_image: str = ""
    base_digest: str = ""
    system_packages: tuple[str, ...] = ()
    disk_gb: float = 0.0
    limits: Mapping[str, float] = field(default_factory=dict, hash=False)

    @property
    def name(self) -> str:
        return f"{self.backend}-{self.version}-{self.platform}"

    @property
    def base(self) -> str:
        """The base image as an engine pulls it, pinned where its digest is known."""
        return f"{self.base_image}@{self.base_digest}" if self.base_digest else self.base_image


@dataclass(frozen=True)
class Spec:
    cells: tuple[Cell, ...]

    def cell(self, name: str) -> Cell:
        for cell in self.cells:
            if cell.name == name:
                return cell
        names = [cell.name for cell in self.cells]
        raise RequestError(f"no cell {name!r} in matrix.toml", _nearest(name, names, "the cells are"))

    def of(self, backend: str | None = None, platform: str | None = None) -> tuple[Cell, ...]:
        """The cells of one backend, of one platform, or of both; None is any."""
        return tuple(
            cell for cell in self.cells if backend in (None, cell.backend) and platform in (None, cell.platform)
        )


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
        cell = _cell(table, defaults, where, lines)
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
        """Of `environment.NAME`, the line of that name, or of the whole table where it stands on one line."""
        line = self._keys.get(key) or self._keys.get(key.partition(".")[0]) or self._header_line
        return f"{self._origin}:{line}"


class _Lines:
    """Line numbers of tables and keys, which tomllib does not give."""

    def __init__(self, text: str, origin: str) -> None:
        self._origin = origin
        self._tables: list[tuple[str, int, dict[str, int]]] = [("", 1, {})]
        within = ""
        for number, line in enumerate(text.splitlines(), start=1):
            if header := re.match(r"\s*\[\[?\s*([^\]]+?)\s*\]", line):
                parent, _, last = header[1].replace(" ", "").rpartition(".")
                if parent not in ("", "defaults") and parent == self._tables[-1][0]:
                    # [cell.environment] is a key of the cell above it.
                    self._tables[-1][2].setdefault(last, number)
                    within = f"{last}."
                    continue
                self._tables.append((header[1].replace(" ", ""), number, {}))
                within = ""
            elif key := re.match(r"\s*[\"']?([\w-]+)[\"']?\s*=", line):
                self._tables[-1][2].setdefault(within + key[1], number)

    @property
    def top(self) -> _Where:
        keys = {name.split(".")[0]: number for name, number, _ in reversed(self._tables) if name}
        return _Where(self._origin, 1, keys | self._tables[0][2])

    def cell(self, index: int) -> _Where:
        found = [table for table in self._tables if table[0] == "cell"]
        return _Where(self._origin, found[index][1], found[index][2]) if index < len(found) else self.top

    def defaults(self, backend: str) -> _Where:
        for name, number, keys in self._tables:
            if name == f"defaults.{backend}":
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


def _cell(own: Any, defaults: dict[str, dict[str, Any]], where: _Where, lines: _Lines) -> Cell:
    if not isinstance(own, dict):
        raise RequestError(f"{where()}: a cell is not a table", "write [[cell]] on a line of its own")
    _check_keys(own, _KEYS, where)
    for key in ("backend", "version"):
        if not isinstance(own.get(key), str):
            raise RequestError(f"{where(key)}: a cell needs {key} as a text", f'write {key} = "…"')
    _check_backend(own["backend"], where)
    taken = defaults.get(own["backend"], {})
    values = taken | own
    for key in ("package", "platform", "python"):
        if key not in values:
            raise RequestError(f"{where()}: no {key}", f"set it here or in [defaults.{own['backend']}]")
    inherited = lines.defaults(own["backend"])

    def place(key: str) -> str:
        return (where if key.partition(".")[0] in own else inherited)(key)

    _check_values(values, place)
    image_keys.check(values, own, place)
    for key in _LISTS:
        values[key] = tuple(values.get(key, ()))
    values["base_image"] = image_keys.base_image(values, place)
    return Cell(**values)


def _check_values(values: dict[str, Any], where: Place) -> None:
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
    if not isinstance(values.get("expected", True), bool):
        raise RequestError(f"{where('expected')}: expected is not true or false", "write it without quotes")
    _check_requirements(values.get("requirements", []), where)
    _check_without(values, where)
    _check_environment(values.get("environment", {}), where)
    limits.check(values.get("limits", {}), where)


def _check_version(version: str, where: str, key: str) -> None:
    if key == "torch" and not version:
        return
    try:
        exact = str(Version(version)) == version
    except InvalidVersion:
        exact = False
    if not exact:
        raise RequestError(f"{where}: {version!r} is no exact version", f'write {key} like "5.23.0"')


def _check_requirements(requirements: Any, where: Place) -> None:
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


def _check_without(values: dict[str, Any], where: Place) -> None:
    names = values.get("without", [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise RequestError(f"{where('without')}: without is not a list of texts", 'write ["torchvision"]')
    asked_for = {canonicalize_name(Requirement(item).name) for item in values.get("requirements", [])}
    if values.get("torch"):
        asked_for.add(canonicalize_name("torch"))
    for name in names:
        try:
            plain = canonicalize_name(name, validate=True)
        except InvalidName:
            raise RequestError(
                f"{where('without')}: {name!r} is no name of a distribution", "give the name alone, without a version"
            ) from None
        if plain in asked_for:
            raise RequestError(f"{where('without')}: {name} is left out and asked for", "remove one of the two")


def _check_environment(variables: Any, where: Place) -> None:
    if not isinstance(variables, dict):
        raise RequestError(f"{where('environment')}: environment is not a table", 'write environment = {NAME = "1"}')
    for name, value in variables.items():
        place = where(f"environment.{name}")
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            raise RequestError(f"{place}: {name!r} is no name of a variable", "use letters, digits and _")
        if name in RUNNERS_OWN:
            raise RequestError(f"{place}: {name} is set by the runner, in every cell alike", "remove it")
        if not isinstance(value, str) or "\0" in value:
            raise RequestError(f"{place}: {name} is not a text: {value!r}", "put it in quotes")


def _check_backend(backend: str, where: Place) -> None:
    if backend not in BACKENDS:
        raise RequestError(
            f"{where('backend')}: unknown backend {backend!r}", _nearest(backend, BACKENDS, "the backends are")
        )


def _check_keys(table: dict[str, Any], known: tuple[str, ...], where: Place) -> None:
    for key in _unknown(table, known):
        raise RequestError(f"{where(key)}: unknown key {key!r}", _nearest(key, known, "the keys are"))


def _unknown(table: dict[str, Any], known: tuple[str, ...]) -> Iterator[str]:
    return (key for key in table if key not in known)


def _nearest(name: str, known: tuple[str, ...] | list[str], listing: str) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"did you mean {near[0]!r}?" if near else f"{listing} {', '.join(known)}"
