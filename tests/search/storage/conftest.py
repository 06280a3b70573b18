"""Stores of tests: a folder, and a bucket of a server on this machine."""

import pytest
from s3_server import ENVIRONMENT, serve

from search.storage.location import parse_location, with_endpoint
from search.storage.store import Store


@pytest.fixture(scope="session")
def s3():
    with serve() as server:
        yield server


@pytest.fixture(params=["folder", pytest.param("bucket", marks=pytest.mark.slow)])
def store(request, tmp_path, monkeypatch):
    if request.param == "folder":
        return Store(parse_location(tmp_path / "store"))
    server = request.getfixturevalue("s3")
    for name, value in {**ENVIRONMENT, "AWS_ENDPOINT_URL": server.url}.items():
        monkeypatch.setenv(name, value)
    return Store(with_endpoint(parse_location(f"s3://bucket/{tmp_path.name}")))
