"""What a comparison came to, as one page that stands alone: tables, curves, confusions and example images."""

from __future__ import annotations

import json
from html import escape
from pathlib import Path
from typing import Any

from training.plots import confusion, curves, picture
from training.trial_experiment import TrialExperiment
from training.trials import as_windows
from vskd_stream.errors import VskdError
from vskd_stream.image import encode

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}
table{border-collapse:collapse}td,th{padding:.2rem .7rem;border-bottom:1px solid #ddd;text-align:right}
td:first-child,th:first-child{text-align:left}code{background:#f4f4f4;padding:.1rem .3rem}
svg{font:11px system-ui,sans-serif;display:block;max-width:100%;height:auto}
.grid{stroke:#e5e5e5}.frame{fill:none;stroke:#888}figure{display:inline-block;margin:.4rem}
figcaption{font-size:12px}img{image-rendering:pixelated;margin-right:2px}
"""
_EXAMPLES = 6


class ReportError(VskdError):
    """Nothing to report."""


def report(experiment: TrialExperiment, *, table: Path, data: Path, runs: Path) -> str:
    """The page, as HTML.

    Args:
        experiment: What was compared.
        table: The file that ``vskd-train compare`` wrote.
        data: The folder with the data sets, for example images.
        runs: Folder of the runs, for their curves and confusions.

    Raises:
        ReportError: There is no such table, or it is damaged.
        DatasetError: The data set is missing or damaged.
    """
    try:
        found = json.loads(table.read_text(encoding="utf-8"))
        rows = found["methods"]
    except (OSError, ValueError, KeyError) as error:
        raise ReportError(f"{table} cannot be read ({error}); run vskd-train compare first") from error
    metrics = _first_runs(runs / experiment.name, rows)
    sources, split = experiment.sources.values(), experiment.split
    body = [
        f"<h1>{escape(experiment.name)}</h1>",
        *(
            f"<p>{escape(source.name)}. {escape(source.attribution)} Licence: {escape(source.licence)}.</p>"
            for source in sources
        ),
        f"<p>By {split.by}: {', '.join(split.train)} teach, {', '.join(split.test)} judge.</p>",
        "<p>The last epoch was taken, not the best.</p>",
        f"<p><code>{escape(found['command'])}</code></p>",
        "<h2>Methods</h2>",
        _table(rows),
        "<h2>Learning</h2>",
        *(
            f"<h3>{figure}, first seed, on what was learned from</h3>"
            + curves({e: [c[figure] for c in m["curves"]] for e, m in metrics.items()}, title=figure)
            for figure in ("cross_entropy", "accuracy")
        ),
        "<h2>What is taken for what, first seed</h2>",
        *(
            f"<h3>{escape(entry)}</h3>{confusion(m['test']['confusion'], m['labels'], title=entry)}"
            for entry, m in metrics.items()
        ),
        "<h2>What the student sees</h2>",
        _images(experiment, data),
    ]
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(experiment.name)}</title>'
        f"<style>{_STYLE}</style><body>{''.join(body)}</body></html>\n"
    )


def _first_runs(folder: Path, rows: dict[str, Any]) -> dict[str, dict[str, Any]]:
    found = {}
    for entry, row in rows.items():
        path = folder / f"{entry}-{row['seeds'][0]}" / "metrics.json"
        try:
            found[entry] = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ReportError(f"{path} cannot be read ({error}); run vskd-train compare again") from error
    return found


def _table(rows: dict[str, Any]) -> str:
    head = "".join(
        f"<th>{name}</th>"
        for name in (
            "method",
            "teacher",
            "seeds",
            "accuracy",
            "macro-F1",
            "wrist classes",
            "against alone",
            "p",
        )
    )
    lines = []
    for entry, row in sorted(rows.items(), key=lambda item: -item[1]["accuracy"]["mean"]):
        against = row.get("against_alone")
        cells = [
            escape(entry),
            "<br>".join(
                f"{escape(one['run'])}, {100 * one['accuracy']:.1f}" for one in row.get("teachers", ())
            ),
            str(len(row["seeds"])),
            *(
                _percent(row[figure]) if figure in row else ""
                for figure in ("accuracy", "macro_f1", "wrist_accuracy")
            ),
            f"{100 * against['difference']:+.2f}" if against else "",
            f"{against['p']:.3g}" if against else "",
        ]
        lines.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    return f"<table><tr>{head}</tr>{''.join(lines)}</table>"


def _percent(figure: dict[str, Any]) -> str:
    deviation = figure["deviation"]
    return f"{100 * figure['mean']:.2f}" + ("" if deviation is None else f" &plusmn; {100 * deviation:.2f}")


def _images(experiment: TrialExperiment, data: Path) -> str:
    learned = experiment.split.select(experiment.trials(data), "train")
    step = max(1, len(learned) // _EXAMPLES)
    some = learned[::step][:_EXAMPLES]
    figures = []
    for trial, window in zip(some, as_windows(some, experiment.signal.window_samples), strict=True):
        channels = encode(window, spec=experiment.image)
        shown = "".join(picture(c, title=f"{trial.key}, channel {i}") for i, c in enumerate(channels))
        figures.append(
            f"<figure>{shown}<figcaption>{escape(trial.label)}, {escape(trial.key)}</figcaption></figure>"
        )
    return "".join(figures)
