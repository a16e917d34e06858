"""The dashboards are what `deploy/grafana/panels.py` says, and each panel says what to do."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml
from deploy.grafana.panels import BOARDS, FOLDER, Board, Panel, files
from tests.support.metric_names import TARGET_LABELS
from tests.support.promql import label_names, parsed

ROOT = Path(__file__).parents[2]
PANELS = [
    pytest.param(panel, id=f"{board.uid}: {panel.title}")
    for board in BOARDS
    for panels in board.sections.values()
    for panel in panels
]
PROVISIONING = ROOT / "deploy" / "grafana" / "provisioning"


def test_the_files_are_what_the_description_says() -> None:
    assert {file.name: file.read_text() for file in FOLDER.iterdir()} == {
        file.name: text for file, text in files()
    }, "run `make docs`"


@pytest.mark.parametrize("panel", PANELS)
def test_a_panel_says_what_to_look_for(panel: Panel) -> None:
    assert panel.look_for.endswith(".")
    named = re.findall(r"[Rr]unbook:? ([a-z-]+)", panel.look_for)
    assert [name for name in named if not (ROOT / f"docs/runbooks/{name}.md").exists()] == []


@pytest.mark.parametrize("panel", PANELS)
def test_a_legend_names_labels_that_its_series_have(panel: Panel) -> None:
    for legend, query in panel.queries.items():
        tree = parsed(query.replace("$__rate_interval", "5m"))
        known = label_names(tree) | TARGET_LABELS | {"consumergroup", "topic"}
        assert set(re.findall(r"\{\{(\w+)\}\}", legend)) <= known


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.uid)
def test_a_dashboard_has_panels_of_its_own(board: Board) -> None:
    panels = json.loads((FOLDER / f"{board.uid}.json").read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    titles = [panel["title"] for panel in panels]
    assert len(set(titles)) == len(titles)


def test_the_data_source_that_panels_name_is_provisioned() -> None:
    document = yaml.safe_load((PROVISIONING / "datasources" / "prometheus.yml").read_text())
    (source,) = document["datasources"]
    named = {
        panel["datasource"]["uid"]
        for file in FOLDER.iterdir()
        for panel in json.loads(file.read_text())["panels"]
        if "datasource" in panel
    }
    assert named == {source["uid"]}
