"""A stand-in for vLLM that notes what reaches it: real names and signatures of one version, no computation.

It is a test double: it accepts what the version's surface has, refuses every other name as the real API would, and
answers each prompt with one token. The real backend module runs on it unchanged.
"""

from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from llenergymeasure.audit.recorder import Recorder
from llenergymeasure.config.vllm.entry_points import BEAM_SEARCH, GENERATE, LLM

_WORDS = 100
_SPECULATIVE = "vllm.config.SpeculativeConfig"


class VLLMRecorder(Recorder):
    """Implements `Api`; `calls` holds what arrived, per entry point and in order."""

    def _makers(self) -> Mapping[str, Callable[[], Any]]:
        return {
            LLM: self._engine,
            "vllm.platforms.current_platform": lambda: SimpleNamespace(is_cpu=lambda: False),
            "torch.cuda.device_count": lambda: lambda: 1 << 20,
            "torch.set_num_threads": lambda: lambda _: None,
            "os.environ": dict,
            "vllm.EngineArgs": lambda: (
                lambda **_: SimpleNamespace(create_model_config=lambda: SimpleNamespace(get_num_experts=lambda: 0))
            ),
        }

    def _engine(self) -> Any:
        def make(**arguments: Any) -> "_Engine":
            self.note(LLM, arguments)
            if isinstance(options := arguments.get("speculative_config"), Mapping):  # the engine makes this class of it
                self.note(_SPECULATIVE, options)
            return _Engine(self)

        return make


class _Tokenizer:
    chat_template = "template"
    all_special_ids = (0, 1)

    def __len__(self) -> int:
        return _WORDS

    def encode(self, text: str, **arguments: Any) -> list[int]:
        del arguments
        return [2 + len(word) for word in text.split()]

    def apply_chat_template(self, conversation: Any, **arguments: Any) -> str:
        del arguments
        return str(conversation[0]["content"])


class _Engine:
    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        model = SimpleNamespace(max_model_len=1 << 20, get_diff_sampling_param=dict)
        self.llm_engine = SimpleNamespace(model_config=model, engine_core=SimpleNamespace(shutdown=lambda: None))

    def get_tokenizer(self) -> _Tokenizer:
        return _Tokenizer()

    def collective_rpc(self, method: str, args: tuple[Any, ...] = ()) -> list[Any]:
        del args
        return [{} if method in ("llem_config", "llem_facts") else None]

    def reset_prefix_cache(self, **arguments: Any) -> None:
        """Nothing is cached."""

    def generate(self, prompts: Sequence[Any], **arguments: Any) -> list[Any]:
        self._recorder.note(GENERATE, {"prompts": prompts, **arguments})
        return [
            SimpleNamespace(outputs=[SimpleNamespace(token_ids=[2], finish_reason="length")], metrics=None)
            for _ in prompts
        ]

    def beam_search(self, prompts: Sequence[Any], **arguments: Any) -> list[Any]:
        self._recorder.note(BEAM_SEARCH, {"prompts": prompts, **arguments})
        return [
            SimpleNamespace(
                sequences=[SimpleNamespace(tokens=[*prompt["prompt_token_ids"], 2], finish_reason="length")]
            )
            for prompt in prompts
        ]
