"""The Component that tells the overlay `cluster` which pushed images it runs, by digest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

__all__ = ["with_digests"]

HEADER = "# Written by `make images PUSH=...`: what was pushed, by digest.\n"
EMPTY = {"apiVersion": "kustomize.config.k8s.io/v1alpha1", "kind": "Component", "images": []}
# The embedded store is for laptops and tests, the tracker for the Jobs of others: the overlay runs neither, and
# kustomize would carry an entry without a use.
UNUSED = {"wattline/store", "wattline/tracker"}


def with_digests(text: str, pushed: Mapping[str, tuple[str, str]]) -> str:
    """Return the file with these images (name in the manifests: name and digest that were pushed); others stay."""
    content: dict[str, Any] = (yaml.safe_load(text) if text.strip() else None) or dict(EMPTY)
    images = {entry["name"]: entry for entry in content.get("images") or []}
    for name, (pushed_name, digest) in pushed.items():
        if name not in UNUSED:
            images[name] = {"name": name, "newName": pushed_name, "digest": digest}
    content["images"] = [images[name] for name in sorted(images)]
    return HEADER + yaml.safe_dump(content, sort_keys=False)
