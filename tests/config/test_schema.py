"""The published schema and the guide say what the program does."""

from __future__ import annotations

import json
import re
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from openapi_schema_validator import OAS31Validator
from pydantic import BaseModel
from ruamel.yaml import YAML

from config import repository
from config.repository import parse
from config.schema import schema

DOCS = Path(__file__).parent.parent.parent / "docs"
GUIDE = (DOCS / "blacktree-yml.md").read_text()
SAMPLES = re.findall(r"```yaml\n(.*?)```", GUIDE, re.DOTALL)
PARTS = [
    part
    for part in vars(repository).values()
    if isinstance(part, type) and issubclass(part, BaseModel) and part.model_fields
]


def valid(data: Any) -> bool:
    return bool(OAS31Validator(schema()).is_valid(data))


def test_the_published_schema_is_the_programs() -> None:
    # `blacktree config schema > docs/blacktree.schema.json` makes it anew.
    assert json.loads((DOCS / "blacktree.schema.json").read_text()) == schema()


def test_it_is_a_schema() -> None:
    OAS31Validator.check_schema(schema())


@pytest.mark.parametrize("sample", SAMPLES)
def test_the_guides_samples_are_valid_for_editors_and_for_us(sample: str) -> None:
    parse(sample)
    assert valid(YAML(typ="safe").load(StringIO(sample)))


@pytest.mark.parametrize(
    ("data", "fits"),
    [
        ({}, True),
        ({"x-anchors": {"any": ["thing"]}}, True),
        ({"images": {"a": {"test": ["ls"]}}}, True),
        ({"images": {"a": {"test": {"command": ["ls"], "network": True}}}}, True),
        ({"images": {"a": {"test": []}}}, False),
        ({"images": {"a": {"tset": ["ls"]}}}, False),
        ({"image": {}}, False),
        ({"environments": {"a": {"gates": {"checks": True}}}}, True),
        ({"environments": {"a": {"gates": {"checks": ["ci"]}}}}, True),
        ({"environments": {"a": {"gates": {"checks": "ci"}}}}, True),
        ({"environments": {"a": {"ttl": "soon"}}}, False),
        ({"environments": {"a": {"limits": {"memory": "2g"}}}}, True),
        ({"environments": {"a": {"limits": {"memory": "much"}}}}, False),
    ],
)
def test_the_schema_knows_the_short_forms_and_refuses_the_rest(data: Any, fits: bool) -> None:
    assert valid(data) is fits


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.__name__)
def test_every_key_has_a_description_and_is_in_a_table_of_the_guide(part: type[BaseModel]) -> None:
    rows = "".join(line.split("|")[1] for line in GUIDE.splitlines() if line.startswith("|"))
    for key, field in part.model_fields.items():
        assert field.description, key
        assert f"`{field.alias or key}`" in rows, key
