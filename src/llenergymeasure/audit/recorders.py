"""The recorder that stands for each backend."""

from llenergymeasure.audit.recorder import Recorder
from llenergymeasure.audit.recorder_vllm import VLLMRecorder
from llenergymeasure.surface.model import Surface

_RECORDERS: dict[str, type[Recorder]] = {"pytorch": Recorder, "vllm": VLLMRecorder}


def recorder_of(surface: Surface) -> Recorder:
    """A new one for a version of a backend."""
    return _RECORDERS[surface.backend](surface)
