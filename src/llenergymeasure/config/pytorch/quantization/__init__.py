"""Quantization of the weights while loading: one method with its options, each method a variant."""

from typing import Annotated

from pydantic import Field

from llenergymeasure.config.pytorch.quantization.bitsandbytes import Bitsandbytes4Bit, Bitsandbytes8Bit
from llenergymeasure.config.pytorch.quantization.calibrated import AWQ, GGUF, GPTQ, AutoRound, CompressedTensors
from llenergymeasure.config.pytorch.quantization.floating import (
    NVFP4,
    FbgemmFP8,
    FineGrainedFP8,
    FourOverSix,
    FPQuant,
    Mxfp4,
)
from llenergymeasure.config.pytorch.quantization.integer import EETQ, HIGGS, HQQ, SINQ, Quanto
from llenergymeasure.config.pytorch.quantization.torchao import TorchAO

Quantization = Annotated[
    Bitsandbytes8Bit
    | Bitsandbytes4Bit
    | TorchAO
    | GPTQ
    | AWQ
    | HQQ
    | Quanto
    | FineGrainedFP8
    | CompressedTensors
    | AutoRound
    | EETQ
    | FbgemmFP8
    | FourOverSix
    | FPQuant
    | GGUF
    | HIGGS
    | Mxfp4
    | NVFP4
    | SINQ,
    Field(discriminator="method"),
]

__all__ = [
    "AWQ",
    "EETQ",
    "GGUF",
    "GPTQ",
    "HIGGS",
    "HQQ",
    "NVFP4",
    "SINQ",
    "AutoRound",
    "Bitsandbytes4Bit",
    "Bitsandbytes8Bit",
    "CompressedTensors",
    "FPQuant",
    "FbgemmFP8",
    "FineGrainedFP8",
    "FourOverSix",
    "Mxfp4",
    "Quantization",
    "Quanto",
    "TorchAO",
]
