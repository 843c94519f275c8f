"""One rank of a model that is spread over processes, as the tool starts it, for tests that look inside each rank."""

import dataclasses
import os
import warnings
from typing import Any


def work(rank: int, port: int, cases: list[tuple[str, str, dict[str, Any]]], answers: Any) -> None:
    """Load and run every case (name, model folder, `pytorch:` section); send what this rank holds, or the error."""
    warnings.simplefilter("ignore")
    os.environ |= {
        "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "HF_HUB_OFFLINE": "1",
    }  # fmt: skip
    import torch

    torch.set_num_threads(1)
    for name, model, section in cases:
        try:
            answers.put((name, rank, _run(model, section, rank)))
        except Exception as error:  # noqa: BLE001 - the test says which error it expects
            answers.put((name, rank, {"error": f"{type(error).__name__}: {error}"}))


def _run(model: str, section: dict[str, Any], rank: int) -> dict[str, Any]:
    import torch

    from llenergymeasure.config.models import ExperimentConfig
    from llenergymeasure.core.session import Session, Share

    config = ExperimentConfig.model_validate(
        {"model": model, "prompts": ["The energy"], "output": {"max_tokens": 4}, "pytorch": section}
    )
    device = rank if torch.cuda.is_available() else None
    session = Session(config, Share(rank=rank, ranks=2, device=device))
    effective = session.open().effective
    session.run(lambda: False, lambda _: None)
    (output,) = session.take()
    loaded = session.backend.model
    held = {
        key: tuple((value.to_local() if hasattr(value, "to_local") else value).shape)
        for key, value in loaded.named_parameters()
    }
    asked = getattr(loaded.config, "distributed_config", None)
    settings = dataclasses.asdict(asked) if dataclasses.is_dataclass(asked) else {}
    quantized = effective.values["model"]["quantized_modules"]
    session.close()
    return {"sequences": output.sequences, "held": held, "config": settings, "quantized": quantized}
