"""Long work shows itself: lines where nobody watches, bars on a terminal."""

from __future__ import annotations

import io
import threading

import pytest
from rich.console import Console

from wattline_stack import progress as progress_module
from wattline_stack.progress import ConsoleProgress


def test_plain_lines_without_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a log there are whole lines and no control characters; brackets are text, not markup."""
    monkeypatch.setattr(progress_module, "TELL_TIME_FROM_S", 60.0)  # as on a machine that is never busy
    out = io.StringIO()
    progress = ConsoleProgress(Console(file=out, width=80))
    with progress.task("downloading [once]", total_mb=2) as update:
        update(1)
    progress.say("a path that is far longer than the width of the console " * 3)
    assert out.getvalue().splitlines()[0] == "wattline: downloading [once] ..."
    assert len(out.getvalue().splitlines()) == 2
    assert "\x1b" not in out.getvalue()


def test_an_unknown_total_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is done is said alone when nobody knows how much it will be."""
    monkeypatch.setattr(progress_module, "LINE_EVERY_S", 0.0)
    out = io.StringIO()
    with ConsoleProgress(Console(file=out)).task("downloading") as update:
        update(7)
    assert out.getvalue().splitlines()[1] == "wattline: downloading: 7 MB"


def test_bars_from_several_threads_share_one_display() -> None:
    """Servers start in parallel, each with its bar; the display ends with the last of them."""
    out = io.StringIO()
    progress = ConsoleProgress(Console(file=out, force_terminal=True, width=80))
    both_open = threading.Barrier(2, timeout=10)

    def work(name: str) -> None:
        with progress.task(name, total_mb=1) as update:
            both_open.wait()
            update(1)

    threads = [threading.Thread(target=work, args=(name,)) for name in ("first", "second")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert "first" in out.getvalue()
    assert "second" in out.getvalue()
    assert progress._bars is None


def test_an_error_inside_a_task_passes_through_and_ends_the_bar() -> None:
    """A failure is not swallowed, and no live display is left behind on the terminal."""
    progress = ConsoleProgress(Console(file=io.StringIO(), force_terminal=True))
    with pytest.raises(ZeroDivisionError), progress.task("work"):
        _ = 1 // 0
    assert progress._bars is None
