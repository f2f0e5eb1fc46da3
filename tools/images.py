"""Builds, lists and pushes Wattline's images with docker or buildah, whichever is there."""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tools.image.builders import BUILDERS, Builder, BuildError
from tools.image.kustomization import with_digests

__all__ = ["IMAGES", "REVISION_LABEL", "Image", "build_command", "main"]

ROOT = Path(__file__).resolve().parent.parent
SBOM = "/usr/share/wattline/sbom.cdx.json"
REVISION_LABEL = "org.opencontainers.image.revision"
KUSTOMIZATION = ROOT / "k8s/overlays/cluster/images/kustomization.yaml"
ARTIFACTS = ROOT / "artifacts"


@dataclass(frozen=True, slots=True)
class Image:
    """One image: its name without registry and tag, and where it is described."""

    name: str
    dockerfile: str
    target: str | None = None

    @property
    def short(self) -> str:
        """What ``--only`` calls it."""
        return self.name.rpartition("/")[2]


IMAGES = (
    Image("wattline/trainer", "services/trainer/Dockerfile"),
    Image("wattline/dashboard", "services/dashboard/Dockerfile"),
    Image("wattline/streaming", "services/streaming/Dockerfile"),
    Image("wattline/kafka", "libs/stack/Dockerfile", "kafka"),
    Image("wattline/registry", "libs/stack/Dockerfile", "registry"),
    Image("wattline/store", "libs/stack/Dockerfile", "store"),
    Image("wattline/tracker", "libs/tracker/Dockerfile"),
)
_EPILOG = """\
examples:
  make images                                        all, from public bases
  make images ONLY=streaming                         one
  make images BASE_IMAGE=localhost/debian-python:12  from a base of your own: Debian 12 with python3 and python3-venv
  make images PUSH=registry.example.com/wattline     and push them; the overlay `cluster` then names their digests

Behind a proxy that opens TLS, SSL_CERT_FILE names the authorities that builds trust; they do not stay in an image.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line asks for; return the exit code."""
    options = _parser().parse_args(arguments)
    chosen = [image for image in IMAGES if not options.only or image.short in options.only]
    try:
        builder = _builder(options.builder)
        _build(builder, chosen, options)
        if options.archive:
            _archive(builder, chosen, options.tag, options.archive)
        if options.push:
            _push(builder, chosen, options.tag, options.push)
    except BuildError as error:
        print(f"images: {error}", file=sys.stderr)
        return 1
    return 0


def build_command(builder: Builder, image: Image, options: argparse.Namespace) -> list[str]:
    """Return the command that builds an image; the context is the repository's root."""
    arguments = {"VERSION": options.tag, "REVISION": options.revision}
    if options.base_image:
        arguments["BASE_IMAGE"] = options.base_image
    if options.jar_repository and image.short not in {"trainer", "dashboard", "tracker"}:
        arguments["JAR_REPOSITORY"] = options.jar_repository
    return [
        *builder.build,
        *("--file", image.dockerfile, "--tag", f"{image.name}:{options.tag}"),
        *(("--target", image.target) if image.target else ()),
        *(word for key, value in arguments.items() for word in ("--build-arg", f"{key}={value}")),
        *(("--secret", f"id=ca-bundle,src={options.ca_bundle}") if options.ca_bundle else ()),
        ".",
    ]


def _build(builder: Builder, chosen: Sequence[Image], options: argparse.Namespace) -> None:
    if options.ca_bundle and not options.ca_bundle.is_file():
        raise BuildError(f"there is no file {options.ca_bundle}: SSL_CERT_FILE (or --ca-bundle) must name a PEM file")
    folder = ARTIFACTS / "sbom"
    folder.mkdir(parents=True, exist_ok=True)
    sizes: Mapping[str, str] = {}
    for number, image in enumerate(chosen, 1):
        reference, began_s = f"{image.name}:{options.tag}", time.monotonic()
        print(f"images: [{number}/{len(chosen)}] {reference}, with {builder.name}", flush=True)
        if subprocess.run(build_command(builder, image, options), cwd=ROOT, check=False).returncode:
            raise BuildError(f"{reference} was not built: the reason stands above. What was built before it stays.")
        builder.set_label(reference, REVISION_LABEL, options.revision)
        (folder / f"{image.short}.cdx.json").write_text(builder.read_file(reference, SBOM), encoding="utf-8")
        sizes = {**sizes, reference: builder.size(reference)}
        print(f"images: {reference} took {time.monotonic() - began_s:.0f} s", flush=True)
    for reference, size in sizes.items():
        print(f"  {reference:28} {size}")
    print(f"what is in them: {folder.relative_to(ROOT)}/*.cdx.json (CycloneDX)")


def _archive(builder: Builder, chosen: Sequence[Image], tag: str, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for image in chosen:
        path = folder / f"{image.short}.tar"
        builder.archive(f"{image.name}:{tag}", path)
        print(f"images: wrote {path}")


def _push(builder: Builder, chosen: Sequence[Image], tag: str, registry: str) -> None:
    digests = {}
    with tempfile.TemporaryDirectory() as work:
        for image in chosen:
            name = f"{registry.rstrip('/')}/{image.short}"
            digests[image.name] = (name, builder.push(f"{image.name}:{tag}", f"{name}:{tag}", Path(work)))
            print(f"images: pushed {name}@{digests[image.name][1]}", flush=True)
    before = KUSTOMIZATION.read_text("utf-8") if KUSTOMIZATION.exists() else ""
    KUSTOMIZATION.parent.mkdir(parents=True, exist_ok=True)
    KUSTOMIZATION.write_text(with_digests(before, digests), "utf-8")
    print(f"images: wrote {KUSTOMIZATION.relative_to(ROOT)}")


def _builder(wanted: str | None) -> Builder:
    for builder in BUILDERS:
        if wanted in {None, builder.name} and shutil.which(builder.name) and builder.is_usable():
            return builder
    raise BuildError(
        f"no {wanted or 'docker (with its daemon) or buildah'} that works: start Docker, or apt-get install buildah"
    )


def _revision() -> str:
    done = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S607 - git of PATH
    return done.stdout.strip() or "unknown"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tools.images",
        description=__doc__,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    names = [image.short for image in IMAGES]
    parser.add_argument("--only", action="append", choices=names, help="build only this one; may be given again")
    parser.add_argument("--tag", default="dev", help="of every image (default: %(default)s)")
    parser.add_argument("--base-image", help="instead of the public base that the Dockerfiles name by digest")
    parser.add_argument("--builder", choices=[builder.name for builder in BUILDERS], help="default: what works here")
    parser.add_argument("--ca-bundle", type=Path, help="authorities (PEM) that builds trust beside the base's own")
    parser.add_argument("--jar-repository", default="", help="a Maven repository to download jars from")
    parser.add_argument("--archive", type=Path, metavar="FOLDER", help="also write each as an archive, to be loaded")
    parser.add_argument("--push", metavar="REGISTRY", help="also push to this registry and folder, and pin the digests")
    parser.set_defaults(revision=_revision())
    return parser


if __name__ == "__main__":
    sys.exit(main())
