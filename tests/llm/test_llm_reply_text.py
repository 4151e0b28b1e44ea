"""The two blocks of a reply, however a model wraps them."""

from __future__ import annotations

import pytest

from flowrl.llm.reply_text import find_json, find_python, whole_reply

OPERATOR = {"name": "dig", "description": "Dig.", "requires": {}, "consumes": {}, "gains": {"a": "1*n"}}
SOURCE = (
    "def is_done(start, prev, now, n):\n    return now.x > 1\n\n\ndef reward(s, p, now, n):\n    return 1.0"
)
REPLY = whole_reply(OPERATOR, SOURCE)

WRAPPED = {
    "plain": REPLY,
    "prose": f"Sure!\n\n{REPLY}\nThis digs.",
    "windows": REPLY.replace("\n", "\r\n"),
    "capitals": REPLY.replace("```json", "```JSON").replace("```python", "```Python"),
    "py": REPLY.replace("```python", "```py"),
    "no language": REPLY.replace("```json", "```").replace("```python", "```"),
    "indented": "\n".join(f"    {line}" for line in REPLY.splitlines()),
    "thinking first": '```json\n{"name": "no"}\n```\nNo, better:\n' + REPLY,
}


@pytest.mark.parametrize("name", WRAPPED)
def test_both_blocks_are_found(name: str) -> None:
    assert find_json(WRAPPED[name]) == OPERATOR
    assert find_python(WRAPPED[name]) == SOURCE


def test_a_bare_object_will_do() -> None:
    assert find_json('  {"name": "dig"} ') == {"name": "dig"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no ```json block"),
        ("{", "not valid JSON"),
        ('```json\n"x"\n```', "holds a str"),
        ("```json\n{} {}\n```", "not valid JSON"),
    ],
)
def test_what_is_no_json_says_why(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        find_json(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("def is_done(): ...", "no ```python block"),
        ("```python\ndef reward(a): ...\n```", "does not define is_done"),
        ("```python\ndef is_done(a): ...\n```", "does not define reward"),
    ],
)
def test_what_is_no_code_says_why(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        find_python(text)
