"""How the process runs on the real API: compilation, casts, precision of products."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from llenergymeasure.audit.tiny import make_tiny_llama
from llenergymeasure.core.inference_backends.base import NotAsRequestedError

from .fixtures_running import calls_of, opened, run, run_ids

Load = Callable[..., Any]
PROMPT = tuple(range(5, 16))


# torch's tracer instantiates an autograd function of its own, and warns of it.
pytestmark = pytest.mark.filterwarnings("ignore:.*autograd.function.Function.* should not be instantiated")


@pytest.fixture
def compiler() -> Iterator[list[dict[str, Any]]]:
    """A compiler backend under the name `recording` that runs the graph as it is and notes what it is told."""
    import torch
    from torch._dynamo.backends import registry

    told: list[dict[str, Any]] = []

    def recording(graph: Any, inputs: Any, **options: Any) -> Any:
        told.append({"inputs": inputs, **options})
        return graph.forward

    registry.register_backend(recording, name="recording")
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    yield told
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    for known in (registry._BACKENDS, registry._COMPILER_FNS):
        known.pop("recording", None)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tracing takes its time per layer."""
    return make_tiny_llama(tmp_path_factory.mktemp("small"), num_hidden_layers=1)


@pytest.mark.field("torch_compile", "observed")
@pytest.mark.field("torch_compile.backend", "observed")
def test_forward_pass_is_compiled(load: Load, small: Path, compiler: list[dict[str, Any]]) -> None:
    plain = [output.sequences for output in run(load({}, model=small, max_tokens=3))]
    assert compiler == []
    backend = load({"torch_compile": {"backend": "recording"}}, model=small, max_tokens=3)
    assert [output.sequences for output in run(backend)] == plain
    assert compiler
    backend.verify_ran()


def test_compilation_that_did_not_happen_is_an_error(load: Load, compiler: list[dict[str, Any]]) -> None:
    backend = load({"torch_compile": {"backend": "recording"}})
    with pytest.raises(NotAsRequestedError, match=r"pytorch\.torch_compile: .* no graph was compiled"):
        backend.verify_ran()


def test_decoding_that_is_not_compiled_is_an_error_before_the_window(
    small: Path, compiler: list[dict[str, Any]]
) -> None:
    """transformers takes the options and compiles on some devices only."""
    import torch

    decoding = {"cache_implementation": "static", "compile_config": {"backend": "recording"}}
    with opened(small, {"pytorch": decoding}) as (session, _):
        if torch.cuda.is_available():
            session.warm_up()
            assert compiler
            return
        with pytest.raises(NotAsRequestedError, match=r"pytorch\.compile_config: .* no graph was compiled"):
            session.warm_up()


@pytest.mark.field("torch_compile.mode", "observed")
@pytest.mark.field("torch_compile.options", "observed")
@pytest.mark.parametrize(
    ("option", "value"), [("mode", "max-autotune-no-cudagraphs"), ("options", {"epilogue_fusion": True})]
)
def test_compiler_is_told(load: Load, small: Path, compiler: list[dict[str, Any]], option: str, value: Any) -> None:
    run(load({"torch_compile": {"backend": "recording", option: value}}, model=small, max_tokens=1))
    assert {str(told[option]) for told in compiler} == {str(value)}


@pytest.mark.field("torch_compile.dynamic", "observed")
@pytest.mark.parametrize("dynamic", [True, False])
def test_shapes_are_dynamic(load: Load, small: Path, compiler: list[dict[str, Any]], dynamic: bool) -> None:
    import torch

    backend = load({"torch_compile": {"backend": "recording", "dynamic": dynamic}}, model=small, max_tokens=1)
    run_ids(backend, PROMPT)
    symbolic = {isinstance(item, torch.SymInt) for told in compiler for item in told["inputs"]}
    assert (True in symbolic) is dynamic


@pytest.mark.field("torch_compile.fullgraph", "observed")
@pytest.mark.parametrize("whole", [True, False])
def test_a_break_in_the_graph_is_an_error(load: Load, small: Path, compiler: list[dict[str, Any]], whole: bool) -> None:
    import torch

    backend = load({"torch_compile": {"backend": "recording", "fullgraph": whole}}, model=small, max_tokens=1)
    backend.model.lm_head.register_forward_hook(lambda *_: torch._dynamo.graph_break())
    if not whole:
        assert len(run(backend)[0].sequences[0][0]) == 1
        return
    with pytest.raises(torch._dynamo.exc.Unsupported, match="graph_break"):
        run(backend)


@pytest.mark.field("autocast", "observed")
@pytest.mark.parametrize("dtype", ["bfloat16", "float16", None])
def test_operations_are_cast(load: Load, dtype: str | None) -> None:
    import torch

    backend = load({"autocast": dtype, "dtype": "float32"} if dtype else {"dtype": "float32"})
    projection = backend.model.model.layers[0].self_attn.q_proj
    with calls_of(projection) as outputs:
        run(backend)
    assert {output.dtype for output in outputs} == {getattr(torch, dtype or "float32")}
    assert projection.weight.dtype == torch.float32


@pytest.mark.field("allow_tf32", "observed")
@pytest.mark.parametrize(("allowed", "precision"), [(True, "high"), (False, "highest")])
def test_precision_of_products(load: Load, allowed: bool, precision: str) -> None:
    import torch

    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        load({"allow_tf32": allowed})
        assert torch.get_float32_matmul_precision() == precision
        load({})
        assert torch.get_float32_matmul_precision() == precision
    finally:
        torch.set_float32_matmul_precision(before)
