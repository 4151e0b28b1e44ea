"""Both worlds, made once a test process."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    # Imported when first used: this file is read before the compilation cache is set up.
    from world_studio import Studio


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
