from textwrap import dedent
from typing import Any

import pytest

from llenergymeasure.surface import static
from llenergymeasure.surface.model import ACTIVE, DEPRECATED, IGNORED, UNKNOWN
from llenergymeasure.surface.sources import Module

from .package import constructor, function


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ('a = kwargs.pop("a", 1); print(a)', {"a": ("pop", 1, ACTIVE)}),
        ('a = kwargs.get("a"); print(a)', {"a": ("get", UNKNOWN, ACTIVE)}),
        ('if "a" in kwargs: print(1)', {"a": ("contains", UNKNOWN, ACTIVE)}),
        ('print(kwargs["a"])', {"a": ("subscript", UNKNOWN, ACTIVE)}),
        ('kwargs["a"] = 1', {}),
        ('other.pop("a", 1)', {}),
        ('_ = kwargs.pop("a", None)', {"a": ("pop", None, IGNORED)}),
        ('kwargs.pop("a", None)', {"a": ("pop", None, IGNORED)}),
        ('unused = kwargs.pop("a", None)', {"a": ("pop", None, IGNORED)}),
        ('g(**kwargs)\n    _ = kwargs.pop("a", None)', {"a": ("pop", None, ACTIVE)}),
        ('_ = kwargs.pop("a", 1); print(kwargs.get("a"))', {"a": ("get", UNKNOWN, ACTIVE)}),
        ('a = kwargs.pop("_hidden", 1); print(a)', {}),
        (
            'd = {n: kwargs.pop(n) for n in ["a", "b"]}',
            {"a": ("loop", UNKNOWN, ACTIVE), "b": ("loop", UNKNOWN, ACTIVE)},
        ),
        ('names = ["a"]; d = {n: kwargs[n] for n in names if n in kwargs}', {"a": ("subscript", UNKNOWN, ACTIVE)}),
        ('a = kwargs.pop("a", kwargs.pop("old", 3)); print(a)', {"a": ("pop", 3, ACTIVE), "old": ("pop", 3, ACTIVE)}),
        ('a = kwargs.pop("a", g())', {"a": ("pop", {"expr": "g()"}, IGNORED)}),
    ],
)
def test_names_taken_in_the_body(body: str, expected: dict[str, tuple[str, Any, str]]) -> None:
    found = function("def f(**kwargs):\n    " + body)
    assert {name: (p.via, p.default, p.status) for name, p in found.items()} == expected


def test_names_dropped_in_a_loop_are_ignored() -> None:
    found = function(
        """
        def f(**kwargs):
            for name in ["mirror", "from_tf"]:
                _ = kwargs.pop(name, None)
        """
    )
    assert {name: p.status for name, p in found.items()} == {"mirror": IGNORED, "from_tf": IGNORED}


def test_a_loop_over_the_keyword_arguments_names_them() -> None:
    found = function(
        """
        class C:
            NAMES = ["bos", "eos"]
            def f(self, **kwargs):
                for key in kwargs:
                    check(key)
                for key, value in kwargs.items():
                    if key in self.NAMES: setattr(self, key, value)
                    elif key == "extra": self.extra = value
        """,
        "C.f",
    )
    assert set(found) == {"bos", "eos", "extra"}


@pytest.mark.parametrize(
    ("signature", "name", "expected"),
    [
        ("a: int = 1", "a", ("int", 1, False)),
        ("a: 'Optional[int]' = None", "a", ("int | None", None, False)),
        ("a", "a", ("", UNKNOWN, True)),
        ("*, a=-1", "a", ("", -1, False)),
        ("a=(128, 128)", "a", ("", [128, 128], False)),
        ("a=Kind.ONE", "a", ("", "one", False)),
        ("a=LIMIT", "a", ("", 65536, False)),
        ("a=torch.float32", "a", ("", {"expr": "torch.float32"}, False)),
        ("a=PerRow()", "a", ("", {"expr": "PerRow()"}, False)),
        ("a=float('inf')", "a", ("", {"expr": "float('inf')"}, False)),
        ("a=not_here", "a", ("", {"expr": "not_here"}, False)),
    ],
)
def test_signature(signature: str, name: str, expected: tuple[str, Any, bool]) -> None:
    text = f"class Kind(str, Enum):\n    ONE = 'one'\nLIMIT = 2**16\ndef f({signature}): ...\n"
    parameter = function(text)[name]
    assert (parameter.type, parameter.default, parameter.required) == expected


def test_self_and_stars_are_no_parameters() -> None:
    assert set(function("class C:\n    def f(self, a, *args, b=1, **rest): ...", "C.f")) == {"a", "b"}
    assert set(function("class C:\n    @classmethod\n    def f(cls, a): ...", "C.f")) == {"a"}
    assert set(function("class C:\n    @staticmethod\n    def f(a): ...", "C.f")) == {"a"}


def test_the_last_definition_counts_where_overloads_stand_before_it() -> None:
    assert set(function("@overload\ndef f(a): ...\ndef f(b): ...\n")) == {"b"}


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ('a = kwargs.pop("a", None)  # kept for BC', DEPRECATED),
        ('# Deprecated in 5.1\n    b = kwargs.pop("b", 1)\n    a = kwargs.pop("a", None)', DEPRECATED),
        ('# Deprecated in 5.1\n    b = kwargs.pop("b", 1)\n\n    a = kwargs.pop("a", None)', ACTIVE),
        (
            'a = kwargs.pop("a", None)\n    if a is not None:\n        warnings.warn("`a` is deprecated, use b")',
            DEPRECATED,
        ),
        (
            'a = kwargs.pop("a", None)\n    if a is not None:\n        warnings.warn("`b` is deprecated, a is not")',
            ACTIVE,
        ),
        ('a = kwargs.pop("a", None)\n    if a is not None:\n        raise ValueError("a is deprecated")', ACTIVE),
    ],
)
def test_deprecation_as_the_source_shows_it(body: str, status: str) -> None:
    assert function(f"def f(**kwargs):\n    {body}\n    print(a)")["a"].status == status


def test_a_type_from_the_documentation_where_none_is_annotated() -> None:
    found = function(
        '''
        def f(a=None, b: int = 1, **kwargs):
            """Does.

            Args:
                a (`float`, *optional*): One.
                b (`str`): Two.
                c (`bool`, *optional*, defaults to `False`): Three.
            """
            c = kwargs.pop("c", False)
            return c
        '''
    )
    assert {name: p.type for name, p in found.items()} == {"a": "float | None", "b": "int", "c": "bool"}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ('if a is None:\n        a = "auto"', "auto"),
        ("if a is None:\n        a = torch.float32", {"expr": "torch.float32"}),
        ("a = [] if a is None else a", []),
        ("a = a if a is not None else 3", 3),
        ('if b == "x":\n        if a is None:\n            a = 16', 16),
        ('if b == "y":\n        a = 16\n    else:\n        a = 32', 32),
        ("if a is None:\n        a = compute()", UNKNOWN),
        ("if unknown():\n        a = 1", UNKNOWN),
        ("if unknown():\n        return\n    if a is None:\n        a = 1", UNKNOWN),
        ("if unknown():\n        raise ValueError\n    if a is None:\n        a = 1", 1),
        ("if unknown():\n        raise ValueError\n    else:\n        a = 1", 1),
        ("if unknown():\n        a = compute()\n    if a is None:\n        a = 1", UNKNOWN),
        ("if a is not None:\n        a = 1", UNKNOWN),
        ("for i in range(3):\n        a = 1", UNKNOWN),
        ("a = compute()\n    if a is None:\n        a = 1", UNKNOWN),
    ],
)
def test_a_default_filled_in_the_body(body: str, expected: Any) -> None:
    assert function(f"def f(a=None, b='x'):\n    {body}")["a"].resolved == expected


def test_constructors_and_the_methods_they_call() -> None:
    read = constructor(
        """
        class C:
            def __init__(self, bits: int = 4, backend=None, group: int = 1, method: str = "a", **kwargs):
                self.bits = bits
                self.backend = backend.lower() if isinstance(backend, str) else backend
                self.post_init()

            def post_init(self):
                if self.bits not in [2, 4]:
                    raise ValueError
                if self.backend is None:
                    self.backend = "auto"
                if self.group <= 0:
                    raise ValueError
                if self.method == "a": ...
                elif self.method == "b": ...
                else:
                    raise ValueError
        """
    )
    assert read.parameters["bits"].choices == (2, 4)
    assert read.parameters["backend"].resolved == "auto"
    assert read.parameters["group"].minimum == 1
    assert not read.open


def _filled(given: tuple[str, ...]) -> dict[str, Any]:
    source = """
        @dataclass
        class C:
            model: str | None = None
            method: str | None = None
            other: str | None = None
            third: str | None = None
            def __post_init__(self):
                if self.method is None:
                    if self.model in ("ngram", "[ngram]"):
                        self.method = "ngram"
                    else:
                        self.method = "draft"
                if self.other is None:
                    self.other = "x" if self.model == "y" else "z"
                if self.third is None:
                    self.third = "none" if self.model is None else "some"
    """
    module = Module("test", dedent(source))
    read = static.constructor(module, module.classes["C"], given=given)
    return {name: p.resolved for name, p in read.parameters.items() if p.resolved is not UNKNOWN}


@pytest.mark.parametrize(
    ("given", "expected"),
    [((), {"method": "draft", "other": "z", "third": "none"}), (("model",), {"third": "some"})],
)
def test_what_hangs_on_an_argument_that_is_always_given(given: tuple[str, ...], expected: dict[str, Any]) -> None:
    assert _filled(given) == expected


def test_what_a_base_class_takes_counts_unless_it_is_passed() -> None:
    read = constructor(
        """
        class Base:
            def __init__(self, bits: int, size: int = 8, **kwargs):
                legacy = kwargs.pop("legacy", None)
                print(legacy)

        class C(Base):
            def __init__(self, bits: int = 4, **kwargs):
                super().__init__(bits=bits, **kwargs)
        """
    )
    assert {name: p.default for name, p in read.parameters.items()} == {"bits": 4, "size": 8, "legacy": None}
    assert not read.parameters["bits"].required


@pytest.mark.parametrize(
    ("call", "expected"),
    [("bits=bits, **kwargs", {"bits", "size"}), ("bits=bits, size=16, **kwargs", {"bits"}), ("bits=bits", {"bits"})],
)
def test_a_base_class_takes_nothing_that_does_not_reach_it(call: str, expected: set[str]) -> None:
    read = constructor(
        f"class Base:\n    def __init__(self, bits, size=8): ...\n"
        f"class C(Base):\n    def __init__(self, bits=4, **kwargs):\n        super().__init__({call})\n"
    )
    assert set(read.parameters) == expected


def test_the_checks_of_a_base_constructor_are_the_class_s_own_methods() -> None:
    read = constructor(
        """
        class Base:
            def __init__(self, kind="a"):
                self.kind = kind
                self.post_init()

            def post_init(self):
                if self.kind not in ("a", "b"):
                    raise ValueError

        class C(Base):
            def __init__(self, kind="c"):
                super().__init__(kind=kind)

            def post_init(self):
                if self.kind not in ("c", "d"):
                    raise ValueError
        """
    )
    assert read.parameters["kind"].choices == ("c", "d")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("for k, v in kwargs.items(): setattr(self, k, v)", True),
        ("self.rest = kwargs", True),
        ("self.rest = dict(kwargs)", True),
        ("make(**kwargs)", True),
        ("super().__init__(**kwargs)", False),
        ("pass", False),
        ('logger.info("unused", kwargs)', False),
    ],
)
def test_open_only_where_further_names_have_a_use(body: str, expected: bool) -> None:
    assert constructor(f"class C:\n    def __init__(self, **kwargs):\n        {body}").open is expected


def test_dataclass_fields() -> None:
    read = constructor(
        '''
        class Options(dict[str, int]): ...

        @dataclass
        class Base:
            first: int = 1

        @dataclass
        class C(Base):
            """C.

            Args:
                old (`int`, *optional*): Deprecated in 5.17: use size.
            """

            size: int | None = None
            kind: Literal["a", "b"] = "a"
            needed: str
            made: list = field(default_factory=list)
            options: Options = field(default_factory=Options)
            ordered: dict = field(default_factory=OrderedDict)
            old: int | None = None
            shared: ClassVar[int] = 1
            derived: int = field(init=False)
            _hidden = None

            def __post_init__(self):
                if self.size is None:
                    self.size = 4
        '''
    )
    assert set(read.parameters) == {"first", "size", "kind", "needed", "made", "options", "ordered", "old"}
    assert read.parameters["size"].resolved == 4
    assert read.parameters["kind"].choices == ("a", "b")
    assert read.parameters["needed"].required
    assert read.parameters["made"].default == []
    assert read.parameters["options"].default == {}
    assert read.parameters["ordered"].default == {"expr": "field(default_factory=OrderedDict)"}
    assert read.parameters["old"].status == DEPRECATED


@pytest.mark.parametrize(
    ("test", "choices", "minimum", "maximum"),
    [
        ("a not in ['x', 'y']", ("x", "y"), None, None),
        ("a is not None and a not in ALLOWED", ("x", "z", None), None, None),
        ("a not in ALLOWED + ('w',)", ("x", "z", "w"), None, None),
        ("a != 3", (3,), None, None),
        ("a <= 0", (), 1, None),
        ("a < 0", (), 0, None),
        ("a > 8", (), None, 8),
        ("a < 1 or a > 8", (), 1, 8),
        ("not 0 < a < 8", (), 0, 8),
        ("0 > a", (), 0, None),
        ("a != -1 and a <= 0", (), None, None),
        ("other and a <= 0", (), None, None),
        ("a <= other", (), None, None),
        ("a < 0 or a > other", (), 0, None),
    ],
)
def test_refused_values(test: str, choices: tuple[Any, ...], minimum: float | None, maximum: float | None) -> None:
    parameter = function(
        f"ALLOWED = ('x', 'z')\ndef f(a: int = 1, other=None):\n    if {test}:\n        raise ValueError\n"
    )["a"]
    assert (parameter.choices, parameter.minimum, parameter.maximum) == (choices, minimum, maximum)


def test_a_bound_by_another_field_is_none_by_itself() -> None:
    read = constructor(
        "@dataclass\nclass C:\n    low: int = 0\n    high: int = 0\n"
        "    def __post_init__(self):\n        if self.low < 0 or self.low > self.high:\n            raise ValueError\n"
    )
    assert (read.parameters["low"].minimum, read.parameters["low"].maximum) == (0, None)


def test_bounds_of_real_numbers_name_their_end() -> None:
    found = function("def f(a: float = 1.0):\n    if a <= 0:\n        raise ValueError\n")
    assert found["a"].minimum == 0
