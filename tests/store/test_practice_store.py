"""A practice on disk: complete before the graph names it, replaced by its own later state, set aside."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from samples import WORLD, assert_sound, make_graph, make_params

from flowrl.errors import GraphError, UserError
from flowrl.skills.graph import Failure, Practice
from flowrl.skills.practice import Spared
from flowrl.store.graph_store import GraphStore
from flowrl.store.reader import GraphReader


def practised(path: Path, env_steps: int, instead: bool = False) -> Practice:
    """Commits a practice of the graph at ``path``, whose policies are those of ``make_params(env_steps)``."""
    with GraphStore.open(path, WORLD, create=False) as store:
        record = Practice(store.graph.names, len(store.graph.nodes), env_steps, 1.0)
        return store.commit_practice(record, make_params(env_steps), [{"env_steps": env_steps}], instead)


def folders(path: Path) -> list[str]:
    return sorted(entry.name for entry in (path / "practices").iterdir())


def test_a_practice_comes_back_as_it_was(tmp_path: Path) -> None:
    make_graph(tmp_path, "a", "b")
    stored = practised(tmp_path, 100)
    assert set(stored.files) == {"policies.npz", "curves.jsonl"}
    reader = GraphReader(tmp_path)
    assert reader.graph.practices == (stored,)
    assert reader.graph.practices[0].skills == ("a", "b")
    kernel = reader.load_practice()["params"]["Dense_0"]["kernel"]
    np.testing.assert_array_equal(kernel, make_params(100)["params"]["Dense_0"]["kernel"])
    assert_sound(tmp_path)


def test_what_tools_spare_is_kept_and_left_out_where_nothing_is_known(tmp_path: Path) -> None:
    make_graph(tmp_path, "a")
    practised(tmp_path, 100)
    [written] = json.loads((tmp_path / "graph.json").read_text())["practices"]
    assert "spared" not in written
    known = {"inventory:sword": Spared(1.5, 0.25, 40, 60)}
    with GraphStore.open(tmp_path, WORLD, create=False) as store:
        store.commit_practice(Practice(("a",), 1, 200, 1.0, spared=known), make_params(200), [])
    assert [practice.spared for practice in GraphReader(tmp_path).graph.practices] == [{}, known]


def test_a_practice_that_goes_on_replaces_itself_and_another_does_not(tmp_path: Path) -> None:
    make_graph(tmp_path, "a")
    practised(tmp_path, 100)
    practised(tmp_path, 200, instead=True)
    assert folders(tmp_path) == ["0_200"]
    practised(tmp_path, 100)
    assert folders(tmp_path) == ["0_200", "1_100"]
    assert [practice.env_steps for practice in GraphReader(tmp_path).graph.practices] == [200, 100]


def test_a_rewind_sets_a_later_practice_aside(tmp_path: Path) -> None:
    make_graph(tmp_path, "a", "b")
    practised(tmp_path, 100)
    with GraphStore.open(tmp_path, WORLD, current_i=1) as store:
        assert store.graph.practices == ()
    assert folders(tmp_path) == []
    assert len(list((tmp_path / "archive").glob("*/practices/0_100"))) == 1


def test_the_last_practice_can_be_undone(tmp_path: Path) -> None:
    make_graph(tmp_path, "a")
    practised(tmp_path, 100)
    practised(tmp_path, 200)
    with GraphStore.open(tmp_path, WORLD) as store:
        archive = store.set_last_practice_aside()
        assert [practice.env_steps for practice in store.graph.practices] == [100]
        assert (archive / "practices" / "1_200" / "policies.npz").is_file()
        assert len(json.loads((archive / "graph.json").read_text())["practices"]) == 2
        store.set_last_practice_aside()
        with pytest.raises(UserError, match="never practised"):
            store.set_last_practice_aside()
    assert_sound(tmp_path)
    assert "practices" not in json.loads((tmp_path / "graph.json").read_text()), "readable by older ones"


def test_what_was_kept_is_not_replaced_by_itself(tmp_path: Path) -> None:
    make_graph(tmp_path, "a")
    practised(tmp_path, 100)
    with pytest.raises(ValueError, match="100 env steps"):
        practised(tmp_path, 100, instead=True)
    assert folders(tmp_path) == ["0_100"]


def test_what_a_crash_left_is_set_aside(tmp_path: Path) -> None:
    make_graph(tmp_path, "a")
    stray = tmp_path / "practices" / "0_100"
    stray.mkdir(parents=True)
    with GraphStore.open(tmp_path, WORLD) as store:
        assert any("0_100" in note for note in store.notes)
    assert not stray.exists()


def test_a_damaged_practice_is_named_with_the_way_out(tmp_path: Path) -> None:
    make_graph(tmp_path, "a")
    stored = practised(tmp_path, 100)
    (tmp_path / stored.folder / "policies.npz").write_bytes(b"no zip")
    with pytest.raises(GraphError, match=r"policies\.npz is damaged.*practice --undo"):
        GraphReader(tmp_path).load_practice()


def test_what_was_refused_can_be_read_again(tmp_path: Path) -> None:
    make_graph(tmp_path, "a")
    with GraphStore.open(tmp_path, WORLD) as store:
        kept = store.record_failure(Failure("dig", "train", "too hard"), "the reply: größer")
        assert store.load_refused_reply(kept) == "the reply: größer"
    assert GraphReader(tmp_path).load_refused_reply(Failure("dig", "train", "never kept")) is None
