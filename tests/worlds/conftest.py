"""Both worlds, made once a test process."""

from __future__ import annotations

import pytest
from world_studio import CLASSIC, FULL, Studio


@pytest.fixture(scope="session")
def classic() -> Studio:
    """Craftax-Classic."""
    return Studio(CLASSIC)


@pytest.fixture(scope="session")
def full() -> Studio:
    """Full Craftax."""
    return Studio(FULL)


@pytest.fixture(params=["classic", "full"])
def studio(request: pytest.FixtureRequest) -> Studio:
    """Both in turn."""
    made: Studio = request.getfixturevalue(request.param)
    return made
