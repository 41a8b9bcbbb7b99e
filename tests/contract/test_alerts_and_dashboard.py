"""deploy/prometheus and deploy/grafana: the alerts do what they say, by promtool's unit tests, and
both name only metrics, labels and values of labels that web and worker show.

test_metrics_table.py holds the table of metrics to what is shown, and these files are held to that.
"""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

import service
from service import worker as _worker  # noqa: F401 - all that counts is imported by it
from service.callbacks.steps.ingest import show_zeros
from service.operations.domain.hold import HoldTarget
from service.operations.domain.snapshot import SubscriberCondition
from service.operations.domain.stages import Stage
from tests.contract.test_metrics_table import documented
from tests.support.log_lines import documented_actions
from tests.support.metrics import label_values

ROOT = Path(service.__file__).parent.parent
RULES = ROOT / "deploy" / "prometheus" / "rules.yaml"
STORIES = RULES.with_name("rules.test.yaml")
DASHBOARD = ROOT / "deploy" / "grafana" / "callsheet.json"
PROSE = ("README.md", "deploy/README.md", "service/README.md")
ANNOTATIONS = {"summary", "description", "action", "link"}
LINK = re.compile(r"\{\{ \$externalLabels\.callsheet_url \}\}(/[a-z]*(\?\w+=(\w+|\{\{ .* \}\}))?)")
LOG_LINES = re.compile(r"(?<!-)\baction ([a-z_]+(?:(?:, | and )[a-z_]+)*)")
NAME = re.compile(r"\b(?:callsheet|http_server)_[a-z_]+")
NO_METRICS = {"callsheet_url", "callsheet_events", "callsheet_work"}  # a label, and two channels
SELECTOR = re.compile(rf"({NAME.pattern})\{{([^}}]*)\}}")
MATCHER = re.compile(r'(\w+)(=~|!~|!=|=)"([^"]*)"')
BY = re.compile(r"\bby \(([^)]*)\)")
OF_A_SCRAPE = {"le", "job", "instance"}
PARTS = {"histogram": ("_bucket", "_sum", "_count")}  # the series of a metric by its type
# What a snapshot shows the values of, and so no process by itself.
IN_THE_SNAPSHOT: dict[str, frozenset[str]] = {
    "stage": frozenset(Stage),
    "state": frozenset(SubscriberCondition),
    "what": frozenset(HoldTarget),
}


def alerts() -> list[dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def stories() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = yaml.safe_load(STORIES.read_text())["tests"]
    return found


def expressions() -> dict[str, str]:
    """Every expression of the alerts and of the dashboard, by what shows it."""
    panels = json.loads(DASHBOARD.read_text())["panels"]
    return {rule["alert"]: rule["expr"] for rule in alerts()} | {
        f"{panel['title']} {target['refId']}": target["expr"]
        for panel in panels
        for target in panel.get("targets", ())
    }


def labels_by_series() -> dict[str, set[str]]:
    """The labels of each series that is shown, by its name."""
    return {
        f"{row.name}{part}": set(row.labels)
        for row in documented()
        for part in PARTS.get(row.type, ("",))
    }


def matchers(expression: str) -> Iterator[tuple[str, str, str]]:
    """The metric, the label and a value that it is compared to, where that is no pattern."""
    for metric, text in SELECTOR.findall(expression):
        for label, operator, value in MATCHER.findall(text):
            for word in value.split("|") if "~" in operator else [value]:
                if re.fullmatch(r"\w*", word):
                    yield metric, label, word


def promtool(*arguments: str, folder: Path = RULES.parent) -> None:
    tool = shutil.which("promtool")
    if tool is None:
        message = "there is no promtool here: apt-get install prometheus"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    done = subprocess.run(  # noqa: S603 - our own arguments
        [tool, *arguments], cwd=folder, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_rules_can_be_loaded() -> None:
    promtool("check", "rules", RULES.name)


@pytest.mark.timeout(180)
def test_each_story_has_the_alerts_that_it_says_and_no_other() -> None:
    promtool("test", "rules", STORIES.name)


def test_each_alert_says_what_it_means_what_to_do_and_where_to_look() -> None:
    for alert in alerts():
        assert alert["labels"]["severity"] in {"critical", "warning"}, alert
        assert re.fullmatch(r"[1-9]\d*[mh]", alert["for"]), alert
        assert set(alert["annotations"]) == ANNOTATIONS, alert
        assert LINK.fullmatch(alert["annotations"]["link"]), alert


def test_the_log_lines_that_alerts_name_are_written() -> None:
    texts = [text for alert in alerts() for text in alert["annotations"].values()]
    named = [found for text in texts for found in LOG_LINES.findall(text)]
    words = {word for found in named for word in re.split(", | and ", found)}
    assert len(words) > 5
    assert words <= documented_actions().keys()


def test_each_alert_fires_in_a_story_and_all_is_well_in_another() -> None:
    fired, quiet = set[str](), []
    for story in stories():
        checks = [check["exp_samples"] for check in story["promql_expr_test"]]
        fired |= {
            name
            for samples in checks
            for sample in samples
            for name in re.findall(r'alertname="(\w+)"', sample["labels"])
        }
        quiet += [] if any(checks) else [story]
    assert fired == {alert["alert"] for alert in alerts()}
    shown_when_well = {series["series"].partition("{")[0] for series in quiet[0]["input_series"]}
    asked = {name for alert in alerts() for name in NAME.findall(alert["expr"])}
    assert asked - shown_when_well == {"callsheet_submission_stopped_info"}, "only shown if it is"


def test_each_story_has_two_processes() -> None:
    for story in stories():
        named = set(re.findall(r'instance="(\w+)"', str(story["input_series"])))
        assert {"web", "worker"} <= named, story["name"]


def test_each_metric_that_is_named_is_shown() -> None:
    known = set(labels_by_series()) | {row.name for row in documented()} | NO_METRICS
    for path in (RULES, DASHBOARD, *(ROOT / document for document in PROSE)):
        assert set(NAME.findall(path.read_text())) <= known, path.name


def test_each_label_that_an_expression_names_is_one_of_its_metrics() -> None:
    known = labels_by_series()
    for place, expression in expressions().items():
        labels = OF_A_SCRAPE.union(*(known[name] for name in NAME.findall(expression)))
        for metric, text in SELECTOR.findall(expression):
            named = {label for label, *_ in MATCHER.findall(text)}
            assert named <= known[metric] | OF_A_SCRAPE, place
        for grouped in BY.findall(expression):
            assert set(re.findall(r"\w+", grouped)) <= labels, place


def test_each_value_that_a_label_is_compared_to_can_be_shown() -> None:
    show_zeros(["provider"])
    for place, expression in expressions().items():
        for metric, label, value in matchers(expression):
            known: Mapping[str, frozenset[str]] = IN_THE_SNAPSHOT | label_values(metric)
            assert label == "job" or value in known[label], (place, label, value)


def test_no_bucket_is_named_as_it_is_written_differently_by_prometheus_2_and_3() -> None:
    for place, expression in expressions().items():
        assert not [label for _, label, _ in matchers(expression) if label == "le"], place


def test_the_expressions_of_the_dashboard_can_be_evaluated(tmp_path: Path) -> None:
    rules = [
        {"record": "dashboard:expression", "labels": {"place": place}, "expr": expression}
        for place, expression in expressions().items()
    ]
    text = yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]})
    (tmp_path / "dashboard.yaml").write_text(text.replace("$__rate_interval", "5m"))
    promtool("check", "rules", "dashboard.yaml", folder=tmp_path)


def test_the_dashboard_shows_whatever_data_source_is_chosen() -> None:
    dashboard = json.loads(DASHBOARD.read_text())
    (variable,) = dashboard["templating"]["list"]
    assert (variable["name"], variable["type"], variable["query"]) == (
        "datasource",
        "datasource",
        "prometheus",
    )
    assert "uid" not in dashboard
    assert not [panel for panel in dashboard["panels"] if "id" in panel]
    sources = re.findall(r'"uid": "([^"]*)"', DASHBOARD.read_text())
    assert set(sources) == {"${datasource}"}
