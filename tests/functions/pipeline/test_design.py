"""The room's DESIGN.md says what the code does: its grammar parses, its table is the table."""

from __future__ import annotations

import re
from pathlib import Path

import sixfold_functions.pipeline
from sixfold_functions.pipeline import core, definition
from sixfold_functions.pipeline.model import Build, Deploy

TEXT = (Path(sixfold_functions.pipeline.__file__).parent / "DESIGN.md").read_text()


def test_the_documented_grammar_is_a_pipeline() -> None:
    """The example that shows every key is read as it is written."""
    (example,) = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)
    parsed = definition.parse(example.encode())
    build, deploy = (stage.actions[0] for stage in parsed.stages)
    assert isinstance(build, Build)
    assert isinstance(deploy, Deploy)
    for cls in (Build, Deploy):
        for field in cls.__struct_fields__:
            assert f"{field}:" in example, f"{field} is not in the documented grammar"


def test_the_documented_table_is_the_table() -> None:
    """Every pair of status and event that does something has its row, and no row is of another pair."""
    section = TEXT.partition("`core.TRANSITIONS`")[2].partition("Any other pair")[0]
    rows = re.findall(r"^\| (\w+|\(new\)) \| ([a-z ]+?),? ?(?:,[^|]*|for [^|]*|of [^|]*)?\|", section, re.MULTILINE)
    documented = {(status, words.strip().split()[-1]) for status, words in rows if status not in ("status", "(new)")}
    table = {
        (status.value, re.findall("[A-Z][a-z]+", event.__name__)[-1].lower()) for status, event in core.TRANSITIONS
    }
    assert documented == table
