"""A sample of each campaign, and the command that runs the whole of one."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import pytest

from tests import campaigns
from tests.campaigns import __main__ as command
from tests.support.places import ROOT

PEERS = ("jax", "torch", "sklearn", "autograd", "onnx", "onnxruntime", "array_api_strict")


def loaded(name: str) -> campaigns.Campaign:
    """A campaign; the test is skipped where the library that it compares with is missing."""
    try:
        return campaigns.load(name)
    except ModuleNotFoundError as error:
        if error.name not in PEERS:
            raise
        pytest.skip(f"needs {error.name}")


@pytest.mark.parametrize("name", campaigns.names())
def test_a_sample(name: str) -> None:
    campaign, ticks = loaded(name), 0

    def tick() -> None:
        nonlocal ticks
        ticks += 1

    counts = campaign.run(campaign.SAMPLE, 0, tick)
    assert campaigns.claim(campaign).endswith(".")
    assert 0 < campaign.SAMPLE <= campaign.COUNT
    assert ticks >= campaign.SAMPLE
    assert counts and all(isinstance(count, int | str) for count in counts.values())


def campaign_of(error: Exception | None) -> campaigns.Campaign:
    def run(count: int, seed: int, tick: campaigns.Tick) -> dict[str, int | str]:
        for _ in range(count):
            tick()
        if error:
            raise error
        return {"cases": 1000 * count, "of them of seed": seed}

    return SimpleNamespace(__doc__="Nothing.\n", COUNT=3, SAMPLE=1, run=run)


def test_the_command_tells_counts_and_time(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "load", lambda name: campaign_of(None))
    name = campaigns.names()[0]
    assert command.main([name, "--here"]) == 0
    out, bar = capsys.readouterr()
    assert out == f"{name}: 3 000 cases, 0 of them of seed; 0 s, --count 3 --seed 0\n"
    assert "3/3" in bar
    assert command.main([name, "--count", "2", "--seed", "7", "--here"]) == 0
    assert "2 000 cases, 7 of them of seed" in capsys.readouterr().out


def test_the_command_fails_with_the_seed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "load", lambda name: campaign_of(AssertionError("case 12: no")))
    name = campaigns.names()[0]
    assert command.main([name, "--seed", "5", "--here"]) == 1
    out, trace = capsys.readouterr()
    assert out.startswith(f"{name}: FAILED") and out.endswith("--count 3 --seed 5: case 12: no\n")
    assert "AssertionError: case 12: no" in trace


def test_the_command_says_what_to_install(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    name, missing = campaigns.names()[0], ""

    def load(_: str) -> campaigns.Campaign:
        raise ModuleNotFoundError(f"No module named {missing!r}", name=missing)

    monkeypatch.setattr(command, "load", load)
    for missing, extra in (("onnx", "campaigns"), ("array_api_strict", "campaigns"),
                           ("torch", "torch")):  # fmt: skip
        assert command.main([name, "--here"]) == 1
        line = f"{name}: needs {missing}: pip install -e '.[{extra}]'\n"
        assert capsys.readouterr().err == line
    assert command.main(["--list"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == line.strip()
    missing = "tests.campaigns.gone"
    with pytest.raises(ModuleNotFoundError):
        command.main([name, "--here"])


def test_the_command_names_the_seed_of_a_process_that_dies(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    dying = [sys.executable, "-c", "import os; os.abort()"]
    run = subprocess.run
    monkeypatch.setattr(subprocess, "run", lambda command, **options: run(dying, **options))
    name = campaigns.names()[0]
    assert command.main([name, "--count", "4", "--seed", "9"]) == 1
    assert capfd.readouterr().out == f"\n{name}: DIED of SIGABRT, --count 4 --seed 9\n"


def test_the_list_and_the_table_have_every_campaign(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--list"]) == 0
    listed = capsys.readouterr().out
    page = (ROOT / "docs" / "reliability.md").read_text("utf-8")
    for name in campaigns.names():
        assert f"{name} (" in listed or f"{name}: needs " in listed
        assert f"| `{name}` |" in page, f"docs/reliability.md has no row for {name}"


def test_the_command_runs_from_the_root_of_the_checkout() -> None:
    """In two processes: the one that is started, and the one that it watches."""
    command = [sys.executable, "-m", "tests.campaigns", "shape_pairs", "--count", "1"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith("shape_pairs: 1 ")
