"""What several commands take alike."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

Config = Annotated[Path, typer.Argument(help="configuration: .yaml, .toml or .json", show_default=False)]


class Format(StrEnum):
    """How a command prints what it found."""

    TEXT = "text"
    JSON = "json"
