"""Output that must follow a form: what it is per request, and how the engine enforces it."""

from typing import Any, Literal

from llenergymeasure.config.bindings import Need, Section, among, binds, equals, is_set
from llenergymeasure.config.vllm.entry_points import LLM, SAMPLING_PARAMS, STRUCTURED_OUTPUTS_PARAMS

TAG = (
    '{"type": "structural_tag", "format": {"type": "tag", "begin": "<a>", "end": "</a>", '
    '"content": {"type": "json_schema", "json_schema": {"type": "boolean"}}}}'
)
KINDS = ("json_schema", "json_object", "regex", "choice", "grammar", "structural_tag")


def _later_than(kind: str) -> tuple[Need, ...]:
    """The kinds after this one: a request has one kind, and each pair is named once."""
    return tuple(is_set(other) for other in KINDS[KINDS.index(kind) + 1 :])


class StructuredOutputs(Section):
    """The form that every answer has; exactly one kind of it."""

    entry_point = STRUCTURED_OUTPUTS_PARAMS

    # Its own name, json, is that of a method which every model has.
    json_schema: dict[str, Any] | str | None = binds(
        f"{STRUCTURED_OUTPUTS_PARAMS}:json",
        min_length=1,
        sample={"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]},
        excludes=_later_than("json_schema"),
        effect="The schema is compiled once, then one mask per step and sequence, made on the CPU.",
    )
    """JSON schema that answers follow, as a mapping or as its text; the parameter's name is json."""

    json_object: Literal[True] | None = binds(
        excludes=_later_than("json_object"), effect="One mask per step and sequence, made on the CPU."
    )
    """True for any JSON object."""

    regex: str | None = binds(
        sample="[0-9]{4}",
        excludes=_later_than("regex"),
        effect="The expression is compiled once, then one mask per step and sequence, made on the CPU.",
    )
    """Regular expression that the whole answer matches."""

    choice: list[str] | None = binds(
        min_length=1,
        sample=["yes", "no"],
        excludes=_later_than("choice"),
        effect="Answers are as short as the choices; one mask per step and sequence.",
    )
    """Texts of which each answer is one."""

    grammar: str | None = binds(
        min_length=1,
        sample='root ::= "yes" | "no"',
        excludes=_later_than("grammar"),
        effect="The grammar is compiled once, then one mask per step and sequence, made on the CPU.",
    )
    """Context-free grammar of the answers, in EBNF or Lark, as the backend takes it."""

    structural_tag: str | None = binds(
        min_length=1,
        sample=TAG,
        effect="Only what stands between the tags is masked; free text is merely watched.",
    )
    """Tags, and the form of what stands between them, as JSON text."""


class StructuredOutputsOptions(Section):
    """How the engine enforces the form of answers."""

    entry_point = "vllm.config.StructuredOutputsConfig"

    backend: Literal["auto", "xgrammar", "guidance", "outlines", "lm-format-enforcer"] | None = binds(
        sample="guidance", effect="Libraries differ in the time to compile a form and to make a mask."
    )
    """Library that compiles forms and makes the masks; auto chooses by the request and by what each can do."""

    disable_any_whitespace: bool | None = binds(
        needs=among("backend", "xgrammar", "guidance"),
        context={"backend": "xgrammar"},
        effect="Compact JSON: fewer tokens for the same content.",
    )
    """Whether JSON is generated without optional spaces and line breaks."""

    disable_additional_properties: bool | None = binds(
        needs=equals("backend", "guidance"),
        context={"backend": "guidance"},
        effect="No keys beyond the schema's: shorter answers.",
    )
    """Whether objects are closed to keys that the schema does not name."""

    enable_in_reasoning: bool | None = binds(
        effect="Masks from the first token on, and thoughts of that form; it acts with a reasoning parser only."
    )
    """Whether a reasoning model's thinking must follow the form already."""


class Structured(Section):
    entry_point = LLM

    structured_outputs: StructuredOutputs | None = binds(
        SAMPLING_PARAMS,
        sample={"choice": ["yes", "no"]},
        effect="Masks cost time on the CPU per step and sequence; the form decides how long answers are.",
    )
    """Form that every answer must have."""

    structured_outputs_config: StructuredOutputsOptions | None = binds(
        needs=(is_set("structured_outputs"), is_set("beam_search")),
        context={"structured_outputs": {"choice": ["yes", "no"]}},
        effect="None without structured_outputs: it decides who makes the masks, and how.",
    )
    """How the engine enforces the form of answers."""
