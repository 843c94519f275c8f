import ast
from textwrap import dedent

import pytest

from llenergymeasure.surface.outline import outline
from llenergymeasure.surface.packages import packages
from llenergymeasure.surface.sources import Module

SOURCE = dedent(
    '''
    LIMIT = 3

    @decorated(
        1,
    )
    def first(
        a,
        b=1,
    ) -> int:
        """Words.

        def second(): these are words, too.
        """
        return a

    class C:
        size = 1

        @property
        def dropped(self):
            return "x"

        def kept(self, value=LIMIT):
            def inner():
                return value
            return inner
    '''
)


def test_what_is_kept_stays_where_and_as_it_was() -> None:
    module = Module("test", SOURCE, lambda name, body: name == "kept")
    whole = Module("test", SOURCE)
    kept, same = module.method(module.classes["C"], "kept"), whole.method(whole.classes["C"], "kept")
    assert kept is not None
    assert same is not None
    assert ast.dump(kept[1], include_attributes=True) == ast.dump(same[1], include_attributes=True)
    assert module.constants.keys() == whole.constants.keys()


def test_what_is_dropped_has_no_body() -> None:
    text = outline(SOURCE, lambda name, body: False)
    assert "return" not in text
    assert len(text.splitlines()) == len(SOURCE.splitlines())


def test_a_body_may_be_kept_for_what_it_says() -> None:
    text = outline(SOURCE, lambda name, body: 'return "x"' in body)
    assert 'return "x"' in text
    assert "return inner" not in text


def test_text_that_cannot_be_cut_is_read_whole() -> None:
    source = 'def f():\n    """\nwords on the left\n    """\n    return 1\n\ndef g():\n    return 2\n'
    with pytest.raises(SyntaxError):
        ast.parse(outline(source, lambda name, body: name == "g"))
    assert "return 1" in ast.unparse(Module("test", source, lambda name, body: name == "g").tree)


def test_modules_read_for_a_class_are_read_whole() -> None:
    interests = packages("pytorch")["transformers"].interests()
    assert interests["modeling_utils.py"].names == {"from_pretrained"}
    assert "generation/configuration_utils.py" not in interests
    assert interests["generation/utils.py"].covers("any", 'backend = cache_config.pop("backend", "quanto")')


def test_somebody_elses_escapes_are_not_reported() -> None:
    assert Module("test", 'PATTERN = "\\."\n').constants.keys() == {"PATTERN"}  # every warning is an error here
