"""Promises of the Spark session's options: the user's spark-defaults.conf is never overridden."""

from __future__ import annotations

from pathlib import Path

import pytest

from wattline_common.environment import Environment
from wattline_common.errors import ConfigurationError
from wattline_streaming.pod import executor_command
from wattline_streaming.session import options
from wattline_streaming.settings import ExecutorPod, StreamingSettings, spark_defaults

ADDED_TO = {"spark.driver.defaultJavaOptions", "spark.executor.defaultJavaOptions"}
POD = {
    "JAVA_HOME": "/java",
    "SPARK_DRIVER_URL": "spark://CoarseGrainedScheduler@driver:7078",
    "SPARK_EXECUTOR_ID": "3",
    "SPARK_APPLICATION_ID": "app",
    "SPARK_EXECUTOR_CORES": "2",
    "SPARK_EXECUTOR_MEMORY": "1g",
    "SPARK_EXECUTOR_POD_IP": "10.0.0.7",
    "SPARK_EXECUTOR_POD_NAME": "executor-3",
    "SPARK_RESOURCE_PROFILE_ID": "0",
    "SPARK_CONF_DIR": "/opt/spark/conf",
    **{f"SPARK_JAVA_OPT_{number}": f"-Dn={number}" for number in (10, 9, 0)},
}


def test_the_file_is_read_as_spark_reads_it(tmp_path: Path) -> None:
    """By any of Java's separators, with comments and continued lines; without a file nothing is said."""
    assert spark_defaults(Environment({})) == {}
    assert spark_defaults(Environment({"SPARK_CONF_DIR": str(tmp_path)})) == {}
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "spark-defaults.conf").write_text(
        "# a comment\nspark.master   spark://there:7077  \nspark.a=1\nspark.b: x \\\n  y\n"
    )
    said = spark_defaults(Environment({"SPARK_HOME": str(tmp_path)}))
    assert said == {"spark.master": "spark://there:7077", "spark.a": "1", "spark.b": "x y"}


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """Going on with less than the user has said would hide it."""
    (tmp_path / "spark-defaults.conf").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigurationError, match=r"spark-defaults\.conf, where SPARK_CONF_DIR leads to"):
        spark_defaults(Environment({"SPARK_CONF_DIR": str(tmp_path)}))


def test_nothing_that_the_file_says_is_set_again() -> None:
    """Whatever our options are: said by the user, they are none of ours."""
    ours = options(StreamingSettings(), {})
    for key in ours.keys() - ADDED_TO:
        assert options(StreamingSettings(), {key: "local[7]"}) == {k: v for k, v in ours.items() if k != key}
    for key in ADDED_TO:
        assert options(StreamingSettings(), {key: "-Dtheirs=1"})[key] == f"{ours[key]} -Dtheirs=1"


@pytest.mark.parametrize("master", ["spark://there:7077", "k8s://https://there"])
def test_only_a_local_spark_is_put_on_loopback(master: str) -> None:
    """Executors elsewhere must reach the driver; whether Spark is local is the file's word, too."""
    loopback = {"spark.driver.host", "spark.driver.bindAddress"}
    assert loopback <= options(StreamingSettings(), {}).keys()
    assert not loopback & options(StreamingSettings(spark_master=master), {}).keys()
    assert not loopback & options(StreamingSettings(), {"spark.master": master}).keys()
    assert loopback <= options(StreamingSettings(spark_master=master), {"spark.master": "local[*]"}).keys()


def test_a_pods_executor_gets_what_kubernetes_told_it() -> None:
    """Options in their order by number, the mounted configuration before Spark's jars, and every identity."""
    command = executor_command(ExecutorPod.from_environment(POD), Path("/spark"))
    assert command[:4] == ["/java/bin/java", "-Dn=0", "-Dn=9", "-Dn=10"]
    assert command[command.index("-cp") + 1] == "/opt/spark/conf:/spark/jars/*"
    arguments = command[command.index("--driver-url") :]
    told = dict(zip(arguments[::2], arguments[1::2], strict=True))
    assert told == {
        "--driver-url": POD["SPARK_DRIVER_URL"],
        "--executor-id": "3",
        "--cores": "2",
        "--app-id": "app",
        "--hostname": "10.0.0.7",
        "--resourceProfileId": "0",
        "--podName": "executor-3",
    }


def test_a_person_who_starts_it_is_told() -> None:
    """Without what Kubernetes gives there is nothing to be an executor of."""
    with pytest.raises(ConfigurationError, match="SPARK_DRIVER_URL is not set: Spark on Kubernetes starts this"):
        ExecutorPod.from_environment({"JAVA_HOME": "/java"})
