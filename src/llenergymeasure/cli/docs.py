"""`llem docs`: write the generated pages, or check that they are what would be written."""

import sys
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    rich_markup_mode=None, no_args_is_help=True, help="The generated pages: parameter reference and compatibility."
)

Checkout = Annotated[Path, typer.Option(help="the checkout whose docs folder is meant")]


@app.command("build")
def build(checkout: Checkout = Path()) -> None:
    """Write every generated page."""
    from llenergymeasure.core.writing import write_whole
    from llenergymeasure.reference.pages import generated_pages

    for path, text in generated_pages(checkout).items():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, text)
        sys.stdout.write(f"{path}\n")


@app.command("check")
def check(checkout: Checkout = Path()) -> None:
    """Exit code 1 when a generated page is not what the generator would write."""
    from llenergymeasure.errors import FindingError
    from llenergymeasure.reference.pages import generated_pages

    stale = [
        str(path)
        for path, text in generated_pages(checkout).items()
        if not path.is_file() or path.read_text(encoding="utf-8") != text
    ]
    if stale:
        raise FindingError(f"not up to date: {', '.join(stale)}", "run `llem docs build` and commit the result")
