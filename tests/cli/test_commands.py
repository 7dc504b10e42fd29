"""The command line: what a user types, sees and finds on disk."""

from __future__ import annotations

import csv
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from staticflow.cli.main import main
from staticflow.data import load_digits, split_rows
from tests.support.places import ROOT

QUICK = ("--hidden", "16", "--no-progress")


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


class Run:
    """What one command returned and printed."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    def value(self, name: str) -> str:
        """The value beside a name in the printed table."""
        found = re.search(rf"^{name}  +(.*)$", self.out, re.MULTILINE)
        assert found, self.out
        return found[1]

    def accuracy(self, name: str = "test") -> float:
        return float(self.value(name).removeprefix("accuracy ").split(" ")[0])


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]):
    def command(*arguments: str) -> Run:
        try:
            code = main(arguments)
        except SystemExit as stop:  # from argparse
            code = int(stop.code or 0)
        captured = capsys.readouterr()
        return Run(code, captured.out, captured.err)

    return command


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A model of the digits, and what training it printed; trained in a process of its own."""
    folder = tmp_path_factory.mktemp("digits")
    with start("train", "digits", "--hidden", "64", "--epochs", "10", cwd=folder) as process:
        out, err = process.communicate()
    assert process.returncode == 0, err
    assert "epoch 10/10" in err, "the progress bar"
    return folder, out


def start(*arguments: str, cwd: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "staticflow", *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def write_table(name: str, target: str, rows: int = 60) -> Path:
    """Points of two clouds, or on a plane."""
    rng = np.random.default_rng(0)
    path = Path(name)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["a", "b", "note", target])
        for k in range(rows):
            a, b = rng.normal(size=2) + 3 * (k % 2)
            answer = ["left", "right"][k % 2] if target == "side" else round(2 * a - b, 4)
            writer.writerow([a, b, "-", answer])
    return path


def test_train_digits(digits: tuple[Path, str]) -> None:
    folder, printed = digits
    run = Run(0, printed, "")
    assert run.value("model") == "fnn 64-64-10, 4,810 parameters"
    expected = "digits: 1,437 rows to train on, 360 to test on; digit is 10 classes"
    assert run.value("data") == expected
    assert run.accuracy() > 93
    assert run.value("written") == "digits.sf, digits-loss.svg"
    assert sorted(path.name for path in folder.iterdir()) == ["digits-loss.svg", "digits.sf"]
    assert (folder / "digits-loss.svg").read_text().startswith("<svg")


def test_evaluate_takes_the_rows_held_out(digits: tuple[Path, str], call) -> None:
    folder, printed = digits
    model = str(folder / "digits.sf")
    run = call("evaluate", model, "digits")
    assert run.value("data") == "digits: 360 rows, the rows held out from training"
    assert run.value("result") == Run(0, printed, "").value("test")
    assert (
        call("evaluate", model, "digits", "--all").value("data") == "digits: 1,797 rows, all rows"
    )


def test_predict_agrees_with_evaluate(digits: tuple[Path, str], call) -> None:
    folder, printed = digits
    run = call("predict", str(folder / "digits.sf"), "digits", "--probabilities")
    rows = list(csv.reader(run.out.splitlines()))
    assert rows[0] == ["digit", *(f"p({k})" for k in range(10))]
    found = np.array([int(row[0]) for row in rows[1:]])
    probabilities = np.array([row[1:] for row in rows[1:]], float)
    np.testing.assert_array_equal(probabilities.argmax(1), found)
    np.testing.assert_allclose(probabilities.sum(1), 1, atol=1e-4)
    labels = load_digits().labels
    test = split_rows(len(labels), 0.2, 0, labels).test
    accuracy = 100 * (found == labels)[test].mean()
    assert accuracy == pytest.approx(Run(0, printed, "").accuracy(), abs=0.01)


@pytest.mark.parametrize("view", ["--graph", "--source", "--memory", "--passes"])
def test_inspect_shows_what_was_compiled(digits: tuple[Path, str], call, view: str) -> None:
    run = call("inspect", str(digits[0] / "digits.sf"), view)
    assert run.code == 0 and len(run.out.splitlines()) > 10


def test_inspect_summarises(digits: tuple[Path, str], call) -> None:
    run = call("inspect", str(digits[0] / "digits.sf"))
    assert run.value("model") == "fnn 64-64-10, 4,810 parameters"
    assert run.value("target") == "digit: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9"
    assert run.value("fnn.0.weight") == "64 x 64"


def test_classes_of_a_csv(call) -> None:
    path = write_table("points.csv", "side")
    run = call("train", str(path), "--target", "side", "--drop", "note", *QUICK)
    assert run.accuracy() > 80 and "side is 2 classes" in run.out
    assert Path("points.sf").exists() and Path("points-loss.svg").exists()
    run = call("predict", "points.sf", "points.csv", "--out", "answers.csv")
    assert run.out == "60 predictions written to answers.csv\n"
    answers = Path("answers.csv").read_text().split()
    assert answers[0] == "side" and set(answers[1:]) == {"left", "right"}


def test_a_number_of_a_csv(call) -> None:
    path = write_table("points.csv", "height", rows=200)
    options = ("--target", "height", "--drop", "note", "--lr", "0.01", "--no-plot", *QUICK)
    run = call("train", str(path), *options, "--out", "out.sf")
    assert float(run.value("test").split()[-1]) > 0.9, "R2"
    assert "height is a number" in run.out and not Path("points-loss.svg").exists()
    found = [float(line) for line in call("predict", "out.sf", str(path)).out.split()[1:]]
    truth = [float(row["height"]) for row in csv.DictReader(path.read_text().split())]
    assert np.corrcoef(found, truth)[0, 1] > 0.95
    assert call("evaluate", "out.sf", str(path)).value("result") == run.value("test")


def test_the_same_seed_gives_the_same_model(call) -> None:
    path = write_table("points.csv", "side")
    options = ("--target", "side", "--drop", "note", "--no-plot", *QUICK)
    for name, seed in (("a.sf", "3"), ("b.sf", "3"), ("c.sf", "4")):
        assert call("train", str(path), *options, "--seed", seed, "--out", name).code == 0
    a, b, c = (
        call("predict", name, str(path), "--probabilities").out for name in ("a.sf", "b.sf", "c.sf")
    )
    assert a == b != c


@pytest.mark.parametrize("optimizer", ["sgd", "rmsprop", "adagrad", "adamw", "lion"])
def test_optimizers(call, optimizer: str) -> None:
    path = write_table("points.csv", "side")
    options = ("--target", "side", "--drop", "note", "--no-plot", "--schedule", "constant", *QUICK)
    assert call("train", str(path), *options, "--optimizer", optimizer).accuracy("train") > 80


def test_no_row_held_out(call) -> None:
    path = write_table("points.csv", "side")
    options = ("--target", "side", "--drop", "note", "--test-fraction", "0", *QUICK)
    run = call("train", str(path), *options)
    assert "60 rows to train on, 0 to test on" in run.out and "\ntest" not in run.out


@pytest.mark.parametrize("model", ["rnn", "lstm", "gru"])
def test_recurrent_models_read_a_row_in_steps(call, model: str) -> None:
    path = write_table("points.csv", "side")
    options = ("--target", "side", "--drop", "note", "--no-plot", "--model", model, *QUICK)
    run = call("train", str(path), *options)
    assert run.value("model").startswith(f"{model} 2x1-16-2, ")
    assert run.accuracy("train") > 80
    assert call("evaluate", "points.sf", str(path)).value("result") == run.value("test")


def test_digits_row_by_row(call) -> None:
    """An image is eight steps of eight pixels."""
    run = call("train", "digits", "--model", "lstm", "--hidden", "32", "--epochs", "12")
    assert run.value("model").startswith("lstm 8x8-32-10, ")
    assert run.accuracy() > 90
    assert call("evaluate", "digits.sf", "digits").value("result") == run.value("test")


def logistic(start: float, count: int) -> np.ndarray:
    """x, 3.8 x (1 - x), ...: no linear forecast is better than the mean."""
    values = [start]
    for _ in range(count - 1):
        values.append(3.8 * values[-1] * (1 - values[-1]))
    return np.array(values)


def write_series(name: str = "wave.csv") -> Path:
    path = Path(name)
    rows = [f"{1900 + t},{x!r}" for t, x in enumerate(logistic(0.3, 200).tolist())]
    path.write_text("\n".join(["year,height", *rows, ""]))
    return path


@pytest.mark.parametrize("model", [(), ("--model", "lstm")], ids=str)
def test_a_series_is_forecast(call, model: tuple[str, ...]) -> None:
    """From the values before; the end is held out, and the file's next value is predicted."""
    path = write_series()
    options = ("--target", "height", "--window", "3", "--epochs", "60", "--lr", "0.01", *model)
    run = call("train", str(path), *options, *QUICK)
    assert run.value("model").startswith(f"{(model or ('', 'gru'))[1]} 3x1-16-1, ")
    assert "157 rows to train on, 40 to test on" in run.value("data")
    rmse = {n: float(run.value(n).split()[1].strip(",")) for n in ("test", "persistence", "linear")}
    assert rmse["test"] < 0.2 * rmse["linear"] < 0.2 * rmse["persistence"]
    assert call("evaluate", "wave.sf", str(path)).value("result") == run.value("test")
    assert "wave.csv: 197 rows, all rows" in call("evaluate", "wave.sf", str(path), "--all").out
    written = call("predict", "wave.sf", str(path), "--ahead", "3").out.split()
    truth = logistic(0.3, 203)[200:]
    assert written[0] == "height"
    np.testing.assert_allclose(np.array(written[1:], float), truth, atol=20 * rmse["test"])
    assert call("predict", "wave.sf", str(path)).out.split() == written[:2]
    again = call("train", str(path), *options, *QUICK)
    assert again.value("test") == run.value("test")


@pytest.fixture
def poem() -> Path:
    path = Path("poem.txt")
    path.write_text("the cat sat on the mat and the dog lay in the fog\n" * 60)
    return path


@pytest.mark.parametrize("hidden", ["32", "24,24"])
@pytest.mark.parametrize("model", ["gru", "lstm"])
def test_a_text_is_learnt_and_goes_on(call, poem: Path, model: str, hidden: str) -> None:
    options = ("--steps", "25", "--epochs", "15", "--lr", "0.02", "--no-progress")
    run = call("train", str(poem), "--model", model, "--hidden", hidden, *options)
    assert float(run.value("test").split()[0]) < 1.5, "bits a character, of about 3.5 at random"
    texts = [call("generate", "poem.sf", "--prompt", "the ", "--length", "40").out for _ in "ab"]
    assert texts[0] == texts[1] and len(texts[0]) == 45
    assert {"cat", "dog", "mat", "fog"} & set(texts[0].split())
    other = call("generate", "poem.sf", "--prompt", "the ", "--length", "40", "--seed", "1")
    assert other.out != texts[0]
    found = call("evaluate", "poem.sf", str(poem))
    assert found.value("result") == run.value("test")
    assert found.value("data") == "poem.txt: 300 characters, the end held out from training"
    assert "alphabet" in call("inspect", "poem.sf").out


def test_reading_at_once_and_one_by_one_is_the_same(call, poem: Path) -> None:
    from staticflow.cli.commands.generate import TextGenerator
    from staticflow.cli.text_task import load_text_model

    options = ("--hidden", "16", "--epochs", "1", "--no-progress", "--no-plot")
    assert call("train", str(poem), *options).code == 0
    session, card = load_text_model(Path("poem.sf"))
    together, apart = TextGenerator(session, card, 0), TextGenerator(session, card, 0)
    expected = together.read([1, 2, 3, 4])
    for code in (1, 2, 3):
        apart.read([code])
    np.testing.assert_allclose(apart.read([4]), expected, rtol=1e-5, atol=1e-6)


ERRORS = {
    "train none.csv": "there is no file none.csv",
    "train nothing": "there is no data set 'nothing'; 'digits' is bundled",
    "train points.csv": "say which column to predict with --target; there are a, b, note, side",
    "train points.csv --target c": "there is no column 'c'; the columns are a, b, note, side",
    "train points.csv --target side": "column 'note' at line 2 is text ('-') where a number is",
    "train points.csv --target side --drop note,x": "there is no column 'x'",
    "train points.csv --target side --drop a,b,note": "no column is left to learn 'side' from",
    "train points.csv --target side --task regress --drop note": "column 'side' at line 2 is text",
    "train points.csv --target note --drop side": "column 'note' holds one class only, '-'",
    "train digits --steps 4": "--steps is for --model rnn, lstm or gru",
    "train digits --out no/where.sf": "there is no folder no to write where.sf into",
    "train digits --out .": "is a folder; name a file to write",
    "train digits --plot no/x.svg": "there is no folder no to write x.svg into",
    "train digits --epochs 0": "0 is not a positive number",
    "train digits --lr fast": "'fast' is not a number",
    "train digits --seed -1": "-1 is not a number from 0",
    "generate poem.sf --seed -1": "-1 is not a number from 0",
    "train digits --hidden 64,x": "'x' is not a whole number",
    "train digits --dropout 1": "1 is not in [0, 1)",
    "train digits --activation swish9": "swish9",
    "train digits --optimizer foo": "invalid choice: 'foo'",
    "train": "the following arguments are required: SOURCE",
    "predict none.sf digits": "there is no model file none.sf; `staticflow train` writes one",
    "predict bad.sf digits": "bad.sf",
    "evaluate digits.sf points.csv": "there is no column 'pixel0'",
    "predict height.sf points.csv --probabilities": "predicts numbers; it has no --probabilities",
    "evaluate side.sf other.csv": "column 'side' at line 2 is 'up'; the model knows the classes",
    "train poem.txt --model fnn": "poem.txt is a text; learn it with --model gru, lstm or rnn",
    "train poem.txt --window 5": "--window is for tables; poem.txt is a text",
    "train points.csv --target a --window 60": "60 rows are too few to forecast from 60 before",
    "train points.csv --target a --window 5 --drop b": "--window reads the target's own column",
    "train points.csv --target a --window 5 --task classify": "--window forecasts numbers",
    "train points.csv --target note --window 5": "column 'note' at line 2 is text",
    "predict side.sf points.csv --ahead 2": "is no model of a series; it has no --ahead",
    "train poem.txt --target side": "--target is for tables; poem.txt is a text",
    "train short.txt": "short.txt is too short to learn from: 6 characters",
    "predict poem.sf digits": "poem.sf is a model of a text; use it with `staticflow generate`",
    "generate side.sf": "is a model of a table's rows; use it with `staticflow predict`",
    "generate poem.sf --prompt X": "--prompt: the model was trained without the character 'X'",
    "generate poem.sf --temperature 0": "0 is not a positive number",
    "train points.csv --target side --drop note --model gru --steps 3": "2 columns cannot be cut",
    "train points.csv --target side --drop note --model gru --hidden 4,5": "are equally wide",
    "fly": "invalid choice: 'fly'",
}


@pytest.fixture
def files(digits: tuple[Path, str], call, poem: Path) -> None:
    """What the wrong commands are given."""
    assert call("train", str(poem), "--epochs", "1", "--no-plot", *QUICK).code == 0
    Path("short.txt").write_text("abc\nde")
    write_table("points.csv", "side")
    write_table("heights.csv", "height")
    Path("bad.sf").write_bytes(b"\x10\x00\x00\x00\x00\x00\x00\x00nonsense")
    Path("digits.sf").write_bytes((digits[0] / "digits.sf").read_bytes())
    for name, target in (("points", "side"), ("heights", "height")):
        options = ("--target", target, "--drop", "note", "--no-plot", "--epochs", "1", *QUICK)
        out = f"{target}.sf"
        assert call("train", f"{name}.csv", *options, "--out", out).code == 0
    Path("other.csv").write_text("a,b,note,side\n1,2,-,up\n")


@pytest.mark.usefixtures("files")
def test_errors(call) -> None:
    """Each is one clear message on the standard error, and nothing is written."""
    before = sorted(Path().iterdir())
    for command, message in ERRORS.items():
        run = call(*command.split())
        assert (run.code, run.out) == (2, ""), f"{command}: {run.code}\n{run.out}"
        assert message in run.err and "Traceback" not in run.err, f"{command}: {run.err}"
    assert sorted(Path().iterdir()) == before


def test_help_and_version(call) -> None:
    run = call("--help")
    assert run.code == 0
    assert all(word in run.out for word in ("train", "predict", "evaluate", "inspect", "bench"))
    assert call("--version").out.startswith("staticflow")
    for command in ("train", "predict", "evaluate", "inspect"):
        assert call(command, "--help").code == 0


def test_the_help_is_quick() -> None:
    """It needs neither the compiler nor the data's and the plot's packages."""
    code = "import sys; from staticflow.cli.main import main\n"
    code += "try: main(['--help'])\nexcept SystemExit: print('MODULES', *sys.modules)"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    loaded = set(done.stdout.split("MODULES")[1].split())
    assert not loaded & {"numba", "scipy", "matplotlib", "pyarrow", "sklearn", "tqdm"}


def test_ctrl_c_ends_training_without_a_traceback(tmp_path: Path) -> None:
    options = ("--epochs", "100000", "--hidden", "64", "--out", "never.sf")
    with start("train", "digits", *options, cwd=tmp_path) as process:
        assert process.stderr is not None
        assert process.stderr.read(6).strip() == "epoch"
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "interrupted; nothing was saved" in err and "Traceback" not in err
    assert not (tmp_path / "never.sf").exists()


def test_a_closed_pipe_is_no_error(digits: tuple[Path, str]) -> None:
    with start("predict", "digits.sf", "digits", cwd=digits[0]) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 0
