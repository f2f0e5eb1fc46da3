"""What an image's bill of materials says of a jar, of Java and of Debian's packages."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
from cyclonedx.output.json import JsonV1Dot6

from tools.image.sbom import debian_packages, inventory, jar, java, split_jar_name, validate


@pytest.mark.parametrize(
    ("stem", "artifact", "version"),
    [
        ("spark-sql-kafka-0-10_2.13-4.1.1", "spark-sql-kafka-0-10_2.13", "4.1.1"),
        ("log4j-1.2-api-2.24.3", "log4j-1.2-api", "2.24.3"),
        ("guava-33.4.8-jre", "guava", "33.4.8-jre"),
        ("zstd-jni-1.5.7-6", "zstd-jni", "1.5.7-6"),
        ("quarkus-run", "quarkus-run", None),
    ],
)
def test_a_jar_name_is_split_at_its_version(stem: str, artifact: str, version: str | None) -> None:
    """Digits inside a name are no version."""
    assert split_jar_name(stem) == (artifact, version)


def make_jar(path: Path, *origins: str) -> Path:
    """Write a jar that says it is of these artifacts of org.example."""
    with zipfile.ZipFile(path, "w") as archive:
        for artifact in origins:
            text = f"# made\ngroupId=org.example\nartifactId={artifact}\nversion=1.2.3\n"
            archive.writestr(f"META-INF/maven/org.example/{artifact}/pom.properties", text)
    return path


def test_a_jar_is_what_it_says_it_is(tmp_path: Path) -> None:
    """Its own words go before its file's name."""
    component = jar(make_jar(tmp_path / "renamed-9.9.jar", "thing"), {})
    assert str(component.purl) == "pkg:maven/org.example/thing@1.2.3"


def test_a_jar_that_holds_others_is_named_by_its_file(tmp_path: Path) -> None:
    """Two origins inside are of what it holds, not its own; its group is what the download says."""
    component = jar(make_jar(tmp_path / "bundle-4.0.jar", "one", "two"), {"bundle-4.0.jar": "org.bundle"})
    assert str(component.purl) == "pkg:maven/org.bundle/bundle@4.0"


@pytest.mark.parametrize(
    ("name", "purl"),
    [
        ("com.h2database.h2-2.4.240.jar", "pkg:maven/com.h2database/h2@2.4.240"),
        ("com.github.ben-manes.caffeine.caffeine-3.2.3.jar", "pkg:maven/com.github.ben-manes.caffeine/caffeine@3.2.3"),
        ("org.jetbrains.kotlinx.kotlinx-datetime-jvm-0.8.0-0.6.x-compat.jar", None),
    ],
)
def test_a_jar_that_quarkus_renamed_has_its_group_before_its_name(tmp_path: Path, name: str, purl: str | None) -> None:
    """Quarkus names files by group and artifact; one that cannot be split for certain has no purl."""
    folder = tmp_path / "lib" / "main"
    folder.mkdir(parents=True)
    found = jar(make_jar(folder / name), {}).purl
    assert (str(found) if found else None) == purl


def test_a_group_is_never_guessed(tmp_path: Path) -> None:
    """A wrong purl would match somebody else's vulnerabilities: none is better."""
    component = jar(make_jar(tmp_path / "lonely-4.0.jar"), {})
    assert component.purl is None
    assert (component.name, component.version) == ("lonely", "4.0")


def test_the_whole_is_valid_cyclonedx(tmp_path: Path) -> None:
    """Jar, Java and packages make a document that the schema accepts; a damaged one it refuses."""
    (tmp_path / "release").write_text('IMPLEMENTOR="Somebody"\nJAVA_VERSION="21.0.8"\n')
    packages = debian_packages("tini\t0.19.0-1\tamd64\n", "debian-12")
    components = [jar(make_jar(tmp_path / "thing-1.2.3.jar", "thing"), {}), java(tmp_path), *packages]
    text = JsonV1Dot6(inventory("wattline/kafka", "dev", components)).output_as_string()
    validate(text)
    assert "pkg:deb/debian/tini@0.19.0-1?arch=amd64&distro=debian-12" in text
    with pytest.raises(ValueError, match="not valid CycloneDX"):
        validate(text.replace('"type": "container"', '"type": "carton"'))
