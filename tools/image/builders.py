"""The two programs that can build an image, behind one interface."""

from __future__ import annotations

import json
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

__all__ = ["BUILDERS", "BuildError", "Buildah", "Builder", "Docker"]


class BuildError(Exception):
    """What a person must mend before images can be built or pushed."""


class Builder(ABC):
    """Builds, reads, sizes and pushes images."""

    name: ClassVar[str]
    build: ClassVar[Sequence[str]]

    def is_usable(self) -> bool:
        """Say whether it can be used here, not only found."""
        return subprocess.run([self.name, "info"], capture_output=True, check=False).returncode == 0

    def size(self, reference: str) -> str:
        """Return an image's size as it is shown."""
        return self._run("images", "--format", "{{.Size}}", reference).strip().splitlines()[0]

    @abstractmethod
    def read_file(self, reference: str, path: str) -> str:
        """Return the text of a file in an image."""

    @abstractmethod
    def set_label(self, reference: str, name: str, value: str) -> None:
        """Make sure that an image has a label which its Dockerfile makes of an argument."""

    @abstractmethod
    def archive(self, reference: str, path: Path) -> None:
        """Write an image as an archive that docker, containerd and podman load."""

    @abstractmethod
    def push(self, reference: str, target: str, work: Path) -> str:
        """Push an image under another name; return its digest there."""

    def _run(self, *arguments: str) -> str:
        done = subprocess.run([self.name, *arguments], capture_output=True, text=True, check=False)
        if done.returncode:
            raise BuildError(f"`{self.name} {' '.join(arguments)}` failed: {done.stderr.strip()}")
        return done.stdout


class Docker(Builder):
    """Docker with BuildKit, its default since version 23."""

    name = "docker"
    build = ("docker", "build")

    def read_file(self, reference: str, path: str) -> str:
        """Run `cat` in a container without network."""
        return self._run("run", "--rm", "--network", "none", "--entrypoint", "cat", reference, path)

    def set_label(self, reference: str, name: str, value: str) -> None:
        """Do nothing: BuildKit makes a LABEL anew when the argument in it changes."""

    def archive(self, reference: str, path: Path) -> None:
        """Save it."""
        self._run("save", "--output", str(path), reference)

    def push(self, reference: str, target: str, work: Path) -> str:  # noqa: ARG002 - buildah needs a folder
        """Tag, push, and ask what digest it has there."""
        self._run("tag", reference, target)
        self._run("push", target)
        digests = json.loads(self._run("image", "inspect", "--format", "{{json .RepoDigests}}", target))
        repository = target.rpartition(":")[0]
        found = [each.partition("@")[2] for each in digests if each.partition("@")[0] == repository]
        if not found:
            raise BuildError(f"docker names no digest of {target} after the push: {digests}")
        return str(found[0])


class Buildah(Builder):
    """Buildah, which needs no daemon."""

    name = "buildah"
    build = ("buildah", "build", "--layers", "--format", "docker")

    def read_file(self, reference: str, path: str) -> str:
        """Run `cat` in a working container."""
        container = self._run("from", "--pull-never", reference).strip()
        try:
            return self._run("run", container, "--", "cat", path)
        finally:
            self._run("rm", container)

    def set_label(self, reference: str, name: str, value: str) -> None:
        """Set it unless it is so: the cache hands out a LABEL though the argument in it has changed."""
        form = f'{{{{index .Docker.Config.Labels "{name}"}}}}'
        if self._run("inspect", "--type", "image", "--format", form, reference).strip() != value:
            container = self._run("from", "--pull-never", reference).strip()
            self._run("config", "--label", f"{name}={value}", container)
            self._run("commit", "--quiet", "--rm", "--format", "docker", container, reference)

    def archive(self, reference: str, path: Path) -> None:
        """Write an archive; one that is there already cannot be added to."""
        path.unlink(missing_ok=True)
        self._run("push", reference, f"docker-archive:{path}:{reference}")

    def push(self, reference: str, target: str, work: Path) -> str:
        """Push, and read the digest that it writes."""
        digest = work / "digest"
        self._run("push", "--digestfile", str(digest), reference, f"docker://{target}")
        return digest.read_text("utf-8").strip()


BUILDERS: tuple[Builder, ...] = (Docker(), Buildah())
