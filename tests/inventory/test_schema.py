"""The schema editors use for inventories agrees with what loads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from click.testing import CliRunner

from runner.cli.schema import schema as command
from runner.inventory.schema import schema
from tests.inventory.test_against_ansible import CASES

ROOT = Path(__file__).parents[2]
EXAMPLES = [
    *sorted(CASES.glob("*/hosts.y*ml")),
    *sorted((ROOT / "inventory").glob("*.example.yaml")),
]


@pytest.fixture(scope="module")
def validator() -> Any:
    made = schema()
    jsonschema.Draft202012Validator.check_schema(made)
    return jsonschema.Draft202012Validator(made)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.parent.name)
def test_inventories_fit_the_schema(validator: Any, path: Path) -> None:
    found = yaml.safe_load(path.read_text().replace("!unsafe ", ""))
    assert [error.message for error in validator.iter_errors(found)] == []


@pytest.mark.parametrize(
    "text",
    [
        "all: {host: {a: }}",
        "all: {hosts: [a, b]}",
        "all: {hosts: {a: 5}}",
        "all: {hosts: {a: {ansible_port: 70000}}}",
        "all: {children: {g: {var: {}}}}",
        "[]",
        "{}",
        "plugin: aws_ec2",
        "{plugin: kubernetes, addres: name}",
        "{plugin: kubernetes, address: internal}",
        "{plugin: kubernetes, groups: {a: zone}}",
    ],
)
def test_the_schema_refuses(validator: Any, text: str) -> None:
    assert not validator.is_valid(yaml.safe_load(text))


@pytest.mark.parametrize(
    "text",
    [
        "all: ",
        "{plugin: kubernetes}",
        "{plugin: kubernetes, groups_from_labels: {zone: z, rack: }, groups: {a: [x=1, y=2*]}}",
        "{plugin: gpurun.kubernetes, address: name, vars: {ansible_user: ops}}",
    ],
)
def test_the_schema_accepts(validator: Any, text: str) -> None:
    assert validator.is_valid(yaml.safe_load(text))


def test_the_command_prints_it() -> None:
    printed = CliRunner().invoke(command, ["--inventory"], standalone_mode=False)
    assert '"title": "gpurun inventory"' in printed.output
