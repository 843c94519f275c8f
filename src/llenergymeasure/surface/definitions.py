"""What a name in a module stands for, in the module itself or where it was imported from; annotations spelled out."""

import ast
import copy
from dataclasses import dataclass

from llenergymeasure.surface.sources import Enumeration, Module

_DEPTH = 6  # of aliases of aliases, and of modules that import from each other
_TYPE_FORMS = ("Literal", "Union", "Optional", "Annotated")


@dataclass(frozen=True)
class Definition:
    """A class or the expression assigned to a name, with the module that it stands in."""

    module: Module
    node: ast.ClassDef | ast.expr
    is_alias: bool = False  # it says itself that it is a type


def find(module: Module, name: str, depth: int = _DEPTH) -> Definition | None:
    """The definition behind a name, None where it is not in a module that may be followed."""
    if name in module.classes:
        return Definition(module, module.classes[name])
    if name in module.constants:
        return Definition(module, module.constants[name], name in module.type_aliases)
    if depth == 0 or name not in module.imports:
        return None
    source, original = module.imports[name]
    target = module.follow(source)
    return None if target is None else find(target, original, depth - 1)


def find_class(module: Module, name: str) -> tuple[Module, ast.ClassDef] | None:
    found = find(module, name)
    return (found.module, found.node) if found is not None and isinstance(found.node, ast.ClassDef) else None


def enumeration(module: Module, name: str) -> Enumeration | None:
    found = find_class(module, name)
    return None if found is None else found[0].enums.get(found[1].name)


def field_of(module: Module, owner: str, name: str) -> tuple[Module, ast.ClassDef, ast.AnnAssign] | None:
    """The declaration of a class's field, inherited ones included."""
    found = find_class(module, owner)
    if found is None:
        return None
    home, node = found
    for base in home.bases(node):
        for item in base.body:
            if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name) and item.target.id == name:
                return home, base, item
    return None


def referred(value: ast.expr | None, module: Module) -> tuple[Module, ast.ClassDef, ast.AnnAssign] | None:
    """The declaration behind a default that is another class's field, as in `x: int = Config.x`."""
    match value:
        case ast.Attribute(value=ast.Name(id=owner), attr=name):
            return field_of(module, owner, name)
        case ast.Call(func=ast.Name(id="get_field"), args=[ast.Name(id=owner), ast.Constant(value=str() as name)]):
            return field_of(module, owner, name)
    return None


def document(owner: ast.ClassDef, field: ast.AnnAssign) -> str:
    """The text under a field's declaration."""
    below = dict(zip(owner.body, owner.body[1:], strict=False)).get(field)
    match below:
        case ast.Expr(value=ast.Constant(value=str() as text)):
            return text
    return ""


def method_of(
    module: Module, owner: ast.ClassDef, name: str, depth: int = _DEPTH
) -> tuple[Module, ast.ClassDef, ast.FunctionDef] | None:
    """A class's method with the module and class that it stands in, those of imported bases included."""
    own = module.method(owner, name)
    if own is not None:
        return module, *own
    for base in (base for here in module.bases(owner) for base in here.bases if isinstance(base, ast.Name)):
        found = find_class(module, base.id) if depth and base.id not in module.classes else None
        inherited = None if found is None else method_of(*found, name, depth - 1)
        if inherited is not None:
            return inherited
    return None


def spelled_out(annotation: ast.expr, module: Module) -> ast.expr:
    """An annotation in which aliases of types are replaced by what they stand for."""
    return _Aliases(module).visit(copy.deepcopy(annotation))  # type: ignore[no-any-return]


class _Aliases(ast.NodeTransformer):
    def __init__(self, module: Module, depth: int = _DEPTH) -> None:
        self.module = module
        self.depth = depth

    def visit_Name(self, node: ast.Name) -> ast.expr:
        found = find(self.module, node.id) if self.depth else None
        if found is None or isinstance(found.node, ast.ClassDef) or not (found.is_alias or _is_type(found.node)):
            return node
        result: ast.expr = _Aliases(found.module, self.depth - 1).visit(copy.deepcopy(found.node))
        return result

    def visit_Attribute(self, node: ast.Attribute) -> ast.expr:
        """A type of a module that was imported under a name."""
        target = self.module.imported_module(ast.unparse(node.value)) if self.depth else None
        return node if target is None else _Aliases(target, self.depth - 1).visit(ast.Name(node.attr, ast.Load()))

    def visit_Constant(self, node: ast.Constant) -> ast.expr:
        """A type written as text, outside of Literal."""
        if not isinstance(node.value, str):
            return node
        try:
            written = ast.parse(node.value, mode="eval").body
        except SyntaxError:
            return node
        return self.visit(written)  # type: ignore[no-any-return]

    def visit_Subscript(self, node: ast.Subscript) -> ast.expr:
        if ast.unparse(node.value).rpartition(".")[2] == "Literal":
            return _literal(node, self.module)
        self.generic_visit(node)
        return node


def _literal(node: ast.Subscript, module: Module) -> ast.expr:
    """A Literal whose members may be Literals by name."""
    members = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
    flat: list[ast.expr] = []
    for member in members:
        found = find(module, member.id) if isinstance(member, ast.Name) else None
        inner = found.node if found is not None else None
        if found is not None and isinstance(inner, ast.Subscript):
            known = _literal(inner, found.module)
            assert isinstance(known, ast.Subscript)  # noqa: S101 - what _literal returns
            flat += known.slice.elts if isinstance(known.slice, ast.Tuple) else [known.slice]
        else:
            flat.append(member)
    return ast.copy_location(ast.Subscript(node.value, ast.Tuple(flat, ast.Load()), ast.Load()), node)


def _is_type(node: ast.expr) -> bool:
    if isinstance(node, ast.Subscript):
        return ast.unparse(node.value).rpartition(".")[2] in _TYPE_FORMS
    return isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr)
