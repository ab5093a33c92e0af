"""What came out, for people: the table of docs/compatibility.md, and lines to print."""

from __future__ import annotations

import os
import platform
import statistics
from collections import Counter
from typing import TYPE_CHECKING, Any

from benchmarks.compat import judge

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

_MARK = "<!-- {name} -->"


def page(results: Sequence[dict[str, Any]], python: str) -> str:
    """Return the part of the page that the command makes."""
    return "\n".join(_lines(results, python))


def write(file: Path, text: str, name: str = "figures") -> None:
    """Put a text between two marks of a file."""
    start, end = _MARK.format(name=name), _MARK.format(name="/" + name)
    whole = file.read_text("utf-8")
    before, found, rest = whole.partition(start)
    _, ended, after = rest.partition(end)
    if not found or not ended:
        raise SystemExit(f"{file} has no {start} ... {end}")
    file.write_text(f"{before}{start}\n{text}\n{end}{after}", "utf-8")


def summary(results: Sequence[dict[str, Any]]) -> str:
    """Return one line that says how many rows came out how."""
    counts = Counter(result["status"] for result in results)
    return f"{len(results)} rows: " + ", ".join(
        f"{number} {status}" for status, number in sorted(counts.items())
    )


def _lines(results: Sequence[dict[str, Any]], python: str) -> Iterator[str]:
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    yield f"CPython {python}, {machine}. {summary(results)}."
    yield ""
    yield from _medians(
        [
            result["figures"]
            for result in results
            if (result.get("figures") or {}).get("status") == "passes"
        ]
    )
    yield (
        "| package | newest | older | two threads | in turns | newest in main too | "
        "modules | works | first import | | peak memory |"
    )
    yield "|---|---|---|---|---|---|---|---|---|---|---|"
    for result in results:
        if result["status"] != "no wheel":
            yield _row(result)
    yield from _section(
        "Not carried",
        [
            f"- **{result['name']}** {result.get('newest')} and {result.get('older')}: "
            + _why(result)
            for result in results
            if result["status"] in ("fails", "refused")
        ],
    )
    yield from _section(
        "No wheel for this interpreter",
        [
            f"- {result['name']}: {_cut(result['reason'])}"
            for result in results
            if result["status"] == "no wheel"
        ],
    )
    yield from _section(
        "Older versions that do not work in a plain environment, so the next one was taken",
        [
            f"- {result['name']} {one['version']}: `{_cut(one['reason'], 200)}`"
            for result in results
            for one in result.get("rejected", ())
        ],
    )
    yield from _section(
        "What bubbles' code wrote into the standard library",
        sorted(
            {
                f"- {result['name']}: `{line.partition(' is from ')[0]}`"
                for result in results
                for mode in judge.MODES
                for line in ((result.get("modes") or {}).get(mode) or {}).get("patches", ())
            }
        ),
    )


def _medians(figures: Sequence[dict[str, Any]]) -> Iterator[str]:
    if not figures:
        return
    for what, fact, limit in (
        ("First import", "seconds ratio", 1.10),
        ("Peak memory, without the library's own", "realm ratio", 1.05),
    ):
        ratios = [one[fact] for one in figures]
        median = statistics.median(ratios)
        within = f"{sum(ratio <= limit for ratio in ratios)} of {len(ratios)} rows"
        yield (
            f"{what}, in a bubble divided by plain: median of all rows {median:.2f}, "
            f"at most {limit:.2f} in {within}."
        )
    longer = statistics.median(one["bubble seconds"] - one["plain seconds"] for one in figures)
    own = statistics.median(one["library kilobytes"] for one in figures)
    yield (
        f"In the median a first import takes {1000 * longer:.1f} ms longer; "
        f"the library itself takes {own / 1024:.1f} MB, once."
    )
    yield ""


def _row(result: dict[str, Any]) -> str:
    modes = result.get("modes") or {}
    figures = result.get("figures") or {}
    cells = [result["name"], result.get("newest"), result.get("older") or ""]
    cells += [(modes.get(mode) or {}).get("status", "not run") for mode in judge.MODES]
    counts = [
        str((result.get(f"plain {one}") or {}).get("modules", "")) for one in ("newest", "older")
    ]
    cells += [" + ".join(counts), "checked" if result.get("smoke") else ""]
    if figures.get("status") == "passes":
        longer = 1000 * (figures["bubble seconds"] - figures["plain seconds"])
        cells += [f"{figures['seconds ratio']:.2f} x", f"{longer:+.1f} ms"]
        cells += [f"{figures['realm ratio']:.2f} x"]
    else:
        cells += ["", "", ""]
    return "| " + " | ".join(map(str, cells)) + " |"


def _why(result: dict[str, Any]) -> str:
    if result.get("reason"):
        return f"`{_cut(result['reason'])}`"
    found = []
    for mode in judge.MODES:
        one = (result.get("modes") or {}).get(mode)
        if one and one["problems"]:
            more = len(one["problems"]) - 1
            tail = f" and {more} more" if more else ""
            found.append(f"{mode}: `{_cut(one['problems'][0])}`{tail}")
    return "; ".join(found)


def _section(title: str, lines: Sequence[str]) -> Iterator[str]:
    if lines:
        yield from ("", f"### {title}", "", *lines)


def _cut(text: str, most: int = 400) -> str:
    text = " ".join(text.replace("`", "'").replace("|", "/").split())
    return text if len(text) <= most else text[: most - 1] + "…"
