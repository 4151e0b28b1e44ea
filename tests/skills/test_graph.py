"""The skill graph as data: invariants, round trips through JSON, and errors that name the field."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowrl.errors import GraphError, UserError
from flowrl.skills.graph import (
    SCHEMA_VERSION,
    EnvSteps,
    Evidence,
    Failure,
    Practice,
    SkillGraph,
    SkillNode,
    wilson_interval,
)
from flowrl.skills.operator import Linear, Operator

TEXT = st.text(max_size=12)
NAMES = st.from_regex(r"[a-z][a-z_]{0,10}", fullmatch=True)
LINEAR = st.builds(Linear, st.integers(0, 9), st.integers(0, 9))
COUNTS = LINEAR | st.lists(st.integers(0, 8), min_size=1, max_size=3).map(tuple)
OPERATORS = st.builds(
    Operator,
    st.dictionaries(TEXT, COUNTS, max_size=3),
    st.dictionaries(TEXT, LINEAR, max_size=3),
    st.dictionaries(TEXT, COUNTS, max_size=3),
)
COUNT = st.integers(0, 10**12)
SECONDS = st.floats(0, 1e9)
SHARES = st.floats(0, 1)
STEPS = st.builds(EnvSteps, COUNT, COUNT, COUNT)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXT, inner, max_size=2),
    max_leaves=4,
)
FREE = st.dictionaries(TEXT, JSON, max_size=3)


@st.composite
def evidences(draw: st.DrawFn) -> Evidence:
    episodes = draw(st.integers(0, 5000))
    return Evidence(
        episodes=episodes,
        successes=draw(st.integers(0, episodes)),
        gains=draw(st.dictionaries(TEXT, SHARES, max_size=3)),
        deaths=draw(SHARES),
        mean_length=draw(SECONDS),
    )


@st.composite
def graphs(draw: st.DrawFn) -> SkillGraph:
    graph = SkillGraph(draw(TEXT), provenance=draw(FREE))
    for index, name in enumerate(draw(st.lists(NAMES, max_size=4, unique=True))):
        plans = st.lists(st.tuples(st.sampled_from(graph.names), st.integers(1, 9)), max_size=3)
        node = SkillNode(
            index=index,
            name=name,
            description=draw(TEXT),
            operator=draw(OPERATORS),
            max_steps=draw(st.integers(1, 10**6)),
            max_repeat=draw(st.integers(1, 9)),
            plan=tuple(draw(plans)) if graph.nodes else (),
            evidence=draw(evidences()),
            env_steps=draw(STEPS),
            wall_s=draw(SECONDS),
            llm=draw(FREE),
            provenance=draw(FREE),
            files=draw(st.dictionaries(TEXT, TEXT, max_size=2)),
        )
        graph = graph.with_node(node)
        if draw(st.booleans()):
            failure = Failure(
                name=draw(TEXT),
                stage=draw(TEXT),
                reason=draw(TEXT),
                fix=draw(TEXT),
                operator=draw(st.none() | OPERATORS),
                folder=draw(st.none() | TEXT),
                env_steps=draw(STEPS),
                llm=draw(FREE),
            )
            graph = graph.with_failure(failure)
    return graph


def node(index: int, name: str, **changes: object) -> SkillNode:
    values: dict[str, object] = {
        "index": index,
        "name": name,
        "description": "",
        "operator": Operator(
            {"floor": (0, 2)}, {"inventory:wood": Linear(1, 0)}, {"inventory:x": Linear(2, 1)}
        ),
        "max_steps": 100,
        "max_repeat": 3,
        "plan": (),
        "evidence": Evidence(256, 250, {"inventory:x": 0.98}, 0.01, 42.0),
        "env_steps": EnvSteps(1000, 200, 30),
        "wall_s": 1.5,
        "llm": {"propose": "playbook"},
    }
    return SkillNode(**{**values, **changes})  # type: ignore[arg-type]


def three() -> SkillGraph:
    graph = SkillGraph("World")
    graph = graph.with_failure(Failure("early", "parse", "why", fix="how"))
    graph = graph.with_node(node(0, "a")).with_node(node(1, "b", plan=(("a", 3), ("a", 1))))
    graph = graph.with_failure(Failure("late", "validate", "weak", env_steps=EnvSteps(7)))
    return graph.with_node(node(2, "c", plan=(("a", 1), ("b", 2))))


# --- Wilson ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("successes", "episodes", "low", "high"),
    [
        (0, 0, 0.0, 1.0),
        # By hand for 8 of 10: z2 = 3.8416; centre (0.8 + 0.19208) / 1.38416 = 0.71674;
        # half 1.96 / 1.38416 * sqrt(0.016 + 3.8416 / 400) = 0.22658.
        (8, 10, 0.49016, 0.94332),
        (0, 10, 0.0, 0.27754),
        (10, 10, 0.72246, 1.0),
        (256, 256, 0.98522, 1.0),
    ],
)
def test_wilson_known_values(successes: int, episodes: int, low: float, high: float) -> None:
    assert wilson_interval(successes, episodes) == pytest.approx((low, high), abs=2e-5)


@given(st.integers(1, 10**6).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_holds_the_rate_and_mirrors(case: tuple[int, int]) -> None:
    successes, episodes = case
    low, high = wilson_interval(successes, episodes)
    assert 0 <= low <= successes / episodes <= high <= 1
    assert wilson_interval(episodes - successes, episodes) == pytest.approx((1 - high, 1 - low), abs=1e-9)


@pytest.mark.parametrize("case", [(-1, 3), (4, 3)])
def test_wilson_refuses_nonsense(case: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="episodes"):
        wilson_interval(*case)


# --- round trips -------------------------------------------------------------------------------------


@given(graphs())
def test_json_round_trip(graph: SkillGraph) -> None:
    text = json.dumps(graph.to_json(), allow_nan=False)
    again = SkillGraph.from_json(json.loads(text))
    assert again == graph
    assert json.dumps(again.to_json()) == text
    json.dumps(graph.summary(), allow_nan=False)


def test_values_of_numpy_are_stored_as_numbers() -> None:
    evidence = Evidence(np.int32(10), np.int64(9), {"x": np.float32(0.5)}, np.float64(0), np.float32(2))  # type: ignore[arg-type]
    graph = SkillGraph("W").with_node(
        node(0, "a", evidence=evidence, wall_s=np.float32(3), llm={"tokens": np.int64(3), "loss": math.nan})
    )
    assert SkillGraph.from_json(json.loads(json.dumps(graph.to_json()))) == graph
    assert graph.nodes[0].llm == {"tokens": 3, "loss": None}
    assert type(graph.nodes[0].evidence.successes) is int


# --- immutable updates -------------------------------------------------------------------------------


def test_edges_operators_and_lookup() -> None:
    graph = three()
    assert graph.edges == (("b", "a"), ("c", "a"), ("c", "b"))
    assert list(graph.operators) == ["a", "b", "c"] == list(graph.names)
    assert graph.node("b").plan == (("a", 3), ("a", 1))
    with pytest.raises(KeyError, match="Choose one of 'a', 'b', 'c'"):
        graph.node("zzz")


def test_truncated_is_the_graph_as_it_was() -> None:
    graph = three()
    assert graph.truncated(3) == graph
    # The late failure was met with two nodes there: going on from one node, it has not happened yet.
    assert [f.name for f in graph.truncated(2).failures] == ["early", "late"]
    assert [f.name for f in graph.truncated(1).failures] == ["early"]
    assert graph.truncated(0).nodes == ()
    with pytest.raises(ValueError, match="cannot keep 4 of 3"):
        graph.truncated(4)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (node(1, "z"), "index 1 at place 3"),
        (node(3, "b"), "two nodes are named 'b'"),
        (node(3, "z", plan=(("nope", 1),)), "'nope', which is no earlier node"),
        (node(3, "z", plan=(("z", 1),)), "'z', which is no earlier node"),
        (node(3, "z", wall_s=math.nan), "wall_s is None, not a number"),
        (node(3, "z", provenance={"device": object()}), "no JSON form"),
    ],
)
def test_a_node_that_does_not_fit_is_refused(bad: SkillNode, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        three().with_node(bad)


@pytest.mark.parametrize(
    "changes",
    [{"name": ""}, {"max_steps": 0}, {"max_repeat": 0}, {"plan": (("a", 0),)}, {"status": "maybe"}],
)
def test_a_nonsense_node_cannot_be_built(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(changes))):
        node(0, **{"name": "a", **changes})  # type: ignore[arg-type]


# --- strict reading ----------------------------------------------------------------------------------


def edited(change: object) -> dict[str, object]:
    data = json.loads(json.dumps(three().to_json()))
    change(data)  # type: ignore[operator]
    return data


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.pop("env_name"), r"graph\.env_name is missing"),
        (lambda d: d.update(nodes={}), r"graph\.nodes is \{\}, not a list"),
        (lambda d: d.update(nods=[]), r"unknown field 'nods'. Did you mean 'nodes'"),
        (lambda d: d.update(edges=[]), r"graph\.edges is \[\]; the other fields give"),
        (lambda d: d["nodes"][1].pop("evidence"), r"graph\.nodes\[1\]\.evidence is missing"),
        (lambda d: d["nodes"][1].update(index=True), r"nodes\[1\]\.index is True, not a whole number"),
        (lambda d: d["nodes"][1].update(index=1.0), r"nodes\[1\]\.index is 1.0, not a whole number"),
        (lambda d: d["nodes"][1].update(index=7), r"index 7 at place 1"),
        (lambda d: d["nodes"][1].update(name=3), r"nodes\[1\]\.name is 3, not text"),
        (lambda d: d["nodes"][1].update(wall_s=math.inf), r"wall_s is inf, not a number"),
        (lambda d: d["nodes"][1].update(plan=[["a"]]), r"plan\[0\] has 1 entries, not 2"),
        (lambda d: d["nodes"][1].update(plan=[["a", -1]]), r"plan repeats 'a' -1 times"),
        (lambda d: d["nodes"][1]["evidence"].update(successes=999), r"evidence: 999 successes in 256"),
        (lambda d: d["nodes"][1]["evidence"].update(success=0.1), r"evidence\.success is 0.1; the other"),
        (lambda d: d["nodes"][1]["evidence"].update(deaths=2), r"deaths is 2.0, not a share"),
        (lambda d: d["nodes"][1]["env_steps"].update(train="x"), r"env_steps\.train is 'x'"),
        (lambda d: d["nodes"][1]["env_steps"].update(train=-1), r"never negative"),
        (lambda d: d["nodes"][1].update(operator=[]), r"operator is \[\], not an object"),
        (lambda d: d["nodes"][1]["operator"].pop("gains"), r"operator has the fields"),
        (
            lambda d: d["nodes"][1]["operator"]["gains"].update(x="2**n"),
            r"operator\.gains\.x: '2\*\*n' is not",
        ),
        (lambda d: d["nodes"][1]["operator"]["consumes"].update(x=[1]), r"consumes\.x is a list"),
        (lambda d: d["failures"][0].update(stage=None), r"failures\[0\]\.stage is None, not text"),
        (lambda d: d["failures"][0].update(reason="r" * 99, name=["r" * 99]), r"\.\.\., not text"),
    ],
)
def test_a_bad_field_is_named(change: object, message: str) -> None:
    with pytest.raises(GraphError, match=message):
        SkillGraph.from_json(edited(change))


@pytest.mark.parametrize("data", [None, [], "x", {}, {"schema_version": "1"}, {"schema_version": True}])
def test_no_graph_at_all(data: object) -> None:
    with pytest.raises(GraphError, match="no skill graph"):
        SkillGraph.from_json(data)


@pytest.mark.parametrize(("version", "word"), [(SCHEMA_VERSION + 1, "newer"), (SCHEMA_VERSION - 1, "older")])
def test_another_schema_is_named_before_anything_else(version: int, word: str) -> None:
    with pytest.raises(UserError, match=f"{word} schema version {version}; this flowrl reads version 1"):
        SkillGraph.from_json({"schema_version": version, "whatever": 1})


@given(graphs().filter(lambda graph: graph.nodes), st.data())
def test_any_one_missing_or_mistyped_field_is_an_error_never_a_crash(
    graph: SkillGraph, data: st.DataObject
) -> None:
    tree = copy.deepcopy(graph.to_json())
    record = data.draw(st.sampled_from([tree, tree["nodes"][0], tree["nodes"][0]["evidence"]]))
    key = data.draw(st.sampled_from(sorted(record)))
    record[key] = data.draw(JSON)
    with contextlib.suppress(UserError):
        SkillGraph.from_json(tree)


# --- what scripts rely on ----------------------------------------------------------------------------


def test_summary_has_the_agreed_shape() -> None:
    shown = three().summary()
    assert shown["env_name"] == "World"
    first = shown["nodes"][0]
    evidence = three().nodes[0].evidence
    assert {
        key: first[key]
        for key in ("index", "name", "status", "success", "success_low", "env_steps", "wall_s", "requires",
                    "consumes", "gains", "llm")
    } == {
        "index": 0, "name": "a", "status": "accepted", "success": 250 / 256,
        "success_low": evidence.success_low, "env_steps": 1230, "wall_s": 1.5, "requires": {"floor": [0, 2]},
        "consumes": {"inventory:wood": "1*n"}, "gains": {"inventory:x": "2*n + 1"},
        "llm": {"propose": "playbook"},
    }  # fmt: skip
    assert [(f["name"], f["stage"], f["reason"]) for f in shown["failures"]] == [
        ("early", "parse", "why"),
        ("late", "validate", "weak"),
    ]
    assert shown["env_steps"] == 3 * 1230 + 7
    assert json.loads(json.dumps(shown)) == shown


def test_records_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        three().env_name = "other"  # type: ignore[misc]


def test_practices_are_part_of_a_graph() -> None:
    """What they cost counts; a rewind to before one forgets it; the same practice later replaces itself."""
    graph = SkillGraph("World").with_node(node(0, "wood")).with_node(node(1, "table"))
    spent = graph.env_steps
    practised = graph.with_practice(Practice(("wood", "table"), 2, 500, 3.0, {"seed": 1}))
    assert practised.env_steps == spent + 500
    assert practised.wall_s == graph.wall_s + 3.0
    assert SkillGraph.from_json(practised.to_json()) == practised
    longer = practised.with_practice(Practice(("wood", "table"), 2, 900, 5.0), instead_of_last=True)
    assert [practice.env_steps for practice in longer.practices] == [900]
    assert longer.truncated(2).practices == longer.practices
    assert longer.truncated(1).practices == ()
    with pytest.raises(ValueError, match="same name"):
        Practice(("wood", "wood"), 2, 500, 3.0)
