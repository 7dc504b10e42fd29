"""Python's parser from several threads: a SystemError, but for our lock."""

from __future__ import annotations

import sys
import threading
import time
import weakref
from collections.abc import Iterator

import pytest

from staticflow.native.toolchain.syntax import parsed_expression, parsed_statements

TEXT = "\n".join(f"x{k} = a[{k}] + b * (c - {k})" for k in range(60))


@pytest.fixture(autouse=True)
def frequent_switches() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


class Circle:
    """Only a collection of garbage finds it; its finalizer is long enough for another thread."""

    def __init__(self) -> None:
        self.itself = self
        weakref.finalize(self, lambda: sum(range(200)))


def test_threads_parse_in_turn() -> None:
    """Of 4 threads that call `ast.parse`, some hundred fail in this time."""
    ends, failures = time.monotonic() + 2.0, list[SystemError]()

    def parse() -> None:
        while time.monotonic() < ends:
            for _ in range(5):
                Circle()
            try:
                assert len(parsed_statements(TEXT)) == 60
                parsed_expression("a + b * (c - d)")
            except SystemError as error:
                failures.append(error)

    threads = [threading.Thread(target=parse) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
