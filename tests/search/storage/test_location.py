"""Where runs are stored, as the user names it."""

import os

import pytest

from search.storage.location import Location, is_url, parse_location, with_endpoint


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("s3://bucket/runs/", "s3://bucket/runs"),
        ("s3:/bucket//runs", "s3://bucket/runs"),
        ("gs://bucket", "gs://bucket"),
        ("S3://b/x?endpoint_override=host:9000&scheme=http",) * 2,
        ("/nfs/runs/", "/nfs/runs"),
        ("file:///nfs/runs", "/nfs/runs"),
    ],
)
def test_a_location_is_read_and_shown(text, shown):
    found = parse_location(text)
    assert str(found) == shown.replace("S3", "s3")
    parent, name = found.child("a").split()
    assert (parent, name) == (found, "a")
    assert parse_location(str(found)) == found


def test_a_folder_is_made_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert str(parse_location("runs")) == f"{tmp_path}/runs"
    assert not is_url("runs") and is_url("s3:/bucket")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("s3://key:secret@bucket/x", "holds a key or a password"),
        ("s3://bucket?secret_key=hush", "no setting 'secret_key' is allowed"),
        ("s4://bucket", r"s4://: take s3://BUCKET"),
        ("hdfs://host/x", r"take s3://BUCKET/PATH, gs://BUCKET/PATH or a folder"),
        ("s3://", "names no bucket"),
    ],
)
def test_a_mistake_is_one_line_without_the_key(text, said):
    with pytest.raises(ValueError, match=said) as info:
        parse_location(text)
    assert "hush" not in str(info.value) and "\n" not in str(info.value)


def test_the_endpoint_of_the_environment_is_used_and_not_shown(monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://localhost:9000")
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    found = with_endpoint(parse_location("s3://bucket/runs"))
    assert dict(found.endpoint) == {
        "endpoint_override": "localhost:9000",
        "scheme": "http",
        "region": "eu-west-1",
    }
    assert str(found) == "s3://bucket/runs"
    named = parse_location("s3://bucket?endpoint_override=h:1")
    assert with_endpoint(named) == named
    assert with_endpoint(Location("", os.sep)) == Location("", os.sep)
