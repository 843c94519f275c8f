"""The vLLM backend on recorded calls: what reaches the engine and its requests, and in which order."""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock, call

import pytest

from llenergymeasure.audit.recorder import Built
from llenergymeasure.audit.recorder_vllm import VLLMRecorder
from llenergymeasure.config.models import ExperimentConfig
from llenergymeasure.config.vllm.entry_points import (
    BEAM_SEARCH,
    BEAM_SEARCH_PARAMS,
    GENERATE,
    LLM,
    LORA_REQUEST,
    SAMPLING_PARAMS,
)
from llenergymeasure.core.batching import Prompt
from llenergymeasure.core.checks import check_before_loading
from llenergymeasure.core.inference_backends.base import Share
from llenergymeasure.core.inference_backends.vllm import EXTENSION, VLLMBackend
from llenergymeasure.core.preview import preview
from llenergymeasure.core.session import Session, version_calls
from llenergymeasure.errors import RequestError
from llenergymeasure.surface import snapshots

Configured = Callable[..., ExperimentConfig]
Load = Callable[..., VLLMBackend]
# Statistics carry the times of single requests, the extension reads the workers back.
OWNED = {"disable_log_stats": False, "worker_extension_cls": EXTENSION}
# A rank for each of three prompts; beam search takes them since 0.33.
RANKED = [
    ({"scheduling_policy": "priority", "priority": [7, 8, 9]}, GENERATE, "vllm.priority"),
    ({"beam_search": {"beam_width": 2, "priority": [7, 8, 9]}}, BEAM_SEARCH, "vllm.beam_search.priority"),
]
TWO = [Prompt(0, (3, 4)), Prompt(1, (5,))]


@pytest.fixture
def made(vllm_configured: Configured, vllm_recorder: VLLMRecorder) -> Load:
    def make(vllm: dict[str, Any] | None = None, **fields: Any) -> VLLMBackend:
        return VLLMBackend(version_calls(vllm_configured(vllm, **fields), vllm_recorder), vllm_recorder)

    return make


@pytest.fixture
def load(made: Load) -> Load:
    def make(vllm: dict[str, Any] | None = None, **fields: Any) -> VLLMBackend:
        backend = made(vllm, **fields)
        backend.load()
        return backend

    return make


def run(backend: VLLMBackend) -> Any:
    (batch,) = backend.prepare(TWO)
    return backend.generate(batch)


class TestTheEngine:
    def test_gets_model_and_seed_and_what_the_tool_needs(self, load: Load, vllm_recorder: VLLMRecorder) -> None:
        load()
        assert vllm_recorder.calls[LLM] == [{"model": "m", "seed": 0, **OWNED}]

    def test_gets_what_is_set_and_nothing_besides(self, load: Load, vllm_recorder: VLLMRecorder) -> None:
        load({"max_num_seqs": 4, "enforce_eager": True, "temperature": 0.5}, seed=7)
        assert vllm_recorder.calls[LLM] == [
            {"model": "m", "seed": 7, "max_num_seqs": 4, "enforce_eager": True, **OWNED}
        ]

    def test_gets_objects_of_its_own_classes(self, load: Load, vllm_recorder: VLLMRecorder) -> None:
        load({"compilation_config": {"mode": 3, "pass_config": {"eliminate_noops": True}}})
        (sent,) = vllm_recorder.calls[LLM]
        passes = Built("vllm.config.PassConfig", (("eliminate_noops", True),))
        assert sent["compilation_config"] == Built(
            "vllm.config.CompilationConfig", (("mode", 3), ("pass_config", passes))
        )

    @pytest.mark.parametrize("version", snapshots.versions("vllm"))
    def test_runs_on_every_pinned_version(self, vllm_configured: Configured, version: str) -> None:
        recorder = VLLMRecorder(snapshots.load("vllm", version))
        backend = VLLMBackend(version_calls(vllm_configured({"max_num_seqs": 4}), recorder), recorder)
        backend.load()
        assert backend.count(run(backend)).sequences == (((2,),), ((2,),))
        assert recorder.calls[LLM] == [{"model": "m", "seed": 0, "max_num_seqs": 4, **OWNED}]


class TestRequests:
    def test_ask_for_what_is_set(self, load: Load) -> None:
        backend = load({"temperature": 0.5, "stop": ["x"]}, output={"max_tokens": 8, "min_tokens": 2})
        asked = {"max_tokens": 8, "min_tokens": 2, "temperature": 0.5, "stop": ["x"]}
        assert backend.params == Built(SAMPLING_PARAMS, tuple(sorted(asked.items())))

    def test_start_from_the_checkpoints_own_defaults_as_in_the_engines_generate(
        self, load: Load, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from llenergymeasure.audit import recorder_vllm

        real = recorder_vllm._Engine.__init__

        def with_defaults(engine: Any, recorder: Any) -> None:
            real(engine, recorder)
            engine.llm_engine.model_config.get_diff_sampling_param = lambda: {"temperature": 0.6, "top_p": 0.9}

        monkeypatch.setattr(recorder_vllm._Engine, "__init__", with_defaults)
        asked = dict(load({"temperature": 0.5}).params.arguments)
        assert asked == {"max_tokens": 128, "temperature": 0.5, "top_p": 0.9}
        # Beam search has no such defaults in vLLM.
        assert dict(load({"beam_search": {"beam_width": 2}}).params.arguments) == {"beam_width": 2, "max_tokens": 128}

    def test_go_in_one_call_as_token_ids(self, load: Load, vllm_recorder: VLLMRecorder) -> None:
        """The engine itself decides which run together."""
        backend = load()
        answer = run(backend)
        assert vllm_recorder.calls[GENERATE] == [
            {
                "prompts": [{"prompt_token_ids": [3, 4]}, {"prompt_token_ids": [5]}],
                "sampling_params": backend.params,
                "use_tqdm": False,
            }
        ]
        assert [prompt.index for prompt in answer.prompts] == [0, 1]
        assert answer.end_s >= answer.start_s > 0

    def test_carry_what_belongs_to_the_call(self, load: Load, vllm_recorder: VLLMRecorder, tmp_path: Path) -> None:
        backend = load({"enable_lora": True, "lora_adapter": {"lora_path": str(tmp_path)}})
        run(backend)
        (sent,) = vllm_recorder.calls[GENERATE]
        assert sent["lora_request"].entry_point == LORA_REQUEST
        assert dict(sent["lora_request"].arguments)["lora_path"] == str(tmp_path)

    @pytest.mark.parametrize(("vllm", "entry_point", "field"), RANKED)
    def test_carry_the_ranks_of_their_own_prompts(
        self, vllm_configured: Configured, vllm: dict[str, Any], entry_point: str, field: str
    ) -> None:
        """A replica has only its share of the prompts; the list is of all."""
        del field
        recorder = VLLMRecorder(snapshots.load("vllm", "0.33.0"))
        backend = VLLMBackend(version_calls(vllm_configured(vllm), recorder), recorder)
        backend.load()
        (batch,) = backend.prepare([Prompt(1, (3,)), Prompt(2, (4,))])
        backend.generate(batch)
        assert recorder.calls[entry_point][0]["priority"] == [8, 9]

    @pytest.mark.parametrize(("vllm", "entry_point", "field"), RANKED)
    def test_are_ranked_all_or_none(
        self,
        vllm_configured: Configured,
        monkeypatch: pytest.MonkeyPatch,
        vllm: dict[str, Any],
        entry_point: str,
        field: str,
    ) -> None:
        del entry_point
        surface = snapshots.load("vllm", "0.33.0")
        monkeypatch.setattr(snapshots, "installed", lambda _: surface)
        config = vllm_configured(vllm, prompts=["a", "b"])
        with pytest.raises(RequestError) as caught:
            check_before_loading(config)
        assert caught.value.cause == f"{field}: has 3 entries, and there are 2 prompts"
        assert caught.value.remedy == f"give {field} one entry for each prompt"
        with pytest.raises(RequestError, match="has 3 entries"):
            preview(config, surface)

    def test_no_prompts_are_no_call(self, load: Load) -> None:
        assert load().prepare([]) == []

    def test_are_refused_before_the_engine_loads(self, made: Load, vllm_recorder: VLLMRecorder) -> None:
        """Loading can take minutes."""
        backend = made({"temperature": 3.0})
        real = vllm_recorder.resolve

        def resolve(path: str) -> Any:
            return (
                Mock(side_effect=ValueError("temperature must be in [0, 2]")) if path == SAMPLING_PARAMS else real(path)
            )

        vllm_recorder.resolve = resolve  # type: ignore[method-assign]
        with pytest.raises(ValueError, match="temperature must be"):
            backend.load()
        assert LLM not in vllm_recorder.calls


class TestBeamSearch:
    @pytest.fixture
    def backend(self, load: Load) -> VLLMBackend:
        beams = {"beam_width": 2, "length_penalty": 0.5, "concurrency_limit": 3}
        return load({"beam_search": beams}, output={"max_tokens": 8})

    def test_is_a_call_of_its_own(self, backend: VLLMBackend, vllm_recorder: VLLMRecorder) -> None:
        run(backend)
        asked = (("beam_width", 2), ("length_penalty", 0.5), ("max_tokens", 8))
        assert vllm_recorder.calls[BEAM_SEARCH] == [
            {
                "prompts": [{"prompt_token_ids": [3, 4]}, {"prompt_token_ids": [5]}],
                "params": Built(BEAM_SEARCH_PARAMS, asked),
                "concurrency_limit": 3,
                "use_tqdm": False,
            }
        ]
        assert not {GENERATE, SAMPLING_PARAMS} & set(vllm_recorder.calls)

    def test_counts_what_follows_the_prompt(self, backend: VLLMBackend) -> None:
        assert backend.count(run(backend)).sequences == (((2,),), ((2,),))


class TestEveryPassStartsAnew:
    @pytest.mark.parametrize(("replica", "number"), [(0, 7), (2, 9)])
    def test_from_the_seed_and_each_replica_from_its_own(self, load: Load, replica: int, number: int) -> None:
        backend = load(seed=7)
        backend.llm = Mock()
        backend.seed(replica)
        assert backend.llm.mock_calls == [
            call.collective_rpc("llem_seed", args=(number,)),
            call.reset_prefix_cache(),
        ]

    def test_a_seed_stays_what_a_generator_can_take(self, load: Load) -> None:
        backend = load(seed=2**32 - 1)
        backend.llm = Mock()
        backend.seed(1)
        assert backend.llm.collective_rpc.call_args == call("llem_seed", args=(0,))

    @pytest.mark.parametrize(
        "vllm",
        [
            {"kv_offloading_size": 1.0, "kv_offloading_backend": "native"},
            {"kv_transfer_config": {"kv_connector": "OffloadingConnector", "kv_role": "kv_both"}},
        ],
        ids=["offloaded", "a connector"],
    )
    def test_with_no_prefix_left_outside_the_engine(self, load: Load, vllm: dict[str, Any]) -> None:
        backend = load(vllm)
        backend.llm = Mock()
        backend.seed()
        assert backend.llm.reset_prefix_cache.call_args == call(reset_connector=True)


class TestWhatThePassesShow:
    """Warnings of the result besides those of loading."""

    CONNECTED: Mapping[str, Any] = {"kv_transfer_config": {"kv_connector": "ExampleConnector", "kv_role": "kv_both"}}

    @pytest.mark.parametrize("vllm", [{}, CONNECTED], ids=["the engine's own", "a connector's"])
    def test_a_cache_that_was_not_emptied_is_told_once(self, load: Load, vllm: dict[str, Any]) -> None:
        backend = load(vllm)
        backend.llm = Mock(**{"reset_prefix_cache.return_value": False})
        backend.seed()
        backend.seed()
        assert backend.noticed() == ["the prefix cache was not emptied between passes"]
        assert backend.noticed() == []

    @pytest.mark.parametrize("said", [True, None], ids=["emptied", "an older version"])
    def test_a_cache_that_was_emptied_is_not(self, load: Load, said: bool | None) -> None:
        backend = load()
        backend.llm = Mock(**{"reset_prefix_cache.return_value": said})
        backend.seed()
        assert backend.noticed() == []

    def test_come_home_with_the_result(self, vllm_configured: Configured, vllm_recorder: VLLMRecorder) -> None:
        session = Session(vllm_configured(), Share(), vllm_recorder)
        session.backend.warnings.append("seen in a pass")  # type: ignore[attr-defined]
        assert session.finish() == ["seen in a pass"]

    def passes(self, backend: VLLMBackend, warm: list[int], *measured: int) -> list[str]:
        """Calls that find so many tokens in the cache: those of the warm-up follow each other, others a seed."""

        def call(cached: int) -> None:
            (batch,) = backend.prepare(TWO)
            answer = backend.generate(batch)
            for request, tokens in zip(answer.returned, (cached, 0), strict=True):
                request.num_cached_tokens = tokens
            backend.count(answer)

        for cached in warm:
            call(cached)
        for cached in measured:
            backend.seed()
            call(cached)
        return backend.noticed()

    def test_a_connector_that_kept_prompts_is_told(self, load: Load) -> None:
        """vLLM says that it was emptied."""
        found = self.passes(load(dict(self.CONNECTED)), [0, 32], 32, 32)
        assert found == ["vllm.kv_transfer_config: the connector kept prompts of one pass for the next"]

    @pytest.mark.parametrize(
        ("warm", "measured"),
        [([0, 32], [0, 0]), ([16], [16, 16]), ([], [16, 16])],
        ids=["emptied", "prompts that share their beginning", "the same without a warm-up"],
    )
    def test_a_connector_that_kept_none_is_not(self, load: Load, warm: list[int], measured: list[int]) -> None:
        assert self.passes(load(dict(self.CONNECTED)), warm, *measured) == []


class TestPrompts:
    def test_are_encoded_as_the_tokenizer_does(self, load: Load) -> None:
        assert load().encode(["a", "bb cc"], chat=False) == [[3], [4, 4]]

    def test_are_wrapped_as_turns_whose_template_wrote_the_special_tokens(self, load: Load) -> None:
        backend = load()
        backend.tokenizer = Mock(
            chat_template="t", **{"apply_chat_template.return_value": "<s>a", "encode.return_value": [1]}
        )
        assert backend.encode(["a"], chat=True) == [[1]]
        assert backend.tokenizer.mock_calls == [
            call.apply_chat_template([{"role": "user", "content": "a"}], tokenize=False, add_generation_prompt=True),
            call.encode("<s>a", add_special_tokens=False),
        ]

    def test_need_a_template_to_be_turns(self, load: Load) -> None:
        backend = load()
        backend.tokenizer = SimpleNamespace(chat_template=None)
        with pytest.raises(RequestError) as caught:
            backend.encode(["a"], chat=True)
        assert caught.value.cause == "prompts.chat_template: the model's tokenizer has no chat template"

    def test_are_measured_against_vocabulary_and_context(self, load: Load) -> None:
        backend = load()
        assert backend.vocabulary() == (100, frozenset({0, 1}))
        assert backend.context_limit() == 1 << 20


@pytest.mark.parametrize(
    ("named", "field"), [("model", "revision"), ("tokenizer", "tokenizer_revision")], ids=["model", "tokenizer"]
)
def test_a_revision_of_a_folder_is_refused(
    made: Load, vllm_recorder: VLLMRecorder, tmp_path: Path, named: str, field: str
) -> None:
    """vLLM takes the folder whatever revision is asked for."""
    with pytest.raises(RequestError) as caught:
        made(**{named: str(tmp_path), field: "main"}).load()
    assert caught.value.cause == f"{field}: would be ignored: {tmp_path} is a folder, not a repository"
    assert caught.value.remedy == f"remove {field}, or name the repository"
    assert LLM not in vllm_recorder.calls
    made(**{named: "owner/name", field: "main"}).load()
    assert vllm_recorder.calls[LLM][0][field] == "main"


def test_the_devices_are_those_of_all_workers_each_once(load: Load) -> None:
    backend = load()
    backend.llm = Mock(**{"collective_rpc.return_value": ["GPU-b", "GPU-a", "GPU-b"]})
    assert backend.devices() == ["GPU-b", "GPU-a"]
    backend.llm = Mock(**{"collective_rpc.return_value": [None, None]})
    assert backend.devices() == []


class TestClosing:
    CLEANUP = "vllm.distributed.parallel_state.cleanup_dist_env_and_memory"

    @pytest.mark.parametrize(("multiprocessing", "cleaned"), [("1", 0), ("0", 1)])
    def test_shuts_the_engine_down_and_cleans_where_it_ran_in_this_process(
        self,
        load: Load,
        vllm_recorder: VLLMRecorder,
        monkeypatch: pytest.MonkeyPatch,
        multiprocessing: str,
        cleaned: int,
    ) -> None:
        monkeypatch.setenv("VLLM_ENABLE_V1_MULTIPROCESSING", multiprocessing)
        backend = load()
        engine, cleanup = backend.llm.llm_engine.engine_core, Mock()
        engine.shutdown = Mock()
        monkeypatch.setattr(vllm_recorder, "resolve", {self.CLEANUP: cleanup}.__getitem__)
        backend.close()
        assert engine.shutdown.call_count == 1
        assert cleanup.call_count == cleaned
        assert backend.llm is backend.tokenizer is backend.params is None

    def test_twice_or_before_loading_does_nothing(
        self, load: Load, made: Load, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("VLLM_ENABLE_V1_MULTIPROCESSING", raising=False)
        backend = load()
        shutdown = backend.llm.llm_engine.engine_core.shutdown = Mock()
        backend.close()
        backend.close()
        assert shutdown.call_count == 1
        made().close()
