"""The command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from wattline_dashboard.__main__ import main, streamlit_arguments


def test_help(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """--help tells the options and which store it would read, without credentials, and starts nothing."""
    monkeypatch.setenv("MONGODB_URI", "mongodb://ada:s3cret@db.example:27017/")
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    shown = capsys.readouterr().out
    assert "--port" in shown
    assert "db.example:27017" in shown
    assert "s3cret" not in shown


def test_wrong_setting_is_told_and_nothing_starts(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrong setting ends the command with code 2 and a sentence that names it."""
    monkeypatch.setenv("WATTLINE_DASHBOARD_PORT", "eighty")
    assert main([]) == 2
    assert "WATTLINE_DASHBOARD_PORT='eighty'" in capsys.readouterr().err


def test_streamlit_is_started_headless_and_silent() -> None:
    """No browser, no e-mail question, no statistics, whatever configuration lies around."""
    arguments = streamlit_arguments("127.0.0.1", 8600)
    assert {
        "--server.address=127.0.0.1",
        "--server.port=8600",
        "--server.headless=true",
        "--server.showEmailPrompt=false",
        "--browser.gatherUsageStats=false",
    } <= set(arguments)


def test_wrong_budgets_are_told_and_nothing_starts(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A file of budgets that is wrong ends the command with code 2, and says where and how to mend it."""
    path = tmp_path / "budgets.toml"
    path.write_text('[[budget]]\nuser = "ada"\nkwh = 0\nper = "month"', encoding="utf-8")
    monkeypatch.setenv("WATTLINE_DASHBOARD_BUDGETS", str(path))
    assert main([]) == 2
    told = capsys.readouterr().err
    for words in (str(path), "line 1", "kwh = 0", "give a number above 0"):
        assert words in told
