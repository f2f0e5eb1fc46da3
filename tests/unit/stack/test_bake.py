"""An image gets exactly the parts it asks for, by fixed names, and only what was pinned."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from wattline_common.errors import ResourceError
from wattline_stack import SilentProgress
from wattline_stack.jvm import bake as bake_module
from wattline_stack.jvm.bake import GROUPS_FILE, bake
from wattline_stack.jvm.pins import Pins, load_pins, sha256_of, verify


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Stand in for the download: writes one file a part, and Ivy's cache; returns the contents, to be changed."""
    contents = {"kafka": "kafka", "spark": "spark"}

    def fetch(_java: Path, work: Path, _repository: str, pins: Pins, _progress: object) -> Path:
        for part in pins.parts:
            cached = work / "ivy" / f"org.{part}" / part / "jars" / f"{part}.jar"
            taken = work / "bundle" / part / f"{part}.jar"
            for path in (cached, taken):
                path.parent.mkdir(parents=True)
                path.write_text(contents[part])
        verify(work / "bundle", pins)
        return work / "bundle"

    sums = {f"{part}/{part}.jar": _sum(tmp_path / part, text) for part, text in contents.items()}
    monkeypatch.setattr(bake_module, "load_pins", lambda: Pins(sums, 1, "key"))
    monkeypatch.setattr(bake_module, "fetch", fetch)
    monkeypatch.setattr(bake_module, "_bake_java", lambda home: home / "bin" / "java")
    return contents


def _sum(path: Path, text: str) -> str:
    path.write_text(text)
    return sha256_of(path)


def test_the_asked_parts_and_nothing_else(mirror: dict[str, str], tmp_path: Path) -> None:
    """Spark comes with a Java that it starts on; Kafka, which was not asked for, is not there."""
    bake(["spark"], tmp_path / "image", "", SilentProgress())
    assert sorted(path.name for path in (tmp_path / "image").iterdir()) == [GROUPS_FILE, "spark", "spark-java"]
    assert (tmp_path / "image" / "spark" / "spark.jar").read_text() == mirror["spark"]
    launcher = tmp_path / "image" / "spark-java" / "bin" / "java"
    assert os.access(launcher, os.X_OK)
    assert f"exec {tmp_path}/image/java/bin/java" in launcher.read_text()


def test_each_file_s_maven_group_is_kept(mirror: dict[str, str], tmp_path: Path) -> None:
    """What a jar is cannot be told from its name alone, and an inventory needs it."""
    bake(sorted(mirror), tmp_path / "image", "", SilentProgress())
    groups = json.loads((tmp_path / "image" / GROUPS_FILE).read_text())
    assert groups == {"kafka.jar": "org.kafka", "spark.jar": "org.spark"}


def test_a_file_that_is_not_the_pinned_one_makes_no_image(mirror: dict[str, str], tmp_path: Path) -> None:
    """Nothing of a bad download is written."""
    mirror["kafka"] += " changed"
    with pytest.raises(ResourceError, match=r"kafka/kafka\.jar"):
        bake(["kafka"], tmp_path / "image", "", SilentProgress())
    assert not (tmp_path / "image" / "kafka").exists()


def test_the_committed_pins_have_what_can_be_baked() -> None:
    """Every part that the command offers is pinned."""
    assert set(bake_module.BAKED_PARTS) <= set(load_pins().parts)
