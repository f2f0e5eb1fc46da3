"""A bridge whose library is missing says which extra brings it."""

from __future__ import annotations

import importlib
import sys

import pytest


@pytest.mark.parametrize(("extra", "library"), [("huggingface", "transformers"), ("mlflow", "mlflow")])
def test_without_its_library_a_bridge_names_its_extra(
    extra: str, library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The import fails, and says what to install."""
    monkeypatch.setitem(sys.modules, library, None)
    monkeypatch.delitem(sys.modules, f"wattline.integrations.{extra}", raising=False)
    with pytest.raises(ImportError, match=rf"pip install 'wattline\[{extra}\]'"):
        importlib.import_module(f"wattline.integrations.{extra}")
