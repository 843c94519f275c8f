"""`llem show`: what a configuration would do, as text or JSON; nothing is run."""

import json
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llenergymeasure.cli.formats import Config, Format

if TYPE_CHECKING:
    from llenergymeasure.config.models import ExperimentConfig, Prompts
    from llenergymeasure.core.preview import Preview


def show(
    config: Config,
    version: Annotated[
        str | None, typer.Option(help="check against a pinned version instead of the installed one")
    ] = None,
    output_format: Annotated[Format, typer.Option("--format", help="how to print it")] = Format.TEXT,
) -> None:
    """Show what a configuration would do and send to which entry point; nothing is run."""
    from llenergymeasure.config.loading import load_config
    from llenergymeasure.core.preview import preview
    from llenergymeasure.surface import snapshots

    loaded = load_config(config)
    surface = snapshots.load(loaded.backend, version) if version else snapshots.installed(loaded.backend)
    found = preview(loaded, surface)
    if output_format is Format.JSON:
        sys.stdout.write(json.dumps(_document(found), indent=1) + "\n")
    else:
        sys.stdout.write("\n".join(_lines(found, "pinned, not the installed one" if version else "installed")) + "\n")


def _document(found: "Preview") -> dict[str, Any]:
    from llenergymeasure.config.lowering import plain

    sent: dict[str, dict[str, Any]] = {entry_point: {} for entry_point in found.entry_points}
    fields: dict[str, dict[str, str]] = {entry_point: {} for entry_point in found.entry_points}
    for item in found.sent:
        sent[item.entry_point][item.name] = plain(item.value)
        fields[item.entry_point][item.name] = item.field
    return {
        "backend": found.config.backend,
        "package": found.package,
        "version": found.version,
        "requested": found.config.model_dump(mode="json", exclude_none=True),
        "prompts": found.prompts,
        "tool": {setting.field: setting.value for setting in found.settings},
        "sent": sent,
        "fields": fields,
    }


def _lines(found: "Preview", which: str) -> list[str]:
    config = found.config
    lines = [
        f"{config.backend}: {found.package} {found.version} ({which})",
        "",
        "workload",
        f"  prompts      {_prompts(config.prompts, found.prompts)}",
        f"  input        {_input(config)}",
        f"  output       {_output(config)}",
        f"  measurement  {_measurement(config)}",
        f"  seed         {config.seed}",
        "",
        "settings of the tool",
        *_aligned(
            [
                (f"{setting.field} = {json.dumps(setting.value)}", "" if setting.given else "# default")
                for setting in found.settings
            ]
        ),
        "",
        "sent   # the field it comes from",
    ]
    for entry_point in found.entry_points:
        arguments = [item for item in found.sent if item.entry_point == entry_point]
        lines.append(f"  {entry_point}{'' if arguments else '   (with its own defaults)'}")
        lines.extend(_aligned([(f"  {item.name} = {_value(item.value)}", f"# {item.field}") for item in arguments]))
    owned = "Nothing else is set, but for what the tool hands over in every run, such as the encoded prompts"
    return [*lines, "", f"{owned} (docs/backends/{config.backend}.md: owned)."]


def _prompts(source: "Prompts", count: int) -> str:
    if source.synthetic is not None:
        lengths = source.synthetic.lengths
        tokens = f"{lengths[0]}" if len(set(lengths)) == 1 else f"{min(lengths)} to {max(lengths)}"
        return f"{count} synthetic of {tokens} tokens, {sum(lengths)} in all (seed {source.synthetic.seed})"
    where = f"from {source.file}" if source.file is not None else "inline"
    key = f", key {source.key}" if source.file is not None and source.file.suffix == ".jsonl" else ""
    return f"{count} {where}{key}{', each as a turn of the chat template' if source.chat_template else ''}"


def _input(config: "ExperimentConfig") -> str:
    if config.input.max_tokens is None:
        return "no limit but the model's context"
    longer = {"error": "is an error", "truncate_left": "loses its start", "truncate_right": "loses its end"}
    return f"at most {config.input.max_tokens} tokens; a longer prompt {longer[config.input.overflow]}"


def _output(config: "ExperimentConfig") -> str:
    limits = config.output
    least = f", at least {limits.min_tokens}" if limits.min_tokens is not None else ""
    return f"at most {limits.max_tokens} tokens{least}"


def _measurement(config: "ExperimentConfig") -> str:
    wanted = config.measurement
    passes = "the workload once" if wanted.repeats == 1 else f"the workload {wanted.repeats} times"
    longer = f", and again until {wanted.min_duration_s:g} s have passed" if wanted.min_duration_s else ""
    energy = "energy read" if wanted.energy else "energy not read"
    warmup = "1 warm-up batch" if wanted.warmup_batches == 1 else f"{wanted.warmup_batches or 'no'} warm-up batches"
    return f"{warmup}, then {passes}{longer}; {energy}"


def _value(value: Any) -> str:
    """As in a configuration; what is an object of the backend's stands without quotes."""
    from llenergymeasure.config.lowering import Build, Loaded, Ref, plain

    return str(value) if isinstance(value, Build | Loaded | Ref) else json.dumps(plain(value), ensure_ascii=False)


def _aligned(rows: list[tuple[str, str]]) -> list[str]:
    """Two columns; one long value does not push all comments out of sight."""
    width = max((len(left) for left, _ in rows if len(left) <= 60), default=0)
    return [f"  {left:<{width}}   {right}".rstrip() for left, right in rows]
