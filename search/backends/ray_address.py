"""Find out whether a Ray cluster answers at an address, without waiting for ever.

Ray's own `ray.init` waits in C++ where something else than Ray answers, and heeds no signal there.
"""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import Any

from search.backends.ray_imports import ray
from search.backends.ray_nodes import ClusterError
from search.errors import extract_last_line

CONNECT, ANSWER, HTTP = 3.0, 4.0, 1.0  # seconds that each step may take
LARGEST_PORT = 65535
ADVICE = "is it running (ray start --head), and can this machine reach it?"
WEB = (
    "a web server answers there. A search joins the port of Ray's head (GCS), 6379 by default, "
    "not that of its dashboard, 8265"
)
NO_AUTO = (
    "no Ray cluster runs on this machine, so there is nothing that 'auto' could join: start one "
    "(ray start --head), name another with --address HOST:6379, or unset RAY_ADDRESS and leave "
    "--address out for a private one"
)


def resolve_address(address: str) -> str:
    """Return the address as host:port, once a Ray cluster has answered there.

    Args:
      address: host:port, or "auto" for the cluster that runs on this machine.

    Raises:
      ClusterError: none has answered in 8 seconds; the message says what is there instead.
    """
    if address.startswith("ray://"):
        raise ClusterError(
            f"{address} is a Ray Client address, which cannot run a search: start launch.py on a "
            "node of the cluster with --address auto, or submit it with `ray job submit`"
        )
    try:
        target = str(ray._private.services.canonicalize_bootstrap_address(address))
    except ConnectionError:
        raise ClusterError(NO_AUTO) from None
    except (OSError, ValueError) as error:
        raise ClusterError(
            f"no Ray cluster at {address}: {extract_last_line(error)}; write HOST:6379"
        ) from None
    name = f"auto ({target})" if address == "auto" else address
    port = target.rpartition(":")[2]
    if not port.isdecimal() or not 1 <= int(port) <= LARGEST_PORT:
        raise ClusterError(
            f"no Ray cluster at {name}: a port is a number from 1 to {LARGEST_PORT}; "
            "write HOST:6379"
        )
    try:
        with _call(target, CONNECT):
            pass
    except (OSError, ValueError, OverflowError) as error:
        cause = f"{extract_last_line(error)}; {ADVICE}"
        if address == "auto":
            cause += " If it has ended, unset RAY_ADDRESS."
        # Ray replaces a loopback address by that of the machine, where no dashboard listens.
        cause = WEB if _speaks_http(address) else cause
        raise ClusterError(f"no Ray cluster at {name}: {cause}") from None
    if address == "auto":
        _take_token()
    _ask_for_cluster(target, name)
    return target


def _take_token() -> None:
    """Use this user's token (`~/.ray/auth_token`) if there is one, as `ray.init("auto")` does.

    `ray start` asks for that token where it finds one. Earlier versions of Ray do neither.
    """
    with suppress(ImportError):
        from ray._private.authentication.authentication_token_setup import (
            maybe_enable_token_auth_if_token_available,
        )

        maybe_enable_token_auth_if_token_available(warn_if_disabled=False)


def _ask_for_cluster(target: str, name: str) -> None:
    """Raise ClusterError unless the head of a Ray cluster (its GCS) answers at host:port."""
    import grpc
    from ray._private.gcs_utils import create_gcs_channel
    from ray.core.generated import gcs_service_pb2, gcs_service_pb2_grpc

    messages: Any = gcs_service_pb2  # made by protobuf, unknown to mypy
    channel, code = create_gcs_channel(target), ""
    try:
        gcs_service_pb2_grpc.NodeInfoGcsServiceStub(channel).GetClusterId(
            messages.GetClusterIdRequest(), timeout=ANSWER
        )
    except grpc.RpcError as error:
        code = error.code().name
    finally:
        channel.close()  # before another call looks at what answers
    if code:
        raise ClusterError(_describe_answer(code, target, name))


def _describe_answer(code: str, target: str, name: str) -> str:
    """Return why what answers at host:port cannot be joined."""
    if code in ("UNAUTHENTICATED", "PERMISSION_DENIED"):
        return (
            f"the Ray cluster at {name} does not accept our token: set RAY_AUTH_MODE=token, and "
            "RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH to the token of its nodes"
        )
    if _speaks_http(target):
        return f"no Ray cluster at {name}: {WEB}"
    if code == "DEADLINE_EXCEEDED" and not _greets_otherwise(target):
        return f"no Ray cluster at {name}: no answer in {ANSWER:.0f} s; {ADVICE}"
    return (
        f"no Ray cluster at {name}: something else answers there. The port of Ray's head (GCS) is "
        "6379 by default"
    )


def _speaks_http(address: str) -> bool:
    """Return whether a web server answers at host:port."""
    with suppress(OSError, ValueError, OverflowError), _call(address, HTTP) as web:
        web.sendall(f"HEAD / HTTP/1.0\r\nHost: {address}\r\n\r\n".encode())
        return web.recv(5) == b"HTTP/"
    return False


def _greets_otherwise(address: str) -> bool:
    """Return whether what listens at host:port opens a call with anything but a frame of HTTP/2.

    The head of a cluster speaks gRPC, whose first words are the settings of HTTP/2 (RFC 9113, 3.4):
    three bytes of length, then the type, 4.
    """
    with suppress(OSError, ValueError, OverflowError), _call(address, HTTP) as call:
        greeting = call.recv(4)
        return bool(greeting) and greeting[3:] != b"\4"
    return False


def _call(address: str, seconds: float) -> socket.socket:
    host, port = address.rsplit(":", 1)
    return socket.create_connection((host.strip("[]"), int(port)), timeout=seconds)
