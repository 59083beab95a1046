"""The command `trt-sweep`: a word is a verb, all else is a sweep's and goes to Hydra."""

from __future__ import annotations

from trt_sweep import __version__
from trt_sweep.app import verbs
from trt_sweep.app.arguments import verb

HELP = {"-h", "--help"}


@verb()
def main(arguments: list[str]) -> int:
    """Run the verb that is named, print the help or the version, or sweep; return the exit code.

    What a call does not need it does not import, torch and pandas in particular.
    """
    if verbs.is_verb(arguments):
        return verbs.call(arguments[0], arguments[1:])
    if HELP & set(arguments):
        from trt_sweep.app import help

        print(help.text())
        return 0
    if "--version" in arguments:
        print(f"trt-sweep {__version__}")
        return 0
    from trt_sweep.app import multirun

    return multirun.main(arguments)
