"""gpurun lint for programs: JSON and SARIF say what the text says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from runner.cli.lint import lint

WRONG = "- hosts: gpu\n  tasks:\n    - comand: x\n"
ADVICE = "- hosts: gpu\n  tasks:\n    - {name: Look, command: uptime}\n"


@pytest.fixture
def check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(tmp_path)

    def run(text: str, form: str) -> Result:
        Path("p.yaml").write_text(text, encoding="utf-8")
        return CliRunner().invoke(lint, ["p.yaml", "--format", form], standalone_mode=False)

    return run


def test_json_names_the_place_and_the_cure(check: Any) -> None:
    result = check(WRONG, "json")
    (item,) = json.loads(result.stdout)
    assert result.return_value == 1
    assert (item["level"], item["file"], item["line"], item["column"]) == ("error", "p.yaml", 3, 7)
    assert item["message"] == "there is no module comand" and "command" in item["hint"]


def test_advice_is_a_warning(check: Any) -> None:
    assert [item["level"] for item in json.loads(check(ADVICE, "json").stdout)] == ["warning"]


def test_nothing_wrong_is_an_empty_list(check: Any) -> None:
    result = check(ADVICE.replace("uptime", "uptime, args: {creates: /x}"), "json")
    assert json.loads(result.stdout) == [] and result.return_value == 0


def test_sarif_has_one_result_with_its_region(check: Any) -> None:
    data = json.loads(check(WRONG, "sarif").stdout)
    assert data["version"] == "2.1.0"
    (result,) = data["runs"][0]["results"]
    assert result["level"] == "error" and result["message"]["text"].startswith("there is no module")
    place = result["locations"][0]["physicalLocation"]
    assert place["artifactLocation"]["uri"] == "p.yaml"
    assert place["region"] == {"startLine": 3, "startColumn": 7}


def test_text_stays_for_people(check: Any) -> None:
    assert "p.yaml:3:7: error: there is no module comand" in check(WRONG, "text").output
