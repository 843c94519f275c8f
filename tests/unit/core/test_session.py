"""One replica's work, on the real backend module over a recorder: shares, batches, warm-up, limits on prompts."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from llenergymeasure.audit.recorder import Recorder
from llenergymeasure.config.models import ExperimentConfig
from llenergymeasure.config.pytorch.entry_points import GENERATE, GENERATE_BATCH, SET_SEED, TOKENIZE
from llenergymeasure.core.batching import Prompt, make_batches
from llenergymeasure.core.session import Session, Share, encoded_prompts
from llenergymeasure.errors import RequestError

Configured = Callable[..., ExperimentConfig]
FIVE = ["a", "bb cc", "d e f", "g", "h i"]


def opened(config: ExperimentConfig, recorder: Recorder, share: Share = Share()) -> Session:  # noqa: B008 - frozen
    session = Session(config, share, recorder)
    session.open()
    return session


def indices(session: Session) -> list[list[int]]:
    return [[prompt.index for prompt in batch.prompts] for batch in session.batches]


@pytest.mark.parametrize(
    ("size", "batches"),
    [(1, [[0], [1], [2], [3], [4]]), (2, [[0, 1], [2, 3], [4]]), (5, [[0, 1, 2, 3, 4]]), (9, [[0, 1, 2, 3, 4]])],
)
def test_prompts_are_cut_into_calls_in_order(size: int, batches: list[list[int]]) -> None:
    cut = make_batches([Prompt(index, (index,)) for index in range(5)], size)
    assert [[prompt.index for prompt in batch.prompts] for batch in cut] == batches


def test_without_a_batch_size_each_prompt_is_a_call(configured: Configured, recorder: Recorder) -> None:
    session = opened(configured(prompts=FIVE), recorder)
    assert indices(session) == [[0], [1], [2], [3], [4]]


def test_one_pass_calls_generate_once_a_batch(configured: Configured, recorder: Recorder) -> None:
    session = opened(configured({"batch_size": 2}, prompts=FIVE), recorder)
    before = len(recorder.calls[GENERATE])  # reading back what runs is a call, too
    ticks: list[int] = []
    assert session.run(lambda: False, ticks.append)
    assert ticks == [2, 2, 1]
    shapes = [call["inputs"] for call in recorder.calls[GENERATE][before:]]
    # Two rows each, as wide as the longer prompt of the two; then the last prompt alone.
    assert shapes == [(2, 2), (2, 3), (1, 2)]
    outputs = session.take()
    assert [[prompt.index for prompt in output.prompts] for output in outputs] == [[0, 1], [2, 3], [4]]
    assert session.take() == []


def test_every_pass_starts_from_the_seed(configured: Configured, recorder: Recorder) -> None:
    session = opened(configured(seed=5), recorder)
    session.run(lambda: False, lambda _: None)
    session.run(lambda: False, lambda _: None)
    assert recorder.calls[SET_SEED] == [{"seed": 5}, {"seed": 5}]


def test_the_first_pass_is_seeded_before_its_window(
    configured: Configured, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = opened(configured(prompts={"inline": ["a"]}), recorder)
    order: list[str] = []
    generate = session.backend.generate
    monkeypatch.setattr(session.backend, "seed", lambda replica: order.append(f"seed {replica}"))
    monkeypatch.setattr(session.backend, "generate", lambda batch: order.append("generate") or generate(batch))
    session.warm_up()
    assert order == ["generate", "seed 0"]
    session.run(lambda: False, lambda _: None)
    session.run(lambda: False, lambda _: None)
    assert order[2:] == ["generate", "seed 0", "generate"]


def test_continuous_batching_takes_all_prompts_at_once(configured: Configured, recorder: Recorder) -> None:
    session = opened(configured({"continuous_batching": {}}, prompts=FIVE), recorder)
    session.run(lambda: False, lambda _: None)
    # Once to read back what runs, and once for the run.
    assert [len(call["inputs"]) for call in recorder.calls[GENERATE_BATCH]] == [5, 5]


@pytest.mark.parametrize(
    ("warmup", "widths"),
    [(0, []), (1, [3]), (2, [3, 2]), (7, [3, 2, 2, 1, 1, 3, 2])],
)
def test_warm_up_runs_real_batches_the_widest_first(
    configured: Configured, recorder: Recorder, warmup: int, widths: list[int]
) -> None:
    session = opened(configured(prompts=FIVE, measurement={"warmup_batches": warmup}), recorder)
    before = len(recorder.calls[GENERATE])
    session.warm_up()
    assert [call["inputs"][1] for call in recorder.calls[GENERATE][before:]] == widths
    assert session.take() == []  # nothing of it is measured


@pytest.mark.parametrize(
    ("replicas", "shares"),
    [(1, [[0, 1, 2, 3, 4]]), (2, [[0, 1, 2], [3, 4]]), (3, [[0, 1], [2, 3], [4]]), (6, [[0], [1], [2], [3], [4], []])],
)
def test_replicas_share_the_prompts_and_keep_their_indices(
    configured: Configured, recorder: Recorder, replicas: int, shares: list[list[int]]
) -> None:
    config = configured({"batch_size": 8}, prompts=FIVE)
    found = []
    for replica in range(replicas):
        session = Session(config, Share(replica=replica, replicas=replicas), recorder)
        opened = session.open()
        assert opened.requests == len(shares[replica])
        assert session.run(lambda: False, lambda _: None)
        found.append([prompt.index for output in session.take() for prompt in output.prompts])
    assert found == shares


def test_a_stopped_pass_keeps_what_was_finished(configured: Configured, recorder: Recorder) -> None:
    session = opened(configured(prompts=FIVE), recorder)
    assert not session.run(lambda: len(session.answers) == 2, lambda _: None)
    assert [output.prompts[0].index for output in session.take()] == [0, 1]


def test_a_chat_template_wraps_each_prompt_and_adds_its_own_tokens(configured: Configured, recorder: Recorder) -> None:
    opened(configured(prompts={"inline": ["a b"], "chat_template": True}), recorder)
    assert recorder.calls[TOKENIZE] == [{"text": "a b", "add_special_tokens": False}]


def test_a_chat_template_that_the_tokenizer_lacks_is_an_error(
    configured: Configured, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    from llenergymeasure.audit import recorder as recorder_module

    monkeypatch.setattr(recorder_module._Tokenizer, "chat_template", None)
    with pytest.raises(RequestError, match=r"^prompts\.chat_template: the model's tokenizer has no chat template"):
        opened(configured(prompts={"inline": ["a b"], "chat_template": True}), recorder)


BOS, EOS = 1, 2


class Encoder:
    """The part of a backend that prompts need: words as ids from 10 on, between two special tokens where asked for."""

    def __init__(self, *, before: Sequence[int] = (), after: Sequence[int] = (), context: int | None = None) -> None:
        self._before, self._after, self._context = before, after, context

    def encode(self, texts: Sequence[str], *, chat: bool) -> list[list[int]]:
        return [[*self._before, *(10 + number for number in range(len(text.split()))), *self._after] for text in texts]

    def vocabulary(self) -> tuple[int, frozenset[int]]:
        return 100, frozenset({BOS, EOS})

    def context_limit(self) -> int | None:
        return self._context


def encode(config: ExperimentConfig, encoder: Any) -> list[list[int]]:
    return encoded_prompts(config, encoder)


@pytest.mark.parametrize(
    ("overflow", "limit", "before", "after", "ids"),
    [
        pytest.param("truncate_left", 3, (), (), [12, 13, 14], id="the end stays"),
        pytest.param("truncate_right", 3, (), (), [10, 11, 12], id="the start stays"),
        pytest.param("truncate_left", 3, (BOS,), (), [BOS, 13, 14], id="left, and the start token stays"),
        pytest.param("truncate_right", 3, (), (EOS,), [10, 11, EOS], id="right, and the end token stays"),
        pytest.param("truncate_left", 4, (BOS,), (EOS,), [BOS, 13, 14, EOS], id="both stay"),
        pytest.param("truncate_right", 4, (BOS,), (EOS,), [BOS, 10, 11, EOS], id="both stay, cut on the right"),
        pytest.param("truncate_right", 4, (BOS, BOS), (), [BOS, BOS, 10, 11], id="several at one end"),
        pytest.param("truncate_left", 5, (), (), [10, 11, 12, 13, 14], id="exactly at the limit nothing is cut"),
        pytest.param("truncate_left", 9, (BOS,), (), [BOS, 10, 11, 12, 13, 14], id="below it neither"),
        pytest.param("truncate_right", 1, (BOS,), (), [BOS], id="no room for more than the special token"),
        pytest.param("truncate_left", 1, (BOS,), (), [14], id="no room for both, cut on the left"),
    ],
)
def test_a_cut_prompt_keeps_its_special_tokens(
    configured: Configured, overflow: str, limit: int, before: tuple[int], after: tuple[int], ids: list[int]
) -> None:
    config = configured(prompts=["a b c d e"], input={"max_tokens": limit, "overflow": overflow})
    assert encode(config, Encoder(before=before, after=after)) == [ids]


def test_a_prompt_above_the_limit_is_an_error_unless_cutting_is_asked_for(configured: Configured) -> None:
    config = configured(prompts=["a", "a b c"], input={"max_tokens": 2})
    with pytest.raises(RequestError) as caught:
        encode(config, Encoder())
    assert caught.value.cause == "prompts: prompt 2 has 3 tokens, and input.max_tokens is 2"
    assert "truncate_left" in caught.value.remedy


def test_a_prompt_must_leave_room_for_the_answer(configured: Configured) -> None:
    config = configured(prompts=["a b c"], output={"max_tokens": 8})
    assert encode(config, Encoder(context=11)) == [[10, 11, 12]]
    with pytest.raises(RequestError) as caught:
        encode(config, Encoder(context=10))
    assert "the model's context of 10 leaves 2 beside output.max_tokens 8" in caught.value.cause
    assert "input.overflow" in caught.value.remedy


def test_an_answer_longer_than_the_context_leaves_no_room_for_any_prompt(configured: Configured) -> None:
    with pytest.raises(RequestError) as caught:
        encode(configured(prompts=["a"], output={"max_tokens": 12}), Encoder(context=10))
    assert "the model's context of 10 leaves none beside output.max_tokens 12" in caught.value.cause
    assert caught.value.remedy == "lower output.max_tokens to less than 10"


def test_a_prompt_without_tokens_is_an_error(configured: Configured) -> None:
    config = configured(prompts=["a", "b"])
    # A tokenizer may find nothing in a text that is not blank.
    prompts = config.prompts.model_copy(update={"inline": ["a", ""]})
    with pytest.raises(RequestError, match=r"^prompts: prompt 2 has no tokens"):
        encode(config.model_copy(update={"prompts": prompts}), Encoder())


def test_synthetic_prompts_have_their_lengths_and_no_special_token(configured: Configured) -> None:
    config = configured(prompts={"synthetic": {"count": 3, "input_tokens": [4, 7], "seed": 3}})
    made = encode(config, Encoder())
    assert [len(ids) for ids in made] == [4, 7, 4]
    assert not {BOS, EOS} & {token for ids in made for token in ids}
    assert made == encode(config, Encoder())
    other = configured(prompts={"synthetic": {"count": 3, "input_tokens": [4, 7], "seed": 4}})
    assert made != encode(other, Encoder())


@pytest.mark.parametrize(
    ("name", "content", "prompts"),
    [("w.txt", "a b\nc\n", [[10, 11], [10]]), ("w.jsonl", '{"prompt": "a b c"}\n', [[10, 11, 12]])],
)
def test_prompts_come_from_their_file(
    configured: Configured, tmp_path: Any, name: str, content: str, prompts: list[list[int]]
) -> None:
    (tmp_path / name).write_text(content)
    assert encode(configured(prompts=str(tmp_path / name)), Encoder()) == prompts


def test_the_key_of_a_jsonl_file_can_be_chosen(configured: Configured, tmp_path: Any) -> None:
    (tmp_path / "w.jsonl").write_text('{"text": "a b", "prompt": "c"}\n')
    config = configured(prompts={"file": str(tmp_path / "w.jsonl"), "key": "text"})
    assert encode(config, Encoder()) == [[10, 11]]
