"""scripts/result_tables.py: the tables of experiments/README.md, from the results that lie beside it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "experiments" / "README.md").read_text(encoding="utf-8")
SHOWN = {
    "seed 2, 97.2 M": "classic_seed_2_health.json",
    "before, 67.7 M": "classic_seed_2.json",
    "flat PPO, 67.7 M": "classic_ppo_seed_2.json",
}
ALONE_AND_INSIDE = "classic_seed_2_health.json"


def printed(*arguments: str) -> list[str]:
    """The lines that the script prints."""
    script = ROOT / "scripts" / "result_tables.py"
    done = subprocess.run(
        [sys.executable, str(script), *arguments], capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()


def test_the_page_shows_what_the_results_hold() -> None:
    shown = PAGE.replace("**", "").splitlines()
    files = [f"{heading}={ROOT}/experiments/results/{file}" for heading, file in SHOWN.items()]
    table = printed("achievements", *files)
    assert len(table) > 22
    assert [line for line in table if line not in shown] == []


def test_the_page_compares_skills_alone_with_skills_inside() -> None:
    table = printed("skills", f"{ROOT}/experiments/results/{ALONE_AND_INSIDE}")
    assert len(table) > 20
    assert [line for line in table if line not in PAGE.splitlines()] == []


def test_practice_is_summed_up_by_episodes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "scripts")
    from result_tables import WATCHED, practice_table

    def point(env_steps: int, episodes: int, share: float) -> dict[str, object]:
        achievements = dict.fromkeys(WATCHED, share)
        return {
            "env_steps": env_steps,
            "episodes": episodes,
            "episode_length": 100.0 * share,
            "achieved": share,
            "achievements": achievements,
        }

    points = [point(50, 30, 0.2), point(100, 10, 1.0), point(150, 0, 0.0), point(200, 8, 0.5)]
    table = practice_table(points, every=100).splitlines()
    # (30 * 0.2 + 10 * 1.0) / 40 = 0.4
    assert table[2].endswith("| 40 | 40 | 40.0% | 40.0% | 40.0% | 40.0% | 40.0% |")
    assert table[3].endswith("| 8 | 50 | 50.0% | 50.0% | 50.0% | 50.0% | 50.0% |")
    assert len(table) == 4
