"""What all tests share: hypothesis without noise and without a memory of earlier runs, and the
option `--write-golden`, with which test_golden.py writes its texts anew instead of comparing them.
Tests of native code get a toolchain with an empty cache. What each pass of the compiler leaves is
verified.
"""

from __future__ import annotations

import signal

import pytest
from hypothesis import HealthCheck, settings

from staticflow.compiler import pipeline, verify
from staticflow.native.toolchain.toolchain import Toolchain
from staticflow.native.training.worker import Worker, worker

settings.register_profile(
    "staticflow",
    database=None,
    deadline=None,
    derandomize=True,
    print_blob=False,
    suppress_health_check=list(HealthCheck),
)
settings.load_profile("staticflow")
pipeline.OBSERVERS.append(verify.verify)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--write-golden", action="store_true", help="write test_golden.py's texts")


def pytest_configure(config: pytest.Config) -> None:
    """JAX, once another test has used it, warns of every fork; ours touch nothing of it.

    A shell lets what it runs in the background ignore Ctrl-C, on which some tests wait.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    config.addinivalue_line("filterwarnings", r"ignore:os\.fork\(\) was called:RuntimeWarning")


@pytest.fixture(scope="module")
def toolchain(tmp_path_factory: pytest.TempPathFactory) -> Toolchain:
    return Toolchain(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def native(toolchain: Toolchain) -> Worker:
    return worker(toolchain)
