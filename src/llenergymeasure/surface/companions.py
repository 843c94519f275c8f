"""What the PyTorch backend uses beside transformers: torch itself, and torchao's ways to quantize."""

from llenergymeasure.surface.recipes import Family, Package, Part, Recipe

TORCH = Package(
    backend="pytorch",
    name="torch",
    recipes=(
        Recipe(
            "torch.compile",
            (Part("__init__.py", "compile"),),
            given=("model",),
            constants=(("backend", "_dynamo/backends/registry.py", "_default_backend"),),
        ),
        Recipe("torch.autocast", (Part("amp/autocast_mode.py", "autocast"),), given=("device_type",)),
        Recipe("torch.set_float32_matmul_precision", (Part("__init__.py", "set_float32_matmul_precision"),)),
    ),
    required=("__init__.py", "amp/autocast_mode.py"),
)

TORCHAO = Package(
    backend="pytorch",
    name="torchao",
    recipes=(Recipe("torchao.float8.inference.Float8MMConfig", (Part("float8/inference.py", "Float8MMConfig"),)),),
    families=(
        Family("quantization/quant_api.py", "AOBaseConfig", "torchao.quantization", "quantization/__init__.py"),
        Family("quantization/granularity.py", "Granularity", "torchao.quantization", "quantization/__init__.py"),
    ),
    required=("quantization/quant_api.py", "quantization/__init__.py"),
)
