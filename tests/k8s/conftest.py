"""Renders each combination once; finds the cluster for tests."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.k8s.kubectl import Kubectl, cluster_of_tests
from tests.k8s.rendered import BASE, COMBINATIONS, Combination, Object, copy_tree, kustomize

__all__ = ["Render", "kubectl", "objects", "render"]

Render = Callable[[Combination], list[Object]]


@pytest.fixture(scope="session")
def render(tmp_path_factory: pytest.TempPathFactory) -> Render:
    """Return a function that renders a combination; what it returns may be changed."""
    known: dict[Combination, list[Object]] = {}

    def rendered(combination: Combination) -> list[Object]:
        if combination not in known:
            folder: Path = tmp_path_factory.mktemp("k8s")
            known[combination] = kustomize(combination.prepare(copy_tree(folder)))
        return copy.deepcopy(known[combination])

    return rendered


@pytest.fixture(params=[BASE, *COMBINATIONS], ids=str)
def objects(request: pytest.FixtureRequest, render: Render) -> list[Object]:
    """Return the objects of the base, of each overlay, and of each overlay with each component."""
    return render(request.param)


@pytest.fixture(scope="session")
def kubectl() -> Kubectl:
    """Return kubectl on the cluster that the setting names."""
    return cluster_of_tests()
