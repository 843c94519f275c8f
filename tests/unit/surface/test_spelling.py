import pytest

from llenergymeasure.surface.spelling import canonical, choices, documented_types, live_spelling, type_key


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("Optional[int]", "int | None"),
        ("typing.Optional[int]", "int | None"),
        ("int | None", "int | None"),
        ("None | int", "int | None"),
        ("Union[int, None, str]", "int | str | None"),
        ("Union[str, Optional[int]]", "str | int | None"),
        ("List[Optional[int]]", "list[int | None]"),
        ("typing.Dict[str, 'Config']", "dict[str, Config]"),
        ('Optional["torch.dtype"]', "torch.dtype | None"),
        ("'Optional[int]'", "int | None"),
        ("Literal['a', 'b'] | None", "Literal['a', 'b'] | None"),
        ("Annotated[int, Field(ge=1)]", "int"),
        ("SkipValidation[Model] | None", "Model | None"),
        ("Literal['a', 'b', 'a']", "Literal['a', 'b']"),
        ("tuple[int, ...]", "tuple[int, ...]"),
        ("Callable[[int, str], bool]", "Callable[[int, str], bool]"),
        ("int | int", "int"),
        ("not a type", ""),
    ],
)
def test_one_spelling_for_a_type(written: str, expected: str) -> None:
    assert canonical(written) == expected


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("int | str | None", "str | int | None", True),
        ("torch.dtype", "dtype", True),
        ("list[a.b.Config]", "list[Config]", True),
        ("int", "int | None", False),
        ("list[int]", "list[str]", False),
        ("Literal['a']", "Literal['b']", False),
    ],
)
def test_order_and_module_prefixes_do_not_make_two_types(one: str, other: str, same: bool) -> None:
    assert (type_key(one) == type_key(other)) is same


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        ("Literal['a', 'b']", ("a", "b")),
        ("Optional[Literal['a']] | Literal[3]", ("a", 3)),
        ("Literal['auto'] | dict", ()),
        ("str", ()),
    ],
)
def test_choices_only_where_nothing_else_is_allowed(annotation: str, expected: tuple[object, ...]) -> None:
    assert choices(annotation) == expected


def test_documented_types() -> None:
    found = documented_types(
        """
        Args:
            top_k (`int`, *optional*, defaults to 50):
                Keep so many.
            config ([`~a.b.Config`] or `dict`, *optional*): Settings.
            ids(`list[int]` or `str`, *optional*):
                Deprecated in 5.1: use others.
        """
    )
    assert found == {
        "top_k": ("int", "Keep so many."),
        "config": ("Config | dict", "Settings."),
        "ids": ("list[int] | str", "Deprecated in 5.1: use others."),
    }


def test_live_annotations_read_like_written_ones() -> None:
    assert live_spelling(dict[str, int] | None) == "dict[str, int] | None"
    assert live_spelling("Optional[int]") == "int | None"
    assert live_spelling(bool) == "bool"
