from __future__ import annotations

import pytest

from .world import World, config


@pytest.fixture
def world() -> World:
    return World(config())
