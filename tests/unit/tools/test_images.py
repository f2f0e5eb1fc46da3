"""Which images there are, by what command each is built, and what is written after a push."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest
import yaml

from tools.image.builders import Buildah, Docker
from tools.image.kustomization import with_digests
from tools.images import IMAGES, build_command, main
from wattline_stack.jvm.pins import load_pins

ROOT = Path(__file__).resolve().parents[3]
DIGEST = "sha256:" + "1" * 64


def options(**given: object) -> argparse.Namespace:
    """Return what the command line gives, with ``given`` in place of the defaults."""
    defaults = {"tag": "dev", "revision": "abc", "base_image": None, "jar_repository": "", "ca_bundle": None}
    return argparse.Namespace(**defaults | given)


@pytest.mark.parametrize("image", IMAGES, ids=lambda image: image.short)
def test_every_image_is_described_where_it_is_said_to_be(image: object) -> None:
    """Its Dockerfile is there, has the target, and takes a base by digest, a number for a user and a first process."""
    text = (ROOT / image.dockerfile).read_text("utf-8")  # type: ignore[attr-defined]
    target = image.target  # type: ignore[attr-defined]
    assert target is None or f" AS {target}\n" in text
    assert "@sha256:" in text.partition("ARG BASE_IMAGE=")[2].splitlines()[0]
    final = text.partition(f" AS {target}\n")[2] if target else text.rpartition("\nFROM ")[2]
    assert "USER 10001:10001\n" in final
    assert 'ENTRYPOINT ["/usr/bin/tini", "--", ' in final


def test_all_dockerfiles_start_from_the_same_public_base() -> None:
    """One base means shared layers, and one line to look for when it is renewed."""
    bases = {
        line
        for dockerfile in {image.dockerfile for image in IMAGES}
        for line in (ROOT / dockerfile).read_text("utf-8").splitlines()
        if line.startswith("ARG BASE_IMAGE=")
    }
    assert len(bases) == 1


def test_public_bases_need_no_argument() -> None:
    """Without options nothing is said of the base: the Dockerfile's own holds."""
    command = build_command(Docker(), IMAGES[0], options())
    assert command[:2] == ["docker", "build"]
    assert command[-1] == "."
    assert not any("BASE_IMAGE" in word or "ca-bundle" in word for word in command)


def test_a_target_a_base_and_authorities_are_passed_on() -> None:
    """What is asked for reaches the builder; authorities as a secret, which no layer keeps."""
    kafka = next(image for image in IMAGES if image.short == "kafka")
    given = options(
        base_image="localhost/base:1", ca_bundle=Path("/ca.pem"), jar_repository="https://mirror.example/m2"
    )
    command = build_command(Buildah(), kafka, given)
    assert command[command.index("--target") + 1] == "kafka"
    assert {"BASE_IMAGE=localhost/base:1", "JAR_REPOSITORY=https://mirror.example/m2"} <= set(command)
    assert command[command.index("--secret") + 1] == "id=ca-bundle,src=/ca.pem"


def test_an_image_without_jars_gets_no_repository_of_them() -> None:
    """A Dockerfile warns of arguments that it does not know."""
    command = build_command(Docker(), IMAGES[0], options(jar_repository="https://mirror.example/m2"))
    assert not any("JAR_REPOSITORY" in word for word in command)


def test_a_bundle_that_is_not_there_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrong path ends it before anything is built, in words."""
    monkeypatch.setattr("tools.images._builder", lambda _: Docker())
    assert main(["--ca-bundle", "/nowhere/ca.pem"]) == 1
    assert "there is no file /nowhere/ca.pem" in capsys.readouterr().err


def test_pushed_digests_replace_only_their_own_entries() -> None:
    """What was not pushed, or is no image of ours, stays; the embedded store runs in no cluster."""
    before = yaml.safe_dump(
        {"kind": "Component", "images": [{"name": "mongo", "newTag": "8"}, {"name": "wattline/kafka"}]}
    )
    pushed = {"wattline/kafka": ("r.example/w/kafka", DIGEST), "wattline/store": ("r.example/w/store", DIGEST)}
    after = yaml.safe_load(with_digests(before, pushed))
    assert after["images"] == [
        {"name": "mongo", "newTag": "8"},
        {"name": "wattline/kafka", "newName": "r.example/w/kafka", "digest": DIGEST},
    ]


def test_a_missing_file_becomes_a_component() -> None:
    """The first push writes a whole one, and a second the same."""
    text = with_digests("", {"wattline/kafka": ("r.example/w/kafka", DIGEST)})
    assert yaml.safe_load(text)["kind"] == "Component"
    assert with_digests(text, {"wattline/kafka": ("r.example/w/kafka", DIGEST)}) == text


def test_the_stream_is_given_the_jars_that_are_pinned() -> None:
    """The image names Spark's jars one by one, and they are those whose sums are kept."""
    text = (ROOT / "services/streaming/Dockerfile").read_text("utf-8").replace("\\\n", "")
    named = text.partition("\nENV WATTLINE_SPARK_JARS=")[2].splitlines()[0].split(",")
    assert named == [f"/opt/jvm/{path}" for path in sorted(load_pins().sums) if path.startswith("spark/")]
