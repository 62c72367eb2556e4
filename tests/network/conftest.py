from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from namespace import Link, NotAllowed, open_link


@pytest.fixture(scope="session")
def networks() -> None:
    """Skips where no networks may be made; with CI=true that is a failure."""
    try:
        with open_link():
            pass
    except NotAllowed as problem:
        if os.environ.get("CI") == "true":
            pytest.fail(str(problem))
        pytest.skip(str(problem))


@pytest.fixture
def link(networks: None) -> Iterator[Link]:
    with open_link() as link:
        yield link
