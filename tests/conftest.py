"""What holds for all tests: which may run beside one another, what they inherit, and where they keep state."""

from __future__ import annotations

import os
import signal
import types
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest
import tenacity.nap

from builder.sandbox.status_words import VOCABULARIES, StatusWords

if TYPE_CHECKING:
    from collections.abc import Iterator

# No test asserts a time: a machine may be slow, or busy with other tests. The examples of a test share its fixtures,
# which the tests that use them allow for.
hypothesis.settings.register_profile(
    "any machine",
    deadline=None,
    max_examples=30,
    suppress_health_check=[hypothesis.HealthCheck.too_slow, hypothesis.HealthCheck.function_scoped_fixture],
)
hypothesis.settings.load_profile("any machine")

TESTS = Path(__file__).resolve().parent
SLOWEST_FIRST = ("system", "engine", "sandbox", "export", "inside", "unit")


def pytest_configure() -> None:
    """Keep what this process inherited from the processes that tests start.

    ``nohup`` ignores SIGHUP and a shell's ``&`` SIGINT, and an ignored signal stays ignored in children. One with a
    handler, even one that does nothing, has its default action in them. PYTHONWARNINGS prints on their standard
    error, and a proxy has no way to the servers of tests.
    """
    os.environ.pop("PYTHONWARNINGS", None)
    for name in ("NO_PROXY", "no_proxy"):
        os.environ[name] = ",".join(filter(None, (os.environ.get(name), "127.0.0.1", "localhost")))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, signal.valid_signals())
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, lambda *_: None)


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Run more processes than there are cores, for suites wait half of the time; a named file runs in this process."""
    if any(".py" in argument for argument in config.args):
        config.option.dist = "no"
        return 0
    return 2 * (os.cpu_count() or 1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run what takes long before what fits in anywhere."""
    items.sort(key=lambda item: SLOWEST_FIRST.index(item.path.relative_to(TESTS).parts[0]))


@pytest.fixture(scope="session", autouse=True)
def _state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Write down nowhere in this user's home what the slots of tests ran."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return the seconds of each pause before a request was sent again in this process, where none is really made."""
    from builder.upload import assign, register, runs

    pauses: list[float] = []
    for module in (tenacity.nap, assign, register, runs):
        monkeypatch.setattr(module, "time", types.SimpleNamespace(sleep=pauses.append))
    return pauses


@pytest.fixture
def words(request: pytest.FixtureRequest) -> StatusWords:
    """Return the tournament's status words; with ``tests.support.words.each_vocabulary``, each vocabulary in turn."""
    return VOCABULARIES[getattr(request, "param", "seen")]()


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache for these tests alone, so that they neither use nor change the user's."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="package")
def own_cache(cache: Path) -> Iterator[None]:
    """Have the tests of a folder keep in that what the tool caches."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(cache))
        yield
