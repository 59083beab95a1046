"""Make the pictures in docs/pictures from published records: `python docs/pictures.py`, with Chromium on the PATH.

It ends by saying how many screens of the report come before its table of points.
"""

from __future__ import annotations

import html
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image, ImageOps  # torchvision brings it along

ROOT = Path(__file__).parents[1]
RECORDS = ROOT / "outputs/reference/h200_rtx1.6"
PICTURES = ROOT / "docs/pictures"
DESKTOP, PHONE = (1400, 900), (390, 844)
LEAST = 500  # pixels of a browser's window across; a phone's page stands in a frame
COLORS = 128  # of a picture
COMMAND = ("table", str(RECORDS.relative_to(ROOT) / "tune_resnet50"))
DARK = ("--force-dark-mode", "--blink-settings=preferredColorScheme=0")


def main() -> None:
    """Write all pictures."""
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.html"
        _trt_sweep("report", str(RECORDS / "min_block_size"), "--out", folder)
        _picture(report, "report", DESKTOP)
        _picture(report, "report_dark", DESKTOP, *DARK)
        frame = '<body style="margin:0"><iframe src="report.html" style="border:0;width:{}px;height:{}px">'
        phone = Path(folder) / "phone.html"
        phone.write_text(frame.format(*PHONE))
        _picture(phone, "report_phone", PHONE)
        for columns in (80, 120, 200):
            page = Path(folder) / "table.html"
            page.write_text(_terminal(_trt_sweep(*COMMAND, columns=columns), columns))
            _picture(page, f"table_{columns}", (12 * columns, 1200), crop=True)
        print(f"{_screens(report):.1f} screens of {DESKTOP[0]}x{DESKTOP[1]} come before the report's table")


def _trt_sweep(*arguments: str, columns: int = 80) -> str:
    command = [sys.executable, "-m", "trt_sweep", *arguments]
    surroundings = os.environ | {"COLUMNS": str(columns)}
    return subprocess.run(command, cwd=ROOT, env=surroundings, check=True, capture_output=True, text=True).stdout


def _terminal(text: str, columns: int) -> str:
    """Return a page that shows text as a terminal of this width does, which breaks longer lines anywhere."""
    style = f"font: 14px/1.3 monospace; width: {columns}ch; margin: 12px; white-space: pre-wrap; word-break: break-all"
    shown = html.escape(f"$ trt-sweep {' '.join(COMMAND)}\n{text}")
    return f'<meta charset="utf-8"><pre style="{style}">{shown}</pre>'


def _chromium(page: Path, size: tuple[int, int], *arguments: str) -> str:
    """Open a page in a window of this size and return what Chromium prints."""
    names = ("chromium", "chromium-browser", "google-chrome")
    browser = next(filter(None, map(shutil.which, names)), None)
    if browser is None:
        sys.exit(f"none of {', '.join(names)} is on the PATH: install Chromium")
    command = [browser, "--headless", "--no-sandbox", "--hide-scrollbars", f"--window-size={size[0]},{size[1]}"]
    command += [*arguments, page.as_uri()]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout


def _picture(page: Path, name: str, size: tuple[int, int], *arguments: str, crop: bool = False) -> None:
    """Write a picture of a page; with `crop` without the white around it."""
    path = PICTURES / f"{name}.png"
    window = max(size[0], LEAST), size[1]
    _chromium(page, window, f"--screenshot={path}", *arguments)
    with Image.open(path) as image:
        found = image.convert("RGB").crop((0, 0, *size))
    if crop:
        left, top, right, bottom = ImageOps.invert(found).getbbox() or (0, 0, *size)
        found = found.crop((left - 12, top - 12, right + 12, bottom + 12))
    found.quantize(COLORS, dither=Image.Dither.NONE).save(path, optimize=True)
    print("written:", path.relative_to(ROOT), f"{path.stat().st_size / 1000:.0f} kB")


def _screens(report: Path) -> float:
    """Return how many screens of a desktop come before the table of points."""
    measure = "document.title = document.querySelector('div.points').getBoundingClientRect().top"
    page = report.with_name("measured.html")
    page.write_text(f"{report.read_text(encoding='utf-8')}<script>{measure}</script>", encoding="utf-8")
    found = re.search(r"<title>([\d.]+)</title>", _chromium(page, DESKTOP, "--dump-dom"))
    if found is None:
        sys.exit("the report shows no table of points")
    return float(found[1]) / DESKTOP[1]


if __name__ == "__main__":
    main()
