"""What the quantization methods share: naming the modules that stay as they are."""

from typing import Annotated

from llenergymeasure.config.bindings import PartsOfModel

Modules = Annotated[list[str] | None, PartsOfModel("modules")]
