"""An S3-compatible server (moto) as a process of its own, on loopback, for tests of remote folders."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import fsspec
import pytest

SERVER = """
import logging, sys
from moto.server import ThreadedMotoServer
logging.getLogger("werkzeug").setLevel(logging.ERROR)
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()  # ends with the process that started this one
"""


def environment(port: int) -> dict[str, str]:
    """What clients need to know, and nothing of the person who runs the tests."""
    return {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_CONFIG_FILE": "/dev/null",
        "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_MAX_ATTEMPTS": "1",
    }


@contextmanager
def object_store(bucket: str) -> Iterator[str]:
    """Start a server, point this process and its children to it, and make a bucket; yields the bucket's URL."""
    server = subprocess.Popen([sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert server.stdin is not None
    assert server.stdout is not None
    try:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in environment(int(server.stdout.readline())).items():
                patch.setenv(name, value)
            forget_clients()
            fsspec.filesystem("s3").mkdir(bucket)
            yield f"s3://{bucket}"
    finally:
        server.stdin.close()
        server.wait(30)
        forget_clients()


def forget_clients() -> None:
    """The next client reads the environment again."""
    fsspec.get_filesystem_class("s3").clear_instance_cache()
