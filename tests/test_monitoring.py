"""The examples for Prometheus and Grafana speak of metrics that there are."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from vskd_stream.supervision.metrics import SPECS

CONFIGS = Path(__file__).parents[1] / "configs"
ALERTS = CONFIGS / "prometheus" / "alerts.yml"
DASHBOARD = json.loads((CONFIGS / "grafana" / "vskd.json").read_text())
KNOWN = {
    name + suffix
    for spec in SPECS
    for name, suffix in [
        (spec.name, ""),
        *((spec.name, suffix) for suffix in ("_bucket", "_sum", "_count") if spec.kind == "histogram"),
    ]
}
LABELS = {label for spec in SPECS for label in spec.labels}


def metrics_in(expression: str) -> set[str]:
    return set(re.findall(r"\bvskd_\w+", expression))


def rules():
    return [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]


def expressions():
    yield from (rule["expr"] for rule in rules())
    yield from (target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"])
    yield from (v["definition"] for v in DASHBOARD["templating"]["list"] if v["type"] == "query")


def test_every_metric_that_is_asked_for_is_told():
    for expression in expressions():
        assert metrics_in(expression) <= KNOWN, expression
    assert len({name for each in expressions() for name in metrics_in(each)}) > 15


def test_every_alert_says_what_is_wrong_and_how_bad_it_is():
    for rule in rules():
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert set(rule["annotations"]) == {"summary", "description"}


def test_labels_that_texts_name_are_told():
    texts = json.dumps(DASHBOARD) + ALERTS.read_text()
    used = set(re.findall(r"\{\{ ?\$labels\.(\w+) ?\}\}|\{\{(\w+)\}\}", texts))
    assert {a or b for a, b in used} <= LABELS | {"instance"}


def test_panels_do_not_lie_on_each_other():
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


@pytest.mark.parametrize("what", [("check", "rules", "alerts.yml"), ("test", "rules", "alerts_test.yml")])
def test_the_rules_are_good_and_fire_when_they_should(what):
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (Debian: prometheus)")
    done = subprocess.run([promtool, *what], cwd=ALERTS.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
