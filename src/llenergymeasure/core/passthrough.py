"""What may be passed through: parameters that no field covers and that the ledger does not rule out."""

import difflib

from llenergymeasure.config.bindings import Target, walk
from llenergymeasure.config.lowering import Calls, lower
from llenergymeasure.config.models import ExperimentConfig
from llenergymeasure.config.pytorch import entry_points as pytorch
from llenergymeasure.config.vllm import entry_points as vllm
from llenergymeasure.errors import RequestError
from llenergymeasure.surface import ledger
from llenergymeasure.surface.model import Surface

CALLED = {"pytorch": pytorch.CALLED, "vllm": vllm.CALLED}
SECRETS = ("token", "use_auth_token", "hf_token")
# The model's own configuration takes overrides that no signature lists, and refuses what it does not know.
_REFUSES_ITSELF = (pytorch.FROM_PRETRAINED,)
_TYPING_ERROR = 0.85


def check_passthrough(config: ExperimentConfig, calls: Calls, surface: Surface) -> None:
    """What is passed through must reach a call, must not take a field's place, and must act.

    Raises:
        RequestError: names the entry point and parameter as the user wrote them, and why they cannot be passed.
    """
    fields = lower(config.model_copy(update={"passthrough": {}})).origins
    bound = _bound(config.backend)
    for target, path in calls.origins.items():
        if not path.startswith("passthrough."):
            continue
        if target in fields:
            raise RequestError(f"{path}: contradicts {fields[target]}, which sets the same parameter", f"remove {path}")
        if target.name in SECRETS:
            raise RequestError(
                f"{path}: a secret would stand in the result", "put it into the environment, as HF_TOKEN"
            )
        if target.entry_point not in CALLED[config.backend]:
            raise RequestError(
                f"{path}: would be ignored: this tool makes no call of its own to {target.entry_point}",
                f"passthrough reaches {', '.join(CALLED[config.backend])}",
            )
        if target in bound:
            raise RequestError(f"{path}: is the field {bound[target]}", f"set {bound[target]}, which checks its value")
        _check_ledger(target, path, config.backend)
        if surface.find(target.entry_point, target.name) is None:
            _check_unlisted(target, path, surface, bound)


def _bound(backend: str) -> dict[Target, str]:
    """The field that sets each parameter."""
    return {target: field.path for field in walk(ExperimentConfig, backend) for target in field.targets(backend)}


def _check_ledger(target: Target, path: str, backend: str) -> None:
    entry = ledger.load(backend).find(target.entry_point, target.name)
    if entry is None or entry.kind == "passthrough":
        return
    why = "the tool sets it itself" if entry.kind == "owned" else entry.category
    raise RequestError(f"{path}: cannot be passed through ({why}): {entry.reason}", f"remove {path}")


def _check_unlisted(target: Target, path: str, surface: Surface, bound: dict[Target, str]) -> None:
    """A name that an open entry point takes without listing it: often a typing error, or it belongs elsewhere."""
    for other, field in bound.items():
        if other.name == target.name and other.entry_point in CALLED[surface.backend]:
            raise RequestError(f"{path}: is the field {field}", f"set {field}, which checks its value")
    names = list(surface.entry_points[target.entry_point].parameters)
    itself = target.entry_point in _REFUSES_ITSELF
    near = difflib.get_close_matches(target.name, names, n=1, cutoff=_TYPING_ERROR if itself else 0.6)
    if near or not itself:
        raise RequestError(
            f"{path}: {surface.package} {surface.version} lists no parameter {target.name} of {target.entry_point}",
            f"did you mean {near[0]}?" if near else f"`llem audit coverage {surface.backend}` lists what there is",
        )
