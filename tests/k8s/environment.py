"""Which environment variables a container gets, and who reads them."""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from pathlib import Path

from tests.import_rules import PROJECTS
from tests.k8s.rendered import ROOT, Object, Pod, image_name, pods, text_of

__all__ = ["environment", "settings_keys", "unread_variables"]

_KEY = re.compile(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)+")
SERVICES = {
    "trainer": "wattline_trainer",
    "streaming": "wattline_streaming",
    "dashboard": "wattline_dashboard",
    "tracker": "wattline",
}
# What is read by an image's entrypoint or by the foreign program in it, as its documentation says.
IMAGES = {
    "kafka": r"JAVA_OPTS|KAFKA_CLUSTER_ID|KAFKA_SCRAM_USERS",
    "registry": r"JAVA_OPTS|(APICURIO|QUARKUS)_[A-Z_]+",
    "store": r"JAVA_OPTS",
    "mongo": r"MONGO_INITDB_ROOT_(USERNAME|PASSWORD)|HOME",
    "trainer": r"NVIDIA_DRIVER_CAPABILITIES",  # NVIDIA's container toolkit
}
_HELPERS = {"wattline": ("job.py",)}  # what settings.py hands its environment to
# How a configuration file names what it takes from the environment: Kafka and Spark, mongosh, Quarkus.
_IN_FILES = re.compile(r"\$\{env:(\w+)\}|process\.env\.(\w+)|\$\{([A-Z][A-Z_]+)\}")

_IN_ARGUMENTS = re.compile(r"\$\((\w+)\)")  # Kubernetes itself fills these in


def environment(objects: Sequence[Object], pod: Pod, container: Object) -> dict[str, str]:
    """Return a container's variables; those from a field of the pod have no value here.

    Addresses in its mounted configuration files count as its variables too, under the files' names.
    """
    found: dict[str, str] = {}
    for source in container.get("envFrom", []):
        for key, kind in (("configMapRef", "ConfigMap"), ("secretRef", "Secret")):
            if key in source:
                found |= text_of(objects, kind, source[key]["name"])
    found |= {each["name"]: each.get("value", "") for each in container.get("env", [])}
    return found | files(objects, pod)


def files(objects: Sequence[Object], pod: Pod) -> dict[str, str]:
    """Return the configuration files of a pod by name."""
    found: dict[str, str] = {}
    for volume in pod.spec.get("volumes", []):
        if "configMap" in volume:
            found |= text_of(objects, "ConfigMap", volume["configMap"]["name"])
    return found


def settings_keys(package: str) -> set[str]:
    """Return the names of variables that a project and those it may import read: in settings.py, or its helper."""
    found: set[str] = set()
    for each in (package, *PROJECTS[package].may_import):
        paths = [Path(ROOT, PROJECTS[each].folder, each, name) for name in ("settings.py", *_HELPERS.get(each, ()))]
        nodes = [node for path in paths for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))]
        found |= {n.value for n in nodes if isinstance(n, ast.Constant) and isinstance(n.value, str)}
    return set(filter(_KEY.fullmatch, found))


def unread_variables(objects: Sequence[Object]) -> list[str]:
    """Complain of a variable that neither a settings.py, nor the image, nor a configuration file reads."""
    found = []
    for pod in pods(objects):
        in_files = files(objects, pod)
        named = {next(filter(None, match.groups())) for match in _IN_FILES.finditer("\n".join(in_files.values()))}
        for container in pod.containers:
            in_arguments = _IN_ARGUMENTS.findall(" ".join(container.get("args", [])))
            given = environment(objects, pod, container).keys() - in_files.keys() - set(in_arguments)
            if not given:
                continue
            image = image_name(container)
            known = settings_keys(SERVICES[image]) if image in SERVICES else set()
            by_image = re.compile(IMAGES.get(image, "(?!)"))
            found += [
                f"{pod.owner}: {container['name']}: nobody reads {key}"
                for key in sorted(given - known - named)
                if not by_image.fullmatch(key)
            ]
    return found
