"""What is answered where --address names something that is not a Ray cluster."""

import http.server
import os
import signal
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager, suppress

import pytest
from warm_process import WarmProcess

from search.backends import ray_address
from search.backends.ray_nodes import ClusterError


class SilentHandler(http.server.SimpleHTTPRequestHandler):
    """Answers requests and logs none."""

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@contextmanager
def serve(kind):
    """Let something answer on a port of this machine, and give the address."""
    if kind == "web server":
        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), SilentHandler) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            yield f"127.0.0.1:{server.server_port}"
            server.shutdown()
        return
    with socket.create_server(("", 0)) as listener:
        if kind == "garbage":

            def greet(call):
                with suppress(OSError), call:
                    call.sendall(b"220 mail ready\r\n" * 10)
                    call.recv(1)

            def answer():
                with suppress(OSError):  # the listener is closed
                    while True:
                        call, _ = listener.accept()
                        threading.Thread(target=greet, args=(call,), daemon=True).start()

            threading.Thread(target=answer, daemon=True).start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"


SAID = {
    "web server": r"a web server answers there\. .* 6379 by default, .* 8265$",
    "silence": r"no answer in 0 s; is it running",
    "garbage": r"something else answers there\. .* 6379",
}


@pytest.mark.parametrize("kind", SAID)
def test_what_is_no_cluster_is_named_in_one_line(kind, monkeypatch):
    monkeypatch.setattr(ray_address, "ANSWER", 0.3)
    with serve(kind) as address, pytest.raises(ClusterError, match=SAID[kind]) as info:
        ray_address.resolve_address(address)
    assert str(info.value).startswith(f"no Ray cluster at {address}: ")
    assert "\n" not in str(info.value)


@pytest.mark.parametrize("port", ["0", "99999", "-1", "6379x"])
def test_a_port_that_cannot_be_is_named(port):
    with pytest.raises(ClusterError, match=r"from 1 to 65535|write HOST:6379"):
        ray_address.resolve_address(f"127.0.0.1:{port}")


def test_auto_where_no_cluster_runs_names_the_remedies(monkeypatch, tmp_path):
    monkeypatch.setattr("ray._private.services.find_gcs_addresses", frozenset)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    with pytest.raises(ClusterError, match=r"ray start --head.*unset RAY_ADDRESS"):
        ray_address.resolve_address("auto")


def test_auto_at_a_cluster_that_has_ended_names_its_address(monkeypatch, tmp_path):
    monkeypatch.setattr("ray._private.services.find_gcs_addresses", frozenset)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "ray_current_cluster").write_text("127.0.0.1:1")
    with pytest.raises(ClusterError, match=r"at auto \([0-9.]*:1\): .*unset RAY_ADDRESS"):
        ray_address.resolve_address("auto")


@pytest.mark.parametrize(
    ("file", "address", "mode"),
    [("auth_token", "auto", "token"), ("auth_token", None, None), ("other", "auto", None)],
)
def test_auto_uses_the_token_of_the_home_folder_as_ray_does(file, address, mode, tmp_path):
    # Ray keeps what it has read, so a process of its own asks.
    code = (
        "import os, sys\n"
        "from search.backends import ray_address\n"
        "ray_address._ask_for_cluster = lambda *_: None\n"
        "ray_address.ray._private.services.find_gcs_addresses = frozenset\n"  # of other tests
        "ray_address.resolve_address(sys.argv[1])\n"
        "own = ray_address.ray._raylet\n"
        "token = own.get_authentication_mode() == own.AuthenticationMode.TOKEN\n"
        "print(os.environ.get('RAY_AUTH_MODE'), token)"
    )
    for name in (".ray", "ray"):
        (tmp_path / name).mkdir()
    (tmp_path / ".ray" / file).write_text("0" * 64)
    with serve("silence") as there:
        (tmp_path / "ray" / "ray_current_cluster").write_text(there)
        done = subprocess.run(
            [sys.executable, "-c", code, address or there],
            env={**os.environ, "HOME": str(tmp_path), "RAY_TMPDIR": str(tmp_path)},
            capture_output=True,
            text=True,
            check=True,
        )
    assert done.stdout.strip() == f"{mode} {mode == 'token'}"


def test_the_steps_of_asking_take_less_than_ten_seconds():
    assert ray_address.CONNECT + ray_address.ANSWER + 2 * ray_address.HTTP < 10


def launch(address, project_root, folder):
    words = ["--space", "smoke", "--address", address]
    return WarmProcess(project_root / "launch.py", words, folder, os.environ)


@pytest.mark.slow
def test_a_web_server_is_refused_with_nothing_of_rays_own(project_root, tmp_path):
    with serve("web server") as address:
        out, error = launch(address, project_root, tmp_path).communicate(timeout=60)
    assert out == "" and error.startswith(f"launch.py: no Ray cluster at {address}: a web server")
    assert error.count("\n") == 1 and not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_the_wait_for_an_answer(number, status, project_root, tmp_path):
    with socket.create_server(("", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        asking = launch(address, project_root, tmp_path)
        listener.settimeout(60)
        calls = [listener.accept()[0] for _ in range(2)]  # the second one is Ray's
        os.kill(asking.pid, number)
        out, error = asking.communicate(timeout=30)
        for call in calls:
            call.close()
    assert (asking.returncode, out) == (status, "")
    assert error.endswith("before anything began\n") and error.count("\n") == 1
