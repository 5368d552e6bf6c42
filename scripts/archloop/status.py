"""The funnel per cycle as a table in the terminal, from whatever summaries there are. Starts in a blink."""

from pathlib import Path

from archloop.files import read_json
from archloop.funnel import NOT_VALID


def status_table(results: Path, chains: dict[str, int]) -> str:
    """Return the table of all finished cycles. chains: name -> number of cycles planned."""
    lines = []
    for chain, planned in chains.items():
        found = [results / chain / f"cycle-{cycle}" / "summary.json" for cycle in range(1, planned + 1)]
        summaries = [read_json(path) for path in found if path.is_file()]
        lines.append(f"chain {chain}: {len(summaries)} of {planned} cycles finished")
        if summaries:
            lines += ["", *_rows(summaries), ""]
    report = results / "report" / "index.html"
    if report.is_file():
        lines.append(f"report: {report}")
    return "\n".join(lines)


def _rows(summaries: list[dict]) -> list[str]:
    failures = [name for name in NOT_VALID if any(summary["funnel"][name] for summary in summaries)]
    header = ["cycle", "candidates", *failures, "valid", "below_threshold", "near_copy", "admitted", "mean", "best"]
    table = [header]
    for summary in summaries:
        funnel, accuracy = summary["funnel"], summary["accuracy"]
        table.append(
            [
                str(summary["cycle"]),
                str(summary["candidates"]),
                *(str(funnel[name]) for name in failures),
                f"{summary['valid']['count']} ({percent(summary['valid']['share'])})",
                *(str(funnel[name]) for name in ("below_threshold", "near_copy", "admitted")),
                percent(accuracy["mean"]),
                percent(accuracy["best"]),
            ]
        )
    widths = [max(len(row[place]) for row in table) for place in range(len(header))]
    return ["  " + "  ".join(cell.rjust(width) for cell, width in zip(row, widths)) for row in table]


def percent(share: float | None) -> str:
    """Return a share (0 to 1) in per cent with one decimal, `-` for None."""
    return "-" if share is None else f"{100 * share:.1f} %"
