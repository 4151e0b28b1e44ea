"""Malformed replies, each with a word that its refusal must contain; and replies that are fine."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowrl.codegen.fences import find_fences
from flowrl.codegen.parse import MAX_REPLY_CHARS, parse_reply
from flowrl.errors import ProposalRefused
from flowrl.skills.facts import Fact, FactKind, Vocabulary
from flowrl.skills.operator import Linear
from flowrl.skills.proposal import SkillProposal

JSON = (
    '{"name": "collect_wood", "description": "Gather wood.", "requires": {}, "consumes": {}, '
    '"gains": {"inventory:wood": "1*n"}}'
)
CODE = (
    "def is_done(start, prev, now, n):\n    return True\n\ndef reward(start, prev, now, n):\n    return 0.0\n"
)


def reply(data: str = JSON, code: str = CODE) -> str:
    return f"Some prose.\n```json\n{data}\n```\nMore prose.\n```python\n{code}```\n"


def swap(old: str, new: str) -> str:
    assert old in JSON
    return reply(JSON.replace(old, new))


MALFORMED = {
    "empty": ("", "empty"),
    "white space": (" \n\t\n", "empty"),
    "prose only": ("I would collect wood.", "no ```json block"),
    "no json": (f"```python\n{CODE}```", "no ```json block"),
    "no python": (f"```json\n{JSON}\n```", "no ```python block"),
    "too long": ("x" * (MAX_REPLY_CHARS + 1), "characters"),
    "null byte": (reply(code=CODE + "\x00"), "null bytes"),
    "lone surrogate": (reply() + "\ud800", "surrogates"),
    "json never closed": (f"```python\n{CODE}```\n```json\n{JSON}\n", "never closed"),
    "python never closed": (f"```json\n{JSON}\n```\n```python\n{CODE}", "never closed"),
    "json runs into python": (f"```json\n{JSON}\n```python\n{CODE}```\n", "never closed"),
    "trailing comma": (swap('"1*n"}}', '"1*n"},}'), "trailing comma"),
    "trailing comma, next line": (swap('"1*n"}}', '"1*n",\n}}'), "trailing comma"),
    "single quotes": (swap('"name"', "'name'"), "double quotes"),
    "comment": (swap('"requires"', '// none\n"requires"'), "no comments"),
    "python literal": (swap('"requires": {}', '"requires": None'), "true, false and null"),
    "missing comma": (swap('"collect_wood", ', '"collect_wood" '), "comma"),
    "cut off": (reply(JSON[:-3]), "JSON"),
    "unquoted key": (swap('"name"', "name"), "double-quoted"),
    "syntax error names the line": (reply(JSON.replace(', "gains"', ',\n\n "gains" 5')), "line 3"),
    "two objects in one block": (reply(JSON + "\n" + JSON), "one object"),
    "a list": (reply("[1, 2]"), "not an object"),
    "not a number": (swap('"1*n"', "NaN"), "NaN"),
    "infinity": (swap('"1*n"', "Infinity"), "Infinity"),
    "endless digits": (swap('"1*n"', "9" * 5000), "too long"),
    "endless digits as text": (swap('"1*n"', f'"{"9" * 5000}"'), "count"),
    "deep nesting": (reply("[" * 20_000), "nested"),
    "doubled key": (swap('"requires": {}', '"requires": {}, "requires": {}'), "twice"),
    "doubled fact": (swap('"1*n"', '1, "inventory:wood": 2'), "twice"),
    "misspelt key": (swap('"gains"', '"gain"'), "Did you mean 'gains'?"),
    "extra key": (swap('"requires"', '"code": "x", "requires"'), "unknown key"),
    "missing name": (swap('"name": "collect_wood", ', ""), "'name'"),
    "missing description": (swap('"description": "Gather wood.", ', ""), "'description'"),
    "missing consumes": (swap('"consumes": {}, ', ""), '"consumes": {}'),
    "name in camel case": (swap("collect_wood", "CollectWood"), "Did you mean 'collect_wood'?"),
    "name with a space": (swap("collect_wood", "collect wood"), "Did you mean 'collect_wood'?"),
    "name climbs folders": (swap("collect_wood", "../../etc/passwd"), "snake_case"),
    "name too long": (swap("collect_wood", "a" * 65), "64"),
    "name empty": (swap("collect_wood", ""), "snake_case"),
    "name not ascii": (swap("collect_wood", "ｃollect"), "snake_case"),
    "name a number": (swap('"collect_wood"', "5"), "snake_case"),
    "description empty": (swap("Gather wood.", "  "), "empty"),
    "description a list": (swap('"Gather wood."', "[]"), "sentence"),
    "description with an escape sequence": (swap("Gather wood.", "\\u001b[2J"), "control"),
    "description with a surrogate": (swap("Gather wood.", "\\ud800"), "control"),
    "description too long": (swap("Gather wood.", "x" * 1001), "1001"),
    "unknown fact": (swap("inventory:wood", "inventory:wod"), "Did you mean 'inventory:wood'?"),
    "section is a list": (swap('"requires": {}', '"requires": ["inventory:wood"]'), "not an object"),
    "count is code": (swap('"1*n"', '"__import__(1)"'), "not a count"),
    "count is a float": (swap('"1*n"', "1.5"), "count"),
    "gains nothing": (swap('{"inventory:wood": "1*n"}', "{}"), "'gains' is empty"),
    "max_steps zero": (swap('"requires"', '"max_steps": 0, "requires"'), "10000"),
    "max_steps true": (swap('"requires"', '"max_steps": true, "requires"'), "10000"),
    "max_steps as text": (swap('"requires"', '"max_steps": "100", "requires"'), "10000"),
    "two different operators": (
        f"```json\n{JSON}\n```\nor\n```json\n{JSON.replace('collect', 'gather')}\n```\n```python\n{CODE}```",
        "2 different operators",
    ),
    "two different programs": (reply() + f"or\n```python\n{CODE.replace('0.0', '1.0')}```\n", "2 different"),
    "functions in two blocks": (
        f"```json\n{JSON}\n```\n```python\n{CODE[:60]}\n```\n```python\ndef reward(s, p, w, n):\n```",
        "different blocks",
    ),
    "no reward": (reply(code="def is_done(start, prev, now, n):\n    return True\n"), "define reward"),
    "misspelt function": (reply(code=CODE.replace("is_done", "isdone")), "Did you mean 'is_done'?"),
    "python is empty": (reply(code=""), "is_done or reward"),
}


@pytest.fixture(scope="module")
def facts() -> Vocabulary:
    return Vocabulary([Fact("inventory:wood", FactKind.COUNT, 9), Fact("inventory:stone", FactKind.COUNT, 9)])


@pytest.mark.parametrize("case", MALFORMED)
def test_refuses_a_malformed_reply(case: str, facts: Vocabulary) -> None:
    text, word = MALFORMED[case]
    with pytest.raises(ProposalRefused) as refused:
        parse_reply(text, facts)
    assert refused.value.stage == "parse"
    assert word in str(refused.value)
    assert refused.value.fix
    assert len(str(refused.value)) < 1_300


WELL_FORMED = {
    "as asked for": reply(),
    "Windows line ends": reply().replace("\n", "\r\n"),
    "old Mac line ends": reply().replace("\n", "\r"),
    "byte-order mark": "\ufeff" + reply(),
    "no prose": f"```json\n{JSON}\n```\n```python\n{CODE}```",
    "code first": f"```python\n{CODE}```\n```json\n{JSON}\n```",
    "unlabelled fences": reply().replace("```json", "```").replace("```python", "```"),
    "other labels": reply().replace("```json", "``` JSON").replace("```python", "```py"),
    "tildes": reply().replace("```", "~~~"),
    "longer fences": reply().replace("```", "````"),
    "indented in a list": "1. Skill:\n" + "".join(f"   {line}\n" for line in reply().splitlines()),
    "code indented as a whole": reply(code="".join(f"    {line}\n" for line in CODE.splitlines())),
    "the same twice": reply() + reply(),
    "an example of another language": reply() + "```bash\nrm -rf /\n```\n",
    "an incomplete draft first": '```json\n{"name": "draft"}\n```\n```python\ndef is_done(s): ...\n```\n'
    + reply(),
    "an invalid draft first": "```json\n{oops\n```\n" + reply(),
    "inline backticks": "Use ``` carefully.\n`x`\n" + reply(),
    "max_steps null": swap('"requires"', '"max_steps": null, "requires"'),
}


@pytest.mark.parametrize("case", WELL_FORMED)
def test_reads_a_well_formed_reply(case: str, facts: Vocabulary) -> None:
    proposal = parse_reply(WELL_FORMED[case], facts)
    assert proposal == SkillProposal(
        "collect_wood", "Gather wood.", proposal.operator, CODE, None, WELL_FORMED[case]
    )
    assert proposal.operator.gains == {"inventory:wood": Linear(1, 0)}


def test_reads_max_steps_and_joins_the_description(
    write_reply: Callable[..., str], vocabulary: Vocabulary
) -> None:
    proposal = parse_reply(write_reply(max_steps=300, description="two\n  lines"), vocabulary)
    assert (proposal.max_steps, proposal.description) == (300, "two lines")


def test_says_where_an_open_block_begins(facts: Vocabulary) -> None:
    with pytest.raises(ProposalRefused, match="opens at line 3"):
        parse_reply(f"one\ntwo\n```json\n{JSON}\n", facts)


def test_fences_know_label_text_and_line() -> None:
    found = find_fences("a\n```Python title=x\nb\n````\nc\n~~~\nd")
    assert [(f.label, f.text, f.line, f.closed) for f in found] == [
        ("python", "b", 2, True),
        ("", "d", 6, False),
    ]


@settings(max_examples=150)
@given(
    st.lists(
        st.sampled_from([*reply().splitlines(keepends=True), "```\n", "{", "def ", "\t", "é"]), max_size=25
    )
)
def test_any_mixture_of_lines_is_read_or_refused(lines: list[str]) -> None:
    world = Vocabulary([Fact("inventory:wood", FactKind.COUNT, 9)])
    try:
        outcome: object = parse_reply("".join(lines), world)
    except ProposalRefused as refused:
        outcome = refused.stage
    assert outcome == "parse" or isinstance(outcome, SkillProposal)
