"""What an audit of dependencies says: above all that what could not be asked is no clean bill."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tools import audit

CLEAN = {"name": "a", "version": "1", "vulns": []}
BAD = {
    "name": "b",
    "version": "2",
    "vulns": [{"id": "X-1", "fix_versions": ["3"]}, {"id": "X-2", "fix_versions": []}],
}
UNKNOWN = {"name": "c", "skip_reason": "not found"}


def _report(*dependencies: dict[str, Any]) -> str:
    return json.dumps({"dependencies": dependencies, "fixes": []})


@pytest.mark.parametrize(
    ("answer", "code", "words"),
    [
        (_report(CLEAN), 0, "1 audited, 0 known"),
        (_report(CLEAN, BAD), 1, "b 2: X-1, mended in 3\n  b 2: X-2, mended in none yet"),
        (_report(CLEAN, UNKNOWN), audit.NOT_AUDITED_EXIT, "NOT AUDITED, nobody knew them: c"),
        (_report(BAD, UNKNOWN), 1, "nobody knew them: c"),
        ("", audit.NOT_AUDITED_EXIT, "NOT AUDITED, the database could not be asked: cannot resolve"),
        ("[]", audit.NOT_AUDITED_EXIT, "NOT AUDITED"),
    ],
)
def test_the_exit_code_says_what_is_known(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], answer: str, code: int, words: str
) -> None:
    """0 is said only where every dependency was asked for and none is vulnerable."""

    class Done:
        stdout, stderr = answer, "Traceback\ncannot resolve\n"

    monkeypatch.setattr(audit, "locked_python", lambda *_: Path("python"))
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: Done)
    assert audit.main(["requirements.lock"]) == code
    assert words in capsys.readouterr().out


def test_all_locks_are_asked_about() -> None:
    """Every hashed lock that is installed from, but those of benches' peers and of tests' libraries."""
    for lock in audit.LOCKS:
        assert "--hash=sha256:" in (audit.ROOT / lock).read_text(encoding="utf-8")
