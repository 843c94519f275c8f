"""Where a package's text is read from: a wheel or a folder, without installing or importing either."""

import ast
import re
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from llenergymeasure.errors import RequestError
from llenergymeasure.surface.outline import outline
from llenergymeasure.surface.recipes import Package

_WHEEL_NAME = re.compile(r"(?P<distribution>[A-Za-z0-9_.]+)-(?P<version>[^-]+)(-[^-]+){3,4}\.whl")
_VERSION = re.compile(r"^__version__\s*(?::\s*str\s*)?=\s*(?:version = )?['\"]([^'\"]+)['\"]", re.MULTILINE)


class Reader(Protocol):
    """One package's files, by their path inside the package folder."""

    origin: str

    def text(self, member: str) -> str | None: ...


@dataclass
class WheelReader:
    """Reads single members, so that a wheel of a hundred megabytes costs no more than the files that matter."""

    archive: zipfile.ZipFile
    package: str
    origin: str

    def text(self, member: str) -> str | None:
        try:
            return self.archive.read(f"{self.package}/{member}").decode("utf-8")
        except KeyError:
            return None


@dataclass
class FolderReader:
    folder: Path
    origin: str

    def text(self, member: str) -> str | None:
        path = self.folder / member
        return path.read_text(encoding="utf-8") if path.is_file() else None


def wheel_identity(path: Path) -> tuple[str, str]:
    """The (distribution, version) that a wheel's file name states."""
    match = _WHEEL_NAME.fullmatch(path.name)
    if match is None:
        raise RequestError(
            f"{path}: not a wheel's file name", "give a file such as transformers-5.23.0-py3-none-any.whl"
        )
    return match["distribution"].lower().replace("_", "-"), match["version"]


@contextmanager
def open_wheel(path: Path, package: str) -> Iterator[WheelReader]:
    """Reads the folder of the package, which may have another name than the distribution."""
    try:
        archive = zipfile.ZipFile(path)
    except FileNotFoundError:
        raise RequestError(
            f"{path}: no such file", "give the path of a downloaded wheel (`pip download --no-deps`)"
        ) from None
    except (zipfile.BadZipFile, OSError) as error:
        raise RequestError(f"{path}: not a readable wheel ({error})", "download it again; it may be cut off") from error
    with archive:
        yield WheelReader(archive, package, str(path))


def package_folder(folder: Path, packages: tuple[str, ...]) -> Path:
    """The package folder meant by `folder`: itself, or the one inside a checkout."""
    if not folder.is_dir():
        raise RequestError(f"{folder}: no such folder", "give a package folder, or a checkout that holds src/<package>")
    for package in packages:
        for candidate in (folder, folder / "src" / package, folder / package):
            if candidate.name == package and (candidate / "__init__.py").is_file():
                return candidate
    raise RequestError(
        f"{folder}: holds no package {' or '.join(packages)}",
        "give the package folder itself, or a checkout of its repository",
    )


def folder_identity(folder: Path, distributions: tuple[str, ...]) -> tuple[str, str]:
    """The (distribution, version) that the metadata installed beside a folder states; the folder's own version first.

    A folder without metadata counts as the first distribution's.
    """
    found = {
        distribution: info.name.removesuffix(".dist-info").rpartition("-")[2]
        for distribution in distributions
        for info in sorted(folder.parent.glob(f"{distribution.replace('-', '_')}-*.dist-info"))
    }
    distribution = next(iter(found), distributions[0])
    for name in ("version.py", "__init__.py", "_version.py"):
        path = folder / name
        match = _VERSION.search(path.read_text(encoding="utf-8")) if path.is_file() else None
        if match:
            return distribution, match[1]
    if found:
        return distribution, found[distribution]
    raise RequestError(
        f"{folder}: states no version", "give a released package, with __version__ or its .dist-info folder beside it"
    )


@dataclass
class Module:
    """One parsed source file."""

    name: str
    text: str
    keep: Callable[[str, str], bool] | None = None  # which functions are of interest; all of them without it
    member: str = ""  # its path inside the package
    follow: Callable[[str], "Module | None"] = lambda _: None  # a module of the package by its dotted name
    tree: ast.Module = field(init=False)

    def __post_init__(self) -> None:
        # What Python's parser thinks of somebody else's string escapes is not ours to print.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.tree = self._outlined() or self._whole()

    def _outlined(self) -> ast.Module | None:
        if self.keep is None:
            return None
        try:
            return ast.parse(outline(self.text, self.keep))
        except SyntaxError:
            return None

    def _whole(self) -> ast.Module:
        try:
            return ast.parse(self.text)
        except SyntaxError as error:
            raise RequestError(
                f"{self.name}, line {error.lineno}: not valid Python for this interpreter ({error.msg})",
                "use a newer Python, or another version of the package",
            ) from error

    @cached_property
    def lines(self) -> list[str]:
        return self.text.splitlines()

    @cached_property
    def classes(self) -> dict[str, ast.ClassDef]:
        return {node.name: node for node in self.tree.body if isinstance(node, ast.ClassDef)}

    @cached_property
    def functions(self) -> dict[str, ast.FunctionDef]:
        # A later definition replaces an earlier one: @overload stubs stand before the real function.
        return {node.name: node for node in self.tree.body if isinstance(node, ast.FunctionDef)}

    @cached_property
    def constants(self) -> dict[str, ast.expr]:
        return assignments(self.tree.body)

    @cached_property
    def type_aliases(self) -> set[str]:
        """Names declared to be types: of any other name that stands for a plain class the own spelling is kept."""
        return {
            node.target.id
            for node in self.tree.body
            if isinstance(node, ast.AnnAssign)
            and isinstance(node.target, ast.Name)
            and ast.unparse(node.annotation).rpartition(".")[2] == "TypeAlias"
        }

    @cached_property
    def guarded(self) -> list[ast.stmt]:
        """What stands under a condition, such as what is meant for type checkers alone."""
        return [statement for node in self.tree.body if isinstance(node, ast.If) for statement in node.body]

    @cached_property
    def imports(self) -> dict[str, tuple[str, str]]:
        """Local name to (absolute module, name there), of everything imported by name, also for type checkers alone."""
        return {
            alias.asname or alias.name: (self._absolute(node), alias.name)
            for node in [*self.tree.body, *self.guarded]
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
        }

    @cached_property
    def imported_modules(self) -> dict[str, str]:
        """Local name to dotted name, of modules imported under a name of their own."""
        return {
            alias.asname: alias.name
            for node in [*self.tree.body, *self.guarded]
            if isinstance(node, ast.Import)
            for alias in node.names
            if alias.asname
        }

    def imported_module(self, name: str) -> "Module | None":
        """The module that a name stands for, where it may be looked into."""
        if name in self.imports:
            return self.follow(".".join(self.imports[name]))
        return self.follow(self.imported_modules[name]) if name in self.imported_modules else None

    def _absolute(self, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        here = self.member.removesuffix("/__init__.py").split("/")
        depth = len(here) - node.level + self.member.endswith("/__init__.py")
        return ".".join([*here[:depth], *([node.module] if node.module else [])])

    @cached_property
    def enums(self) -> dict[str, "Enumeration"]:
        """Enumerations defined here."""
        found = {}
        for name, node in self.classes.items():
            bases = [ast.unparse(base).rpartition(".")[2] for base in node.bases]
            if any("Enum" in base for base in bases):
                members = {key: value for key, value in assignments(node.body).items() if not key.startswith("_")}
                found[name] = Enumeration(members, is_plain=all(base == "Enum" for base in bases))
        return found

    def bases(self, node: ast.ClassDef) -> Iterator[ast.ClassDef]:
        """The class itself and the bases defined in this module, nearest first."""
        yield node
        for base in node.bases:
            parent = self.classes.get(ast.unparse(base).rpartition(".")[2])
            if parent is not None and parent is not node:
                yield from self.bases(parent)

    def method(self, node: ast.ClassDef, name: str) -> tuple[ast.ClassDef, ast.FunctionDef] | None:
        for owner in self.bases(node):
            for item in owner.body:
                if isinstance(item, ast.FunctionDef) and item.name == name:
                    return owner, item
        return None


@dataclass(frozen=True)
class Enumeration:
    """Member name to the expression of its value.

    Attributes:
        is_plain: the members are neither strings nor numbers themselves.
    """

    members: dict[str, ast.expr]
    is_plain: bool

    @property
    def values(self) -> dict[str, Any]:
        return {name: value.value for name, value in self.members.items() if isinstance(value, ast.Constant)}

    @property
    def written(self) -> dict[str, Any]:
        """Member name to the value that a user writes."""
        values = self.values
        if self.is_plain and not all(is_word(values.get(name)) for name in self.members):
            return {name: name for name in self.members}
        return values


def is_word(value: object) -> bool:
    """Whether it can be the written form of a plain enumeration's member; the path of a class or a pair is not."""
    return isinstance(value, str) and value.isidentifier()


def assignments(body: list[ast.stmt]) -> dict[str, ast.expr]:
    found: dict[str, ast.expr] = {}
    for node in body:
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            found[node.targets[0].id] = node.value
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
            found[node.target.id] = node.value
    return found


def statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Every statement, however deep: far fewer than the nodes of a tree."""
    for statement in body:
        yield statement
        for name in ("body", "orelse", "finalbody"):
            yield from statements(getattr(statement, name, []))
        for part in (*getattr(statement, "handlers", ()), *getattr(statement, "cases", ())):
            yield from statements(part.body)


def is_dataclass(node: ast.ClassDef) -> bool:
    """Whether annotated attributes are the constructor's arguments, as in a dataclass, a NamedTuple or a struct."""
    decorators = (ast.unparse(decorator) for decorator in node.decorator_list)
    return any("dataclass" in name or name.partition("(")[0] == "config" for name in decorators) or any(
        ast.unparse(base).endswith(("NamedTuple", "msgspec.Struct")) for base in node.bases
    )


class Modules:
    """The modules of one package, each read and parsed once."""

    def __init__(self, reader: Reader, package: Package) -> None:
        self.reader = reader
        self.package = package.name
        self._interests = package.interests()
        self._followed = package.followed
        self._parsed: dict[str, Module | None] = {}

    def get(self, member: str) -> Module | None:
        if member not in self._parsed:
            text = self.reader.text(member)
            name = f"{self.reader.origin}: {self.package}/{member}"
            interest = self._interests.get(member)
            keep = interest.covers if interest else None
            self._parsed[member] = None if text is None else Module(name, text, keep, member, self.follow)
        return self._parsed[member]

    def follow(self, dotted: str) -> Module | None:
        """A module from which another imports, where it is one of those that may be looked into."""
        path = dotted.removeprefix(f"{self.package}.").replace(".", "/")
        if not any(path == known or path.startswith(f"{known}/") for known in self._followed):
            return None
        return self.get(f"{path}.py") or self.get(f"{path}/__init__.py")

    def read(self, folder: str) -> list[str]:
        """The members of a folder that were looked into so far."""
        return [member for member, module in self._parsed.items() if module is not None and member.startswith(folder)]

    def need(self, member: str) -> Module:
        module = self.get(member)
        if module is None:
            raise RequestError(
                f"{self.reader.origin}: {self.package}/{member} is missing",
                f"give a complete {self.package}; very old or very new versions may be laid out otherwise",
            )
        return module
