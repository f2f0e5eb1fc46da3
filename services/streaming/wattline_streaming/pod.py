"""A pod of the streaming image as a Spark executor: Spark on Kubernetes starts its image with the argument `executor`.

Spark's own images have a shell script for it; ours has Spark by its wheel, which holds none.
"""

from __future__ import annotations

from pathlib import Path

from wattline_streaming.settings import ExecutorPod

__all__ = ["executor_command"]

_BACKEND = "org.apache.spark.scheduler.cluster.k8s.KubernetesExecutorBackend"


def executor_command(pod: ExecutorPod, spark_home: Path) -> list[str]:
    """Return the command that becomes the executor."""
    return [
        str(Path(pod.java_home, "bin", "java")),
        *pod.java_options,
        *(f"-Xms{pod.memory}", f"-Xmx{pod.memory}"),
        *("-cp", ":".join((*pod.class_path, str(spark_home / "jars" / "*")))),
        _BACKEND,
        *("--driver-url", pod.driver_url),
        *("--executor-id", pod.executor_id),
        *("--cores", pod.cores),
        *("--app-id", pod.application_id),
        *("--hostname", pod.pod_ip),
        *("--resourceProfileId", pod.resource_profile_id),
        *("--podName", pod.pod_name),
    ]
