"""What must hold of every pod, as functions from rendered objects to complaints: an empty list is well."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

from tests.k8s.rendered import Object, Pod, image_name, of_kind, pods, text_of

__all__ = [
    "Complaints",
    "bytes_of",
    "floating_images",
    "heaps_without_room",
    "images_without_digest",
    "missing_limits",
    "missing_probes",
    "privileges",
    "shown_secrets",
    "tokens",
    "volatile_claims",
]

Complaints = Callable[[Sequence[Object]], list[str]]

UNITS = {"": 1, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "k": 10**3, "m": 2**20, "g": 2**30}  # m, g: a JVM's
DIGEST = re.compile(r"@sha256:[0-9a-f]{64}$")
FLOATING_TAGS = {"", "latest", "main", "master", "edge", "nightly", "stable"}
# Only with spark-executors does a pod speak to the Kubernetes API.
TOKEN_BEARER = "StatefulSet/streaming"  # noqa: S105 - a workload's name
JVM_HEAP = {"JAVA_OPTS": re.compile(r"-Xmx(\d+)([mg])\b"), "WATTLINE_SPARK_DRIVER_MEMORY": re.compile(r"^(\d+)([mg])$")}
JVM_IMAGES = {"kafka", "registry", "store", "streaming"}
JVM_SHARE = 0.7  # of its limit at most: metaspace, threads, buffers and Python need the rest


def bytes_of(quantity: str) -> int:
    """Return a Kubernetes quantity of memory in bytes."""
    match = re.fullmatch(r"(\d+)([A-Za-z]*)", quantity)
    assert match is not None, quantity
    return int(match[1]) * UNITS[match[2]]


def privileges(objects: Sequence[Object]) -> list[str]:
    """Complain of what the profile `restricted` forbids, of a root that can be written, and of host access."""
    return [f"{pod.owner}: {what}" for pod in pods(objects) for what in (*_pod_privileges(pod), *_root(pod))]


def _pod_privileges(pod: Pod) -> Iterator[str]:
    context = pod.spec.get("securityContext", {})
    if context.get("runAsNonRoot") is not True:
        yield "runAsNonRoot is not true"
    for key in ("runAsUser", "runAsGroup"):
        if not context.get(key):
            yield f"{key} is no number above 0"
    if context.get("seccompProfile") != {"type": "RuntimeDefault"}:
        yield "seccompProfile is not RuntimeDefault"
    yield from (f"{key} is set" for key in ("hostNetwork", "hostPID", "hostIPC") if pod.spec.get(key))
    yield from (f"volume {each['name']} is of the host" for each in pod.spec.get("volumes", []) if "hostPath" in each)
    if pod.spec.get("enableServiceLinks") is not False:
        yield "enableServiceLinks is not false"


def _root(pod: Pod) -> Iterator[str]:
    for container in pod.containers:
        context = container.get("securityContext", {})
        name = container["name"]
        if context.get("allowPrivilegeEscalation") is not False:
            yield f"{name} may escalate privileges"
        if context.get("readOnlyRootFilesystem") is not True:
            yield f"{name} may write to its root"
        if context.get("capabilities") != {"drop": ["ALL"]}:
            yield f"{name} keeps capabilities"
        if context.keys() & {"privileged", "runAsUser", "runAsNonRoot", "seccompProfile", "procMount"}:
            yield f"{name} says otherwise than its pod"


def tokens(objects: Sequence[Object]) -> list[str]:
    """Complain of tokens, and of a pod without a ServiceAccount of its own."""
    accounts = {each["metadata"]["name"]: each for each in of_kind(objects, "ServiceAccount")}
    with_role = {subject["name"] for each in of_kind(objects, "RoleBinding") for subject in each["subjects"]}
    found = [f"ServiceAccount/{name} hands out its token" for name, each in accounts.items() if _automounts(each)]
    for pod in pods(objects):
        account = pod.spec.get("serviceAccountName")
        if account not in accounts and not pod.is_spark_executor:
            found.append(f"{pod.owner} has no ServiceAccount of its own")
        if _automounts(pod.spec) and not (pod.owner == TOKEN_BEARER and account in with_role):
            found.append(f"{pod.owner} mounts a token")
    return found + [
        f"{each['kind']}/{each['metadata']['name']} has a wildcard"
        for each in of_kind(objects, "Role", "ClusterRole")
        if any("*" in rule[part] for rule in each["rules"] for part in ("apiGroups", "resources", "verbs"))
    ]


def _automounts(part: Object) -> bool:
    return part.get("automountServiceAccountToken") is not False


def missing_probes(objects: Sequence[Object]) -> list[str]:
    """Complain of a server without startup, readiness and liveness probe, or whose probe asks a port it has not."""
    found = []
    for pod in (each for each in pods(objects) if each.is_server):
        for container in pod.spec["containers"]:
            names = {port["name"] for port in container.get("ports", [])}
            for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
                action = container.get(probe, {})
                port = (action.get("httpGet") or action.get("tcpSocket") or {}).get("port")
                if port not in names:
                    found.append(f"{pod.owner}: {container['name']} has no {probe} on a port of its own")
    return found


def missing_limits(objects: Sequence[Object]) -> list[str]:
    """Complain of a container without requests and limits of CPU and memory, or a scratch volume without a bound."""
    found = []
    for pod in pods(objects):
        unbounded = [each["name"] for each in pod.spec.get("volumes", []) if each.get("emptyDir", None) == {}]
        found += [f"{pod.owner}: volume {name} has no sizeLimit" for name in unbounded]
        if pod.is_spark_executor:
            found += [f"{pod.owner}: spark-defaults.conf lacks {key}" for key in _missing_executor_limits(objects)]
            continue
        for container in pod.containers:
            resources = container.get("resources", {})
            for part in ("requests", "limits"):
                lacking = {"cpu", "memory"} - resources.get(part, {}).keys()
                found += [f"{pod.owner}: {container['name']} has no {part} of {each}" for each in sorted(lacking)]
    return found


def _missing_executor_limits(objects: Sequence[Object]) -> list[str]:
    conf = text_of(objects, "ConfigMap", "spark")["spark-defaults.conf"]
    keys = ("spark.executor.memory", "spark.executor.memoryOverhead", "spark.kubernetes.executor.limit.cores")
    return [key for key in keys if not re.search(rf"^{re.escape(key)}\s+\S", conf, re.MULTILINE)]


def heaps_without_room(objects: Sequence[Object]) -> list[str]:
    """Complain of a JVM without an explicit heap, or with one that leaves its container no room for the rest."""
    found = []
    for pod in pods(objects):
        for container in pod.spec["containers"]:
            if image_name(container) not in JVM_IMAGES or pod.is_spark_executor:
                continue
            heap = _heap_bytes(objects, container)
            limit = bytes_of(container["resources"]["limits"]["memory"])
            if not 0 < heap <= JVM_SHARE * limit:
                found.append(f"{pod.owner}: a heap of {heap >> 20} MiB in {limit >> 20} MiB")
    return found


def _heap_bytes(objects: Sequence[Object], container: Object) -> int:
    for source in container.get("envFrom", []):
        for key, kind in (("configMapRef", "ConfigMap"), ("secretRef", "Secret")):
            if key in source:
                values = text_of(objects, kind, source[key]["name"])
                for name, pattern in JVM_HEAP.items():
                    if match := pattern.search(values.get(name, "")):
                        return int(match[1]) * UNITS[match[2]]
    return 0


def _images(objects: Sequence[Object]) -> Iterator[tuple[str, str]]:
    for pod in pods(objects):
        for container in pod.containers:
            if "image" in container:
                yield f"{pod.owner}: {container['name']}", container["image"]
            yield from (
                (f"{pod.owner}: {each['name']}", each["value"])
                for each in container.get("env", [])
                if each["name"].endswith("_IMAGE")
            )


def floating_images(objects: Sequence[Object]) -> list[str]:
    """Complain of an image that may be another one tomorrow."""
    return [
        f"{where}: {image}"
        for where, image in _images(objects)
        if not DIGEST.search(image) and image.rpartition("/")[2].partition(":")[2] in FLOATING_TAGS
    ]


def images_without_digest(objects: Sequence[Object]) -> list[str]:
    """Complain of an image that is not named by digest."""
    return [f"{where}: {image}" for where, image in _images(objects) if not DIGEST.search(image)]


def shown_secrets(objects: Sequence[Object]) -> list[str]:
    """Complain of a value of a Secret that stands elsewhere too, and of an address with a password in it."""
    secret = {
        word
        for each in of_kind(objects, "Secret")
        for value in text_of(objects, "Secret", each["metadata"]["name"]).values()
        for word in re.split(r"[=:,@/ ]", value)
        if len(word) >= 16  # shorter ones are names
    }
    found = []
    for each in objects:
        if each["kind"] == "Secret":
            continue
        text = repr(each)
        name = f"{each['kind']}/{each['metadata']['name']}"
        found += [f"{name} shows a secret" for word in secret if word in text]
        found += [f"{name}: an address with a password" for _ in re.finditer(r"://[^/\s:@$]+:[^/\s@$]+@", text)]
    return found


def volatile_claims(objects: Sequence[Object]) -> list[str]:
    """Complain of what would take data along when the overlay is deleted: claims of its own, a namespace, retention."""
    found = [
        f"{each['kind']}/{each['metadata']['name']} would be deleted with the overlay"
        for each in of_kind(objects, "PersistentVolumeClaim", "PersistentVolume", "Namespace")
    ]
    return found + [
        f"StatefulSet/{each['metadata']['name']} deletes its claims"
        for each in of_kind(objects, "StatefulSet")
        if each["spec"].get("persistentVolumeClaimRetentionPolicy", {}).get("whenDeleted", "Retain") != "Retain"
    ]
