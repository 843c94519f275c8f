"""What the sampling options do to the scores and to the tokens that are chosen."""

from collections.abc import Callable
from typing import Any

import pytest

from llenergymeasure.core.inference_backends.pytorch import PyTorchBackend

from .fixtures_running import MIXED, TEXT, require_parameter, returned, run, run_ids, tokens, watched

Load = Callable[..., Any]
GENERATION = "transformers.GenerationConfig"


def seeded(backend: PyTorchBackend, *texts: str) -> list[tuple[int, ...]]:
    backend.seed()
    return tokens(backend, *(texts or MIXED))


@pytest.fixture
def greedy(load: Load) -> list[tuple[int, ...]]:
    return tokens(load({}, max_tokens=8), *MIXED)


@pytest.mark.field("do_sample", "observed")
def test_sampling_leaves_the_greedy_path(load: Load, greedy: list[tuple[int, ...]]) -> None:
    assert seeded(load({"do_sample": False}, max_tokens=8)) == greedy
    assert seeded(load({"do_sample": True}, max_tokens=8)) != greedy


@pytest.mark.field("seed", "observed")
def test_seed_decides_what_is_sampled(load: Load) -> None:
    one, again, other = (seeded(load({"do_sample": True}, max_tokens=8, seed=seed)) for seed in (3, 3, 4))
    assert one == again != other


def test_each_replica_draws_numbers_of_its_own(load: Load) -> None:
    """Otherwise equal prompts in two replicas would get equal answers."""
    backend = load({"do_sample": True}, max_tokens=8, seed=3)
    drawn = []
    for replica in (0, 1, 0):
        backend.seed(replica)
        drawn.append(tokens(backend, TEXT))
    assert drawn[0] == drawn[2] != drawn[1]


def limits(name: str, value: float) -> Any:
    return pytest.param(name, value, id=name, marks=pytest.mark.field(name, "observed"))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        limits("temperature", 1e-4),
        limits("top_k", 1),
        limits("top_p", 1e-6),
        limits("min_p", 1.0),
        limits("top_h", 1e-6),
        limits("epsilon_cutoff", 0.99),
    ],
)
def test_the_narrowest_value_leaves_only_the_likeliest_token(
    load: Load, greedy: list[tuple[int, ...]], name: str, value: float
) -> None:
    require_parameter((GENERATION, name))
    assert seeded(load({"do_sample": True, name: value}, max_tokens=8)) == greedy


@pytest.mark.field("typical_p", "observed")
def test_typical_tokens_are_kept(load: Load) -> None:
    """A tiny mass keeps a single token per step, so that the seed no longer matters."""
    one, other = (seeded(load({"do_sample": True, "typical_p": 1e-6}, max_tokens=8, seed=seed)) for seed in (3, 4))
    assert one == other


@pytest.mark.field("eta_cutoff", "observed")
def test_unlikely_tokens_are_cut_by_entropy(load: Load) -> None:
    section = {"do_sample": True, "top_k": 0}
    assert scores(load, {**section, "eta_cutoff": 0.99}).isneginf().any()
    assert not scores(load, section).isneginf().any()


@pytest.mark.field("repetition_penalty", "observed")
def test_no_token_occurs_again(load: Load) -> None:
    def repeats(section: dict[str, Any]) -> int:
        backend = load(section, max_tokens=20)
        (prompt,) = backend.encode([TEXT], chat=False)
        (answer,) = tokens(backend)
        return len(answer) - len(set(answer) - set(prompt))

    assert repeats({}) > 0
    assert repeats({"repetition_penalty": 1e6}) == 0


@pytest.mark.field("encoder_repetition_penalty", "observed")
def test_tokens_of_the_prompt_are_favoured(load: Load) -> None:
    backend = load({"encoder_repetition_penalty": 1e6}, max_tokens=8)
    (prompt,) = backend.encode([TEXT], chat=False)
    assert set(tokens(backend)[0]) <= set(prompt)
    assert not set(tokens(load({}, max_tokens=8))[0]) <= set(prompt)


@pytest.mark.field("encoder_no_repeat_ngram_size", "observed")
def test_nothing_of_the_prompt_occurs_again(load: Load) -> None:
    """With favour for the prompt's tokens all of the output is of the prompt; without leave to repeat one, none is."""
    favour = {"encoder_repetition_penalty": 1e6}
    backend = load({**favour, "encoder_no_repeat_ngram_size": 1}, max_tokens=8)
    (prompt,) = backend.encode([TEXT], chat=False)
    assert not set(tokens(backend)[0]) & set(prompt)
    assert set(tokens(load(favour, max_tokens=8))[0]) <= set(prompt)


@pytest.mark.field("forced_bos_token_id", "observed")
def test_token_behind_a_prompt_of_one_token_is_forced(load: Load) -> None:
    for section, forced in (({}, False), ({"forced_bos_token_id": 99}, True)):
        (alone,) = run_ids(load(section), [15])
        (longer,) = run_ids(load(section), [15, 16])
        assert (alone.sequences[0][0][0] == 99) is forced
        assert longer.sequences[0][0][0] != 99


@pytest.mark.field("no_repeat_ngram_size", "observed")
def test_no_ngram_occurs_twice(load: Load) -> None:
    def twice(section: dict[str, Any]) -> bool:
        (answer,) = tokens(load(section, max_tokens=20))
        return len(set(answer)) < len(answer)

    assert twice({})
    assert not twice({"no_repeat_ngram_size": 1})


@pytest.mark.field("bad_words_ids", "observed")
@pytest.mark.field("suppress_tokens", "observed")
@pytest.mark.parametrize("name", ["bad_words_ids", "suppress_tokens"])
def test_token_is_never_generated(load: Load, greedy: list[tuple[int, ...]], name: str) -> None:
    token = greedy[0][0]
    (answer,) = tokens(load({name: [[token]] if name == "bad_words_ids" else [token]}, max_tokens=8), MIXED[0])
    assert token not in answer


@pytest.mark.field("begin_suppress_tokens", "observed")
def test_token_is_not_generated_first(load: Load, greedy: list[tuple[int, ...]]) -> None:
    token = greedy[0][0]
    bias = {"sequence_bias": [([token], 1e4)]}  # wherever it may, the token is generated
    assert tokens(load(bias), MIXED[0]) == [(token,) * 4]
    (answer,) = tokens(load({"begin_suppress_tokens": [token], **bias}), MIXED[0])
    assert answer[0] != token
    assert answer[1:] == (token,) * 3


@pytest.mark.field("sequence_bias", "observed")
@pytest.mark.parametrize("bias", [1e4, -1e4])
def test_sequence_is_favoured(load: Load, greedy: list[tuple[int, ...]], bias: float) -> None:
    token = greedy[0][0]
    (answer,) = tokens(load({"sequence_bias": [([token], bias)]}), MIXED[0])
    assert (answer.count(token) == 4) if bias > 0 else (token not in answer)


@pytest.mark.field("forced_eos_token_id", "observed")
def test_last_token_is_forced(load: Load) -> None:
    (answer,) = tokens(load({"forced_eos_token_id": 77}))
    assert answer[-1] == 77
    assert 77 not in answer[:-1]


@pytest.mark.field("exponential_decay_length_penalty", "observed")
def test_pull_towards_the_end(load: Load) -> None:
    (output,) = run(load({"exponential_decay_length_penalty": (2, 1e6)}, max_tokens=20))
    assert len(output.sequences[0][0]) < 20
    assert output.finished == ("stop",)
    assert len(tokens(load({}, max_tokens=20))[0]) == 20


def scores(load: Load, section: dict[str, Any], spoil: Callable[[Any], None] = lambda _: None) -> Any:
    """Processed scores of the first step."""
    backend = load({"return_dict_in_generate": True, "output_scores": True, **section})
    spoil(backend.model)
    with returned(backend.model) as found:
        run(backend)
    return found[0].scores[0]


@pytest.mark.field("renormalize_logits", "observed")
def test_scores_are_normalised(load: Load) -> None:
    total = scores(load, {"renormalize_logits": True}).exp().sum().item()
    assert total == pytest.approx(1, abs=1e-4)
    assert scores(load, {}).exp().sum().item() > 10


@pytest.mark.field("remove_invalid_values", "observed")
def test_invalid_scores_are_replaced(load: Load) -> None:
    import torch

    def spoil(model: Any) -> None:
        with torch.no_grad():
            model.lm_head.weight[3] = torch.nan

    assert scores(load, {}, spoil).isnan().any()
    assert not scores(load, {"remove_invalid_values": True}, spoil).isnan().any()


@pytest.mark.field("guidance_scale", "observed")
@pytest.mark.parametrize(("scale", "calls"), [(1.5, 8), (None, 4)])
def test_guidance_runs_the_model_twice_per_step(load: Load, scale: float | None, calls: int) -> None:
    backend = load({"guidance_scale": scale} if scale else {})
    with watched(backend.model) as seen:
        run(backend)
    assert len(seen.shapes) == calls


@pytest.mark.field("watermarking_config", "observed")
@pytest.mark.field("watermarking_config[greenlist].bias", "observed")
@pytest.mark.field("watermarking_config[greenlist].greenlist_ratio", "observed")
def test_a_strong_watermark_leaves_only_its_share_of_the_vocabulary(load: Load) -> None:
    """With an overwhelming bias the kept scores are the favoured ones: that share of the vocabulary."""
    for ratio in (0.25, 0.5):
        kind = {"kind": "greenlist", "greenlist_ratio": ratio, "bias": 1000.0}
        found = scores(load, {"do_sample": True, "top_k": 0, "watermarking_config": kind})[0]
        assert (found > 500).sum().item() == int(ratio * found.numel())


@pytest.mark.field("watermarking_config[greenlist].hashing_key", "observed")
@pytest.mark.field("watermarking_config[greenlist].seeding_scheme", "observed")
@pytest.mark.field("watermarking_config[greenlist].context_width", "observed")
@pytest.mark.parametrize(
    "option", [{"hashing_key": 15485867}, {"seeding_scheme": "selfhash"}, {"context_width": 3, "hashing_key": 15485869}]
)
def test_another_watermark_favours_other_tokens(load: Load, option: dict[str, Any]) -> None:
    def favoured(**options: Any) -> set[int]:
        kind = {"kind": "greenlist", "bias": 1000.0, **options}
        found = scores(load, {"do_sample": True, "top_k": 0, "watermarking_config": kind})[0]
        return set((found > 500).nonzero().flatten().tolist())

    assert favoured(**option) != favoured()
