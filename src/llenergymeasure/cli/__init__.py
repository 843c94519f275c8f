"""`llem`: one verb per capability. Heavy imports stand inside the commands, so that `llem --help` is instant."""

import sys

import typer

from llenergymeasure.cli import audit, docs, experiment, matrix, show, surface, upgrade
from llenergymeasure.errors import LlemError

app = typer.Typer(
    name="llem",
    rich_markup_mode=None,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Measure what LLM inference costs, with proof that every parameter you set really arrived.",
)
app.command("run")(experiment.run)
app.command("show")(show.show)
app.command("schema")(experiment.schema)
app.command("doctor")(experiment.doctor)
app.add_typer(surface.app, name="surface")
app.add_typer(audit.app, name="audit")
matrix.app.command("upgrade")(upgrade.upgrade_command)
app.add_typer(matrix.app, name="matrix")
app.add_typer(docs.app, name="docs")


def main() -> None:
    """The console entry point; a user's mistake is two lines on stderr and an exit code, never a traceback."""
    try:
        app()
    except LlemError as error:
        print_error(error)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)


def print_error(error: LlemError) -> None:
    sys.stderr.write("".join(f"error: {line}\n" for line in error.cause.splitlines()))
    if error.remedy:
        sys.stderr.write(f"  → {error.remedy}\n")
