"""Measure what LLM inference costs, with proof that every parameter you set really arrived.

Importing the package loads no backend; names below are imported when they are first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llenergymeasure.config.backend_configs import PyTorchConfig
    from llenergymeasure.config.loading import load_config
    from llenergymeasure.config.models import ExperimentConfig
    from llenergymeasure.core.experiment import run_experiment
    from llenergymeasure.core.results import Result

__all__ = ["ExperimentConfig", "PyTorchConfig", "Result", "load_config", "run_experiment"]

_HOMES = {
    "ExperimentConfig": "llenergymeasure.config.models",
    "PyTorchConfig": "llenergymeasure.config.backend_configs",
    "Result": "llenergymeasure.core.results",
    "load_config": "llenergymeasure.config.loading",
    "run_experiment": "llenergymeasure.core.experiment",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
