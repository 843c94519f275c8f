"""`python -m llenergymeasure.cli`, where the command is not on PATH."""

from llenergymeasure.cli import main

main()
