"""Keys of the environment stay out of other processes and out of messages."""

import os

import pytest

from adv.keys import find_keys, hide_keys, redact

KEYS = {
    "WANDB_API_KEY": "sentinel-wandb",
    "AWS_ACCESS_KEY_ID": "sentinel-id",
    "AWS_SECRET_ACCESS_KEY": "sentinel-aws",
    "AWS_SESSION_TOKEN": "sentinel-session",
    "HF_TOKEN": "sentinel-hf",
    "GITHUB_TOKEN": "sentinel-github",
    "PGPASSWORD_X": "",
    "MY_PASSWORD": "sentinel-password",
    "https_proxy": "http://me:sentinel-proxy@proxy:3128",
}


def test_keys_are_told_from_other_variables():
    others = {
        "TOKENIZERS_PARALLELISM": "false",
        "PWD": "/home/me",
        "OLDPWD": "/home",
        "SSH_AUTH_SOCK": "/tmp/agent",
        "AWS_WEB_IDENTITY_TOKEN_FILE": "/var/token",
        "RAY_AUTH_TOKEN_PATH": "/var/token",
        "RAY_AUTH_MODE": "token",
        "KEYBOARD": "de",
        "HTTP_PROXY": "http://proxy:3128",
        "PATH": "/usr/bin",
        "CUDA_VISIBLE_DEVICES": "0",
    }
    assert find_keys({**KEYS, **others}).keys() == KEYS.keys() - {"PGPASSWORD_X"}


def test_a_block_runs_without_them(monkeypatch):
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    before = dict(os.environ)
    with hide_keys("HF_TOKEN"):
        assert "sentinel-hf" in os.environ.values()
        assert [value for value in os.environ.values() if "sentinel" in value] == ["sentinel-hf"]
    assert dict(os.environ) == before


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("403 for sentinel-github", "403 for ***"),
        ("http://me:sentinel-proxy@proxy:3128 refused", "*** refused"),
        ("s3://AKIA:abc@bucket/x is no folder", "s3://***@bucket/x is no folder"),
        ("s3:/AKIA:abc@bucket/x is no folder", "s3:/***@bucket/x is no folder"),
        (
            "GET https://h/x?a=1&X-Amz-Signature=ab12&b=2",
            "GET https://h/x?a=1&X-Amz-Signature=***&b=2",
        ),
        ("no key=3 in /home/me@work", "no key=3 in /home/me@work"),
    ],
)
def test_messages_are_redacted(monkeypatch, text, shown):
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    assert redact(text) == shown


def test_a_short_value_blots_out_nothing(monkeypatch):
    monkeypatch.setenv("API_KEY", "1")
    assert redact("trial 1 of 10") == "trial 1 of 10"
