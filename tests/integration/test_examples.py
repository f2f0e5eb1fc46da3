"""Every example runs as its first lines say, and leaves a finished run."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.library_venvs import huggingface_python, run_script
from tests.spooled import the_run

pytestmark = pytest.mark.timeout(900)  # the venv is 1.7 GB, and is made by whoever asks first
EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
# script -> the Python that has what it needs, the steps that it reports, and what it prints at its end
EXPECTED: dict[str, tuple[Callable[[], Path | str], int, str]] = {
    "plain_loop.py": (lambda: sys.executable, 20, r"y = 3\.00 x \+ 2\.00\n"),
    "sklearn_digits.py": (lambda: sys.executable, 50 * (22 + 1), r"held-out accuracy 0\.9\d+ for [\d.]+ J \(.*\)\n"),
    "pytorch_loop.py": (huggingface_python, 5 * 100, r"accuracy of the last batch [01]\.\d\d\n"),
    "huggingface_trainer.py": (huggingface_python, 3 * 16, r"1536 texts for [\d.]+ J\n"),
}


def test_none_is_left_out() -> None:
    """Neither here nor in their README."""
    there = {path.name for path in EXAMPLES.glob("*.py")}
    assert there == set(EXPECTED) == set(re.findall(r"\]\((\w+\.py)\)", (EXAMPLES / "README.md").read_text()))


@pytest.mark.parametrize("script", EXPECTED)
def test_it_trains_and_is_measured(script: str, tmp_path: Path) -> None:
    """Exit code 0, what it learned on standard output, what it cost on standard error, all its steps in the spool."""
    python, steps, output = EXPECTED[script]
    ended = run_script(python(), str(EXAMPLES / script), spool=tmp_path)
    assert ended.code == 0, ended.err
    assert re.search(f"(^|\n){output}$", ended.out), ended.out
    assert re.search(r"^wattline: .* [\d.e-]+ kWh \(.*\), [\d.e-]+ g CO2e", ended.err, re.MULTILINE), ended.err
    run = the_run(tmp_path)
    assert (run.status, run.steps) == ("COMPLETED", steps)
    assert run.energy_kwh > 0


@pytest.mark.parametrize(
    ("script", "remedy"),
    [
        ("pytorch_loop.py", "pip install torch"),
        ("huggingface_trainer.py", "pip install 'wattline[huggingface]'"),
    ],
)
def test_what_is_missing_is_told_with_the_remedy(script: str, remedy: str, tmp_path: Path) -> None:
    """In one line, not as a traceback."""
    without = f"import runpy, sys; sys.modules['torch'] = None; runpy.run_path({str(EXAMPLES / script)!r})"
    ended = run_script(sys.executable, "-c", without, spool=tmp_path)
    assert ended.code == 1
    assert remedy in ended.err
    assert len(ended.err.splitlines()) == 1
