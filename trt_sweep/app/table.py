"""`trt-sweep table FOLDER…`: print the table of one or several sweeps, and write it where asked."""

from __future__ import annotations

from trt_sweep.app.arguments import Parser, verb
from trt_sweep.config.options import OBJECTIVES
from trt_sweep.errors import SweepError


@verb()
def main(arguments: list[str]) -> int:
    """Print the table; return exit code 1, after one line, where there is none."""
    parser = Parser(prog="trt-sweep table", description="Print the table of one or several sweeps.")
    parser.add_folders()
    parser.add_out("write results.csv and results.parquet there")
    parser.add_argument("--objective", choices=sorted(OBJECTIVES), default="latency", help="what is best (latency)")
    parser.add_argument(
        "--columns", metavar="all|NAME,…", help="columns beside the axes, of the table or the record, however wide"
    )
    options = parser.parse_args(arguments)

    from trt_sweep.app import answer
    from trt_sweep.results.show import show
    from trt_sweep.results.table import load, write

    table = load(*options.folders)
    if table.empty and not table.attrs["unreadable"]:
        raise SweepError(f"{_named(options.folders)} no record: give the folder of a sweep, which has points/ in it")
    show(table, objective=OBJECTIVES[options.objective], columns=options.columns)
    if options.out is not None:
        try:
            options.out.mkdir(parents=True, exist_ok=True)
            written = write(table, options.out)
        except OSError as error:
            raise SweepError(f"{options.out} cannot be written: {error.strerror}") from error
        print("written:", ", ".join(map(str, written)))
    answer.show(table, options.objective)
    return 0


def _named(folders: list[object]) -> str:
    return ", ".join(map(str, folders)) + (" holds" if len(folders) == 1 else " hold")
