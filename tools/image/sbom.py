"""Writes what an image holds as CycloneDX: Python, jars, Java and Debian packages. Runs in build stages."""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL

__all__ = ["debian_packages", "inventory", "jar", "java", "main", "split_jar_name", "validate"]

# The version is the last part that starts with digits and a dot, with what is tied to it: 1.5.7-6, 33.4.8-jre.
_JAR_NAME = re.compile(r"(?P<artifact>.+)-(?P<version>\d+\.\d[\w.]*(?:-\w+)*)")
# Quarkus puts the group before the name, and every jar into one of these.
_QUARKUS_NAME = re.compile(r"(?P<group>\w+(?:[.-]\w+)*)\.(?P<artifact>[A-Za-z][\w-]*)")
_QUARKUS_FOLDERS = ("main", "boot")
_POM = re.compile(r"META-INF/maven/[^/]+/[^/]+/pom\.properties")
_RELEASE = re.compile(r'^(?P<key>\w+)="(?P<value>.*)"$', re.MULTILINE)


def inventory(name: str, version: str, components: Iterable[Component], python: Path | None = None) -> Bom:
    """Return an image's bill of materials: the components, and what ``python`` has installed."""
    bom = _python_environment(python) if python else Bom()
    bom.metadata.component = Component(type=ComponentType.CONTAINER, name=name, version=version, bom_ref=name)
    for component in components:
        bom.components.add(component)
    bom.register_dependency(bom.metadata.component, bom.components)
    return bom


def jar(path: Path, groups: Mapping[str, str]) -> Component:
    """Describe a jar by what it says of itself, else by its name; a group that is not known leaves it without purl."""
    said = _pom_properties(path)
    artifact, version = said.get("artifactId"), said.get("version")
    if not (artifact and version):
        artifact, version = split_jar_name(path.stem)
    group = groups.get(path.name) or said.get("groupId")
    quarkus = _QUARKUS_NAME.fullmatch(artifact) if path.parent.name in _QUARKUS_FOLDERS and not group else None
    if quarkus:
        group, artifact = quarkus["group"], quarkus["artifact"]
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return Component(
        type=ComponentType.LIBRARY,
        name=artifact,
        group=group,
        version=version,
        purl=PackageURL("maven", group, artifact, version) if group and version else None,
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=digest)],
        bom_ref=f"jar:{path.name}:{digest[:12]}",
    )


def split_jar_name(stem: str) -> tuple[str, str | None]:
    """Split ``log4j-1.2-api-2.24.3`` into name and version; no version where there is none."""
    match = _JAR_NAME.fullmatch(stem)
    return (match["artifact"], match["version"]) if match else (stem, None)


def java(home: Path) -> Component:
    """Describe the Java runtime by its own release file."""
    release = {match["key"]: match["value"] for match in _RELEASE.finditer((home / "release").read_text("utf-8"))}
    version = release.get("JAVA_RUNTIME_VERSION") or release["JAVA_VERSION"]
    return Component(
        type=ComponentType.PLATFORM,
        name="java",
        group=release.get("IMPLEMENTOR"),
        version=version,
        bom_ref=f"java:{version}",
    )


def debian_packages(listing: str, distribution: str) -> list[Component]:
    """Describe the packages in ``listing``, one a line: name, version and architecture between tabs."""
    rows = [line.split("\t") for line in listing.splitlines() if line]
    return [
        Component(
            type=ComponentType.LIBRARY,
            name=name,
            version=version,
            purl=PackageURL("deb", "debian", name, version, {"arch": architecture, "distro": distribution}),
            bom_ref=f"deb:{name}:{architecture}",
        )
        for name, version, architecture in rows
    ]


def validate(text: str) -> None:
    """Raise `ValueError` when ``text`` is not what the schema of CycloneDX 1.6 asks for."""
    error = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    if error is not None:
        raise ValueError(f"not valid CycloneDX 1.6: {error}")


def main(arguments: list[str] | None = None) -> int:
    """Write the file that the command line asks for."""
    options = _parser().parse_args(arguments)
    groups = json.loads(options.groups.read_text("utf-8")) if options.groups else {}
    jars = sorted({path.resolve() for folder in options.jars for path in folder.rglob("*.jar")})
    components = [*_installed_debian_packages(), *(jar(path, groups) for path in jars)]
    if options.java:
        components.append(java(options.java))
    bom = inventory(options.name, options.version, components, options.python)
    text = JsonV1Dot6(bom).output_as_string(indent=1)
    validate(text)
    options.output.write_text(text, "utf-8")
    print(f"{options.name}: {len(bom.components)} components, {len(jars)} of them jars")
    return 0


def _python_environment(python: Path) -> Bom:
    with tempfile.TemporaryDirectory() as folder:
        found = Path(folder, "python.json")
        command = [sys.executable, "-m", "cyclonedx_py", "environment", "--spec-version", "1.6", "-o", str(found)]
        subprocess.run([*command, str(python)], check=True)
        bom: Bom = Bom.from_json(json.loads(found.read_text("utf-8")))  # type: ignore[attr-defined] # by a decorator
    return bom


def _pom_properties(path: Path) -> dict[str, str]:
    """Return what a jar says of its origin; nothing when it says it of several, as one with others inside does."""
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if _POM.fullmatch(name)]
        if len(names) != 1:
            return {}
        lines = archive.read(names[0]).decode("utf-8", "replace").splitlines()
    return dict(line.strip().split("=", 1) for line in lines if "=" in line and not line.startswith("#"))


def _installed_debian_packages() -> list[Component]:
    release = Path("/etc/os-release").read_text("utf-8")
    version = re.search(r'^VERSION_ID="?([\d.]+)', release, re.MULTILINE)
    query = ["dpkg-query", "-W", "-f", "${Package}\t${Version}\t${Architecture}\n"]
    listing = subprocess.run(query, check=True, capture_output=True, text=True).stdout
    return debian_packages(listing, f"debian-{version[1]}" if version else "debian")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", help="of the image, such as wattline/streaming")
    parser.add_argument("version", help="of the image")
    parser.add_argument("--python", type=Path, help="the Python whose environment is in the image")
    parser.add_argument("--jars", type=Path, action="append", default=[], help="a folder with jars; may be given again")
    parser.add_argument("--groups", type=Path, help="a JSON object: file name of a jar to its Maven group")
    parser.add_argument("--java", type=Path, help="the home of the Java in the image")
    parser.add_argument("--output", type=Path, required=True, help="where to write it")
    return parser


if __name__ == "__main__":
    sys.exit(main())
