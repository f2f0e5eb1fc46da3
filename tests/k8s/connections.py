"""What must hold between objects, as functions from rendered objects to complaints: an empty list is well."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tests.k8s.environment import environment
from tests.k8s.rendered import Object, Pod, of_kind, pods

__all__ = [
    "dangling_references",
    "dead_flows",
    "dead_services",
    "forbidden_flows",
    "one_sided_flows",
    "unmounted_volumes",
]

PREREQUISITES = {("Secret", "kafka-tls"), ("Secret", "dashboard-tls")}  # k8s/README.md says how they come to be
# Ports of what no selector can name: MONGODB_URI's server, the Kubernetes API.
OUTSIDE_PORTS = {27017, 443, 6443}
_SOURCES = {"configMapRef": "ConfigMap", "secretRef": "Secret"}
_NAMESPACE = r"(\.\$\{env:POD_NAMESPACE\}\.svc)?"


def dead_services(objects: Sequence[Object]) -> list[str]:
    """Complain of a Service, Ingress or budget that leads to no pod or to a port that the pod has not."""
    everyone = pods(objects)
    services = {each["metadata"]["name"]: each["spec"] for each in of_kind(objects, "Service")}
    return [
        *(complaint for name, spec in services.items() for complaint in _dead_service(name, spec, everyone)),
        *(
            f"StatefulSet/{each['metadata']['name']}: no Service {each['spec']['serviceName']}"
            for each in of_kind(objects, "StatefulSet")
            if each["spec"]["serviceName"] not in services
        ),
        *(
            f"Ingress/{each['metadata']['name']} leads to no port of Service/{backend['name']}"
            for each in of_kind(objects, "Ingress")
            for backend in _backends(each)
            if backend["port"]["name"]
            not in {port["name"] for port in services.get(backend["name"], {}).get("ports", [])}
        ),
        *(
            f"PodDisruptionBudget/{each['metadata']['name']} selects no pod"
            for each in of_kind(objects, "PodDisruptionBudget")
            if not any(pod.selected_by(each["spec"]["selector"]["matchLabels"]) for pod in everyone)
        ),
    ]


def _dead_service(name: str, spec: Object, everyone: Sequence[Pod]) -> Iterator[str]:
    selected = [pod for pod in everyone if pod.selected_by(spec["selector"])]
    if len(selected) != 1:
        yield f"Service/{name} selects {len(selected)} workloads"
    for port in spec["ports"]:
        for pod in selected:
            if pod.ports.get(port["targetPort"]) != port["port"]:
                yield f"Service/{name}: {pod.owner} has no port {port['targetPort']} of number {port['port']}"


def _backends(ingress: Object) -> Iterator[Any]:
    for rule in ingress["spec"]["rules"]:
        for path in rule["http"]["paths"]:
            yield path["backend"]["service"]


def dangling_references(objects: Sequence[Object]) -> list[str]:
    """Complain of a config map, secret or key that a pod names and nobody has."""
    there = {(each["kind"], each["metadata"]["name"]): each for each in of_kind(objects, "ConfigMap", "Secret")}
    found = []
    for pod in pods(objects):
        for kind, reference in _references(pod):
            name = reference["name"]
            if (kind, name) not in there:
                if (kind, name) not in PREREQUISITES:
                    found.append(f"{pod.owner}: no {kind}/{name}")
                continue
            keys = [item["key"] for item in reference.get("items", [])]
            found += [
                f"{pod.owner}: {kind}/{name} has no {key}" for key in keys if key not in there[kind, name]["data"]
            ]
    return found


def _references(pod: Pod) -> Iterator[tuple[str, Object]]:
    for container in pod.containers:
        for source in container.get("envFrom", []):
            yield from ((kind, source[key]) for key, kind in _SOURCES.items() if key in source)
    for volume in pod.spec.get("volumes", []):
        if "configMap" in volume:
            yield "ConfigMap", volume["configMap"]
        if "secret" in volume:
            yield "Secret", {**volume["secret"], "name": volume["secret"]["secretName"]}


def unmounted_volumes(objects: Sequence[Object]) -> list[str]:
    """Complain of a volume that no container mounts, and of a mount without a volume."""
    claims = {
        f"StatefulSet/{each['metadata']['name']}": {claim["metadata"]["name"] for claim in claims}
        for each in of_kind(objects, "StatefulSet")
        if (claims := each["spec"].get("volumeClaimTemplates", []))
    }
    found = []
    for pod in pods(objects):
        mounts = {mount["name"] for container in pod.containers for mount in container.get("volumeMounts", [])}
        volumes = {volume["name"] for volume in pod.spec.get("volumes", [])} | claims.get(pod.owner, set())
        found += [f"{pod.owner}: {name} is mounted or a volume, but not both" for name in sorted(mounts ^ volumes)]
    return found


class _Flows:
    """The network policies as sets of (pod, pod, port name), those that lead outside apart."""

    def __init__(self, objects: Sequence[Object]) -> None:
        self.pods = pods(objects)
        self.policies = [each for each in of_kind(objects, "NetworkPolicy") if each["spec"]["podSelector"]]
        self.dead: list[str] = []
        self.into: set[tuple[str, str, str]] = set()
        self.out_of: set[tuple[str, str, str]] = set()
        self.outside: set[tuple[str, int]] = set()
        self.from_anywhere: set[tuple[str, str]] = set()
        for policy in self.policies:
            self._read(policy)

    def _read(self, policy: Object) -> None:
        name, spec = policy["metadata"]["name"], policy["spec"]
        selected = self._selected(name, spec["podSelector"]["matchLabels"])
        for rule in spec.get("ingress", []):
            for peers in self._peers(name, rule.get("from")):
                for port in self._ports(name, rule, selected):
                    for pod in selected:
                        self.into |= {(peer.owner, pod.owner, port) for peer in peers or []}
                        if peers is None:
                            self.from_anywhere.add((pod.owner, port))
        for rule in spec.get("egress", []):
            for peers in self._peers(name, rule.get("to")):
                if peers is None:
                    self._outside(name, rule, selected)
                    continue
                for port in self._ports(name, rule, peers):
                    self.out_of |= {(pod.owner, peer.owner, port) for pod in selected for peer in peers}

    def _selected(self, name: str, labels: Mapping[str, str]) -> list[Pod]:
        found = [pod for pod in self.pods if pod.selected_by(labels)]
        if not found:
            self.dead.append(f"NetworkPolicy/{name}: no pod has {dict(labels)}")
        return found

    def _peers(self, name: str, peers: list[Any] | None) -> Iterator[list[Pod] | None]:
        """Yield the pods of each peer; None is anywhere, or another namespace."""
        if peers is None:
            yield None
            return
        for peer in peers:
            yield None if "namespaceSelector" in peer else self._selected(name, peer["podSelector"]["matchLabels"])

    def _ports(self, name: str, rule: Object, targets: Sequence[Pod]) -> list[str]:
        ports = [each["port"] for each in rule.get("ports", [])]
        if not ports:
            self.dead.append(f"NetworkPolicy/{name} names no port")
        for pod in targets:
            self.dead += [f"NetworkPolicy/{name}: {pod.owner} has no port {p}" for p in ports if p not in pod.ports]
        return [port for port in ports if isinstance(port, str)]

    def _outside(self, name: str, rule: Object, selected: Sequence[Pod]) -> None:
        for each in rule.get("ports", []):
            if each["port"] not in OUTSIDE_PORTS:
                self.dead.append(f"NetworkPolicy/{name}: nobody outside is known by port {each['port']}")
            self.outside |= {(pod.owner, each["port"]) for pod in selected}


def dead_flows(objects: Sequence[Object]) -> list[str]:
    """Complain of a policy that selects no pod, whose peer is no pod, or whose port none of them has."""
    return _Flows(objects).dead


def one_sided_flows(objects: Sequence[Object]) -> list[str]:
    """Complain of a flow that only one of its two ends allows."""
    flows = _Flows(objects)
    one_sided = flows.into ^ flows.out_of
    return [f"{a} to {b}, port {port}: only one side allows it" for a, b, port in sorted(one_sided)]


def forbidden_flows(objects: Sequence[Object]) -> list[str]:
    """Complain of an address in a pod's environment or configuration that default-deny would keep it from."""
    if not any(each["metadata"]["name"] == "default-deny" for each in of_kind(objects, "NetworkPolicy")):
        return []
    flows = _Flows(objects)
    return [
        f"{pod.owner} is told to speak to {target.owner}, port {port}, and may not"
        for pod in flows.pods
        for target, port in _addressed(objects, pod)
        if (pod.owner, target.owner, port) not in flows.out_of & flows.into
    ]


def _addressed(objects: Sequence[Object], pod: Pod) -> Iterator[tuple[Pod, str]]:
    """Yield the pods and port names that a pod is told to speak to, by the Services that lead there."""
    texts = "\n".join(value for container in pod.containers for value in environment(objects, pod, container).values())
    for service in of_kind(objects, "Service"):
        for port in service["spec"]["ports"]:
            address = rf"(^|[/@,.=]){service['metadata']['name']}{_NAMESPACE}:{port['port']}\b"
            if re.search(address, texts, re.MULTILINE):
                for target in pods(objects):
                    if target.selected_by(service["spec"]["selector"]):
                        yield target, port["targetPort"]
