"""`trt-sweep table FOLDER…`: print the table of one or several sweeps, and write it where asked."""

from __future__ import annotations

import shutil
from itertools import chain
from pathlib import Path

from trt_sweep.app.arguments import Parser, UsageError, holding, verb, write_text
from trt_sweep.config.options import GPU, OBJECTIVES
from trt_sweep.errors import SweepError, not_allowed

PAGE = "columns.md"  # with all explanations
WIDEST = 100  # characters of a line that is read with ease


@verb()
def main(arguments: list[str]) -> int:
    """Print the table; return exit code 1, after one line, where there is none."""
    parser = Parser(prog="trt-sweep table", description="Print the table of one or several sweeps.")
    parser.add_folders(least=0)
    parser.add_out(f"write results.csv and results.parquet there; with --explain, {PAGE}")
    parser.add_argument(
        "--objective", choices=sorted(OBJECTIVES), default="latency", help=f"what is best (latency); {GPU}"
    )
    parser.add_argument(
        "--columns",
        metavar="all|NAME,…",
        help="which columns to show beside the axes, even if they do not fit: of the table or of the record",
    )
    parser.add_argument(
        "--explain",
        nargs="*",
        metavar="COLUMN",
        help="say what a column means, such as vs eager; without a name, what each means",
    )
    options = parser.parse_args(arguments)
    if options.explain is not None:
        return _explain(" ".join(options.explain), options.out)
    if not options.folders:
        parser.error("the following arguments are required: FOLDER")

    from trt_sweep.app import answer
    from trt_sweep.results.show import show
    from trt_sweep.results.table import load, write

    if options.columns is not None and not options.columns.strip(", "):
        raise UsageError(not_allowed("--columns", options.columns, "all, or names of columns with commas between them"))
    table = load(*options.folders)
    if table.empty and not table.attrs["unreadable"]:
        raise SweepError(f"{holding(options.folders)} no record: give the folder of a sweep, which has points/ in it")
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


def _explain(names: str, out: Path | None) -> int:
    """Print what columns mean, all of them where none is named, or write that into the folder `out`."""
    from trt_sweep.results import glossary

    if out is not None:
        if names:
            raise UsageError(f"--out is not allowed beside --explain {names}: {PAGE} explains all columns; drop one")
        write_text(out / PAGE, glossary.page())
        print("written:", out / PAGE)
        return 0
    found = []
    asked = filter(None, map(str.strip, "" if names == "all" else names.split(",")))
    for name in chain.from_iterable([words] if glossary.find(words) else words.split() for words in asked):
        column = glossary.find(name)
        if column is None:
            raise UsageError(f"--explain {name} is not known: use a column such as {', '.join(glossary.near(name))}")
        found.append(column)
    width = min(shutil.get_terminal_size().columns, WIDEST)
    print(*glossary.lines(found or list(glossary.columns().values()), width), sep="\n")
    return 0
