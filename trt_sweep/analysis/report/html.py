"""Write the report as one HTML page that needs no network: styles, scripts, data and plotly.js stand in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jinja2
from plotly.offline import get_plotlyjs

from trt_sweep.analysis.report.document import Block, Cards, Heading, Points
from trt_sweep.results import glossary


def render(blocks: Sequence[Block]) -> str:
    """Return the page. Jinja2 escapes text; data for scripts stand as JSON that cannot leave its element."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("trt_sweep.analysis.report", "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["kind"] = lambda block: type(block).__name__
    plots = any(card.plot for block in blocks if isinstance(block, Cards) for card in block.items)
    page = environment.get_template("report.html.j2")
    return page.render(
        title=next((block.text for block in blocks if isinstance(block, Heading)), "Report"),
        blocks=blocks,
        contents=[
            (index, block.text) for index, block in enumerate(blocks) if isinstance(block, Heading) and block.level == 2
        ],
        plotly=get_plotlyjs() if plots else "",
        table_data=_table_data,
    )


def _table_data(points: Points) -> dict[str, Any]:
    """Return the table as the page's script takes it: columns with their cells' texts and sort keys."""
    columns = [
        {
            **{name: getattr(column, name) for name in ("name", "shown", "keys", "choices", "main")},
            "title": column.title or ((said := glossary.find(column.name)) and said.text) or "",
        }
        for column in points.columns
    ]
    return {"columns": columns, "targets": points.targets, "measurements": points.measurements}
