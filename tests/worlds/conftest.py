"""Both worlds, made once a test process."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    # Imported when first used: this file is read before the compilation cache is set up.
    from world_studio import Studio


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All tests of the worlds on one worker: compiling what they share takes longer than they do."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.xdist_group("worlds"))


@pytest.fixture(scope="session")
def classic() -> Studio:
    """Craftax-Classic."""
    import world_studio

    return world_studio.Studio(world_studio.CLASSIC)


@pytest.fixture(scope="session")
def full() -> Studio:
    """Full Craftax."""
    import world_studio

    return world_studio.Studio(world_studio.FULL)


@pytest.fixture(params=["classic", "full"])
def studio(request: pytest.FixtureRequest) -> Studio:
    """Both in turn."""
    made: Studio = request.getfixturevalue(request.param)
    return made
