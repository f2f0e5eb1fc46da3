"""Fills k8s/overlays/*/secrets, which git does not track: what each installation draws for itself, at random.

Needs nothing but Python. What is there is kept, so it may be repeated.
"""

from __future__ import annotations

import argparse
import base64
import getpass
import secrets
import sys
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path

__all__ = ["CLIENTS", "FILES", "main", "write"]

OVERLAYS = Path(__file__).parent.parent / "k8s" / "overlays"
CLIENTS = ("broker", "registry", "streaming", "trainer")  # who logs into Kafka, each with a password of its own
PASSWORD_BYTES = 24
STORE_FILES = {"streaming-store": "the stream, which writes", "dashboard-store": "the dashboard, which reads"}
# journal=true: what a server without replicas has acknowledged survives a kill.
LOCAL_URI = "mongodb://{user}:{password}@mongodb:27017/?authSource=energy_emissions&journal=true"

Variables = Mapping[str, str]
AskUri = Callable[[str], str]


def _local(_: AskUri) -> dict[str, Variables]:
    streaming, dashboard = _password(), _password()
    return {
        "kafka": {"KAFKA_CLUSTER_ID": _cluster_id()},
        "mongodb": {
            "MONGO_INITDB_ROOT_USERNAME": "root",
            "MONGO_INITDB_ROOT_PASSWORD": _password(),
            "MONGODB_STREAMING_PASSWORD": streaming,
            "MONGODB_DASHBOARD_PASSWORD": dashboard,
        },
        "streaming-store": {"MONGODB_URI": LOCAL_URI.format(user="streaming", password=streaming)},
        "dashboard-store": {"MONGODB_URI": LOCAL_URI.format(user="dashboard", password=dashboard)},
    }


def _cluster(ask_uri: AskUri) -> dict[str, Variables]:
    passwords = {client: _password() for client in CLIENTS}
    return {
        "kafka": {
            "KAFKA_CLUSTER_ID": _cluster_id(),
            "KAFKA_BROKER_PASSWORD": passwords["broker"],
            "KAFKA_SCRAM_USERS": ",".join(f"{client}={password}" for client, password in passwords.items()),
        },
        **{
            f"kafka-{client}": {"KAFKA_SASL_USERNAME": client, "KAFKA_SASL_PASSWORD": passwords[client]}
            for client in CLIENTS
            if client != "broker"
        },
        **{name: {"MONGODB_URI": ask_uri(who)} for name, who in STORE_FILES.items()},
    }


# The files of each overlay, as its secretGenerator names them; those of one overlay are drawn together.
FILES: Mapping[str, Callable[[AskUri], dict[str, Variables]]] = {"local": _local, "cluster": _cluster}


def write(overlay: str, folder: Path, ask_uri: AskUri) -> list[Path]:
    """Write the files of an overlay unless they are there; return those written.

    Passwords stand in more than one file, so that a folder with only some of them is refused (`FileExistsError`).
    """
    if folder.is_dir() and any(folder.iterdir()):
        names = set(FILES[overlay](lambda _: ""))
        missing = sorted(name for name in names if not (folder / f"{name}.env").exists())
        if missing:
            raise FileExistsError(
                f"{folder} lacks {', '.join(missing)} and has others: bring them back, or, for a new installation "
                "with new volumes, remove the folder"
            )
        return []
    contents = FILES[overlay](ask_uri)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    written = []
    for name, variables in contents.items():
        path = folder / f"{name}.env"
        path.touch(mode=0o600)
        path.write_text("".join(f"{key}={value}\n" for key, value in variables.items()), encoding="utf-8")
        written.append(path)
    return written


def _password() -> str:
    return secrets.token_hex(PASSWORD_BYTES)  # hexadecimal: it needs no quoting in URIs, properties or JAAS


def _cluster_id() -> str:
    """Return a random id in Kafka's form; one with a leading dash would be taken for an option."""
    while (found := base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")).startswith("-"):
        pass
    return found


def _ask_uri(who: str) -> str:
    if sys.stdin.isatty():
        found = getpass.getpass(f"MONGODB_URI of {who} (not shown): ").strip()
    else:
        found = sys.stdin.readline().strip()
    if not found.startswith(("mongodb://", "mongodb+srv://")):
        raise ValueError(
            f"no MONGODB_URI of {who}: give one on standard input, a line each for "
            f"{' and '.join(STORE_FILES.values())}, as in mongodb+srv://user:password@host/?w=majority"
        )
    return found


def main(arguments: list[str] | None = None) -> int:
    """Write what is missing; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.k8s_secrets",
        description=__doc__,
        epilog="The overlay `cluster` takes two addresses of its MongoDB from the terminal, or as two lines of "
        "standard input: the stream's and the dashboard's. Guard the files as you guard what they open: the cluster's "
        "id and the passwords cannot be read from anywhere else.",
    )
    parser.add_argument("overlay", choices=sorted(FILES))
    parser.add_argument("--into", type=Path, help="folder to write to (default: the overlay's own)")
    chosen = parser.parse_args(arguments)
    folder = chosen.into or OVERLAYS / chosen.overlay / "secrets"
    try:
        written = write(chosen.overlay, folder, _ask_uri)
    except (OSError, ValueError) as error:
        print(f"k8s-secrets: {error}", file=sys.stderr)
        return 1
    print("\n".join(f"wrote {path}" for path in written) or f"{folder} is complete, nothing changed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
