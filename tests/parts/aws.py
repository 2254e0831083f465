"""Amazon ECR: its API by moto, and behind the names of its hosts a registry that speaks TLS."""

from __future__ import annotations

import fcntl
import json
import os
import random
import shutil
import ssl
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import boto3
import httpx2
from botocore.config import Config

from tests.parts import certificates
from tests.parts.part import Part
from tests.parts.registry import Registry

REGION = "eu-central-1"
Service = Literal["ecr", "iam", "ec2", "autoscaling", "ssm", "s3"]
_HOSTS = Path("/etc/hosts")
_MARK = "# blacktree-test"
_CERTIFICATES = Path("/etc/docker/certs.d")


def some_account() -> str:
    """Twelve digits of an account's own, so that several test runs on one machine do not meet."""
    return str(random.randrange(10**11, 10**12))


class Aws(Part):
    """moto's server: ECR's API, IAM's, and those of EC2, Auto Scaling, SSM and S3."""

    name = "aws"

    def __init__(self, account: str) -> None:
        super().__init__()
        self.account = account

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def prepare(self, folder: Path) -> None:
        pass

    def command(self) -> Sequence[str]:
        return [sys.executable, "-m", "tests.parts.hooked", "-H", "127.0.0.1", "-p", str(self.port)]

    def environment(self) -> Mapping[str, str]:
        return {**super().environment(), "MOTO_ACCOUNT_ID": self.account}

    def ready(self) -> bool:
        try:
            return httpx2.get(f"{self.url}/moto-api/data.json").status_code == 200
        except httpx2.TransportError:
            return False

    def client(self, service: Service, region: str = REGION) -> Any:
        """boto3's client of one who may do everything."""
        return boto3.client(
            service,
            region_name=region,
            endpoint_url=self.url,
            aws_access_key_id="test",
            aws_secret_access_key="test",
            config=Config(retries={"total_max_attempts": 1}),
        )

    def check_permissions(self, really: bool) -> None:
        """From now on IAM's policies count, or do not."""
        count = "0" if really else "inf"
        httpx2.post(f"{self.url}/moto-api/reset-auth", content=count, timeout=60).raise_for_status()


class EcrRegistry(Registry):
    """docker-registry under a name of ECR's, open to the password in moto's token; needs root.

    This machine and its Docker engine find it through /etc/hosts, and trust it through Docker's certs.d.
    Both are as before when it is closed; what tests that were killed left there is removed on the way.
    """

    name = "ecr"

    def __init__(self, account: str) -> None:
        super().__init__()
        self.account = account
        self._ip = ".".join(["127", *(str(random.randrange(1, 255)) for _ in range(3))])

    @property
    def address(self) -> str:
        return f"{self.account}.dkr.ecr.{REGION}.amazonaws.com"

    @property
    def url(self) -> str:
        return f"https://{self.address}"

    @property
    def username(self) -> str:
        return "AWS"

    @property
    def password(self) -> str:
        return f"{self.account}-auth-token"  # moto's

    @cached_property
    def authority(self) -> certificates.Pair:
        return certificates.authority()

    def prepare(self, folder: Path) -> None:
        super().prepare(folder)
        _hosts(lambda lines: [*lines, f"{self._ip} {self.address} {_MARK} {os.getpid()}"])
        trusted = _CERTIFICATES / self.address
        trusted.mkdir(parents=True)
        (trusted / "ca.crt").write_bytes(self.authority.pem)

    def http(self) -> dict[str, Any]:
        tls = certificates.server(self.address, self.authority).write(self.folder)
        return {"addr": f"{self._ip}:443", "secret": "blacktree", "tls": tls}

    def hashed(self) -> str:
        script = "print crypt($ARGV[0], '$2y$05$abcdefghijklmnopqrstuu')"
        argv = ["perl", "-e", script, self.password]
        return subprocess.run(argv, capture_output=True, text=True, check=True, timeout=120).stdout

    def trust(self) -> ssl.SSLContext:
        return ssl.create_default_context(cadata=self.authority.pem.decode())

    def close(self) -> None:
        super().close()
        _hosts(lambda lines: [line for line in lines if f" {self.address} " not in line])
        shutil.rmtree(_CERTIFICATES / self.address, ignore_errors=True)


def _hosts(change: Callable[[list[str]], list[str]]) -> None:
    """Change the lines of /etc/hosts, one test run at a time; a container's cannot be replaced as a file."""
    with _HOSTS.open("r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        before = file.read().splitlines()
        after = change([line for line in before if not _left_over(line)])
        file.seek(0)
        file.write("\n".join(after) + "\n")
        file.truncate()


def _left_over(line: str) -> bool:
    words = line.split()
    if _MARK not in line or Path("/proc", words[-1]).exists():
        return False
    shutil.rmtree(_CERTIFICATES / words[1], ignore_errors=True)
    return True


def expiring(seconds_since_1970: int) -> tuple[bytes, bytes]:
    """What to replace in moto's answers by what, so that its tokens, which ended in 2015, end then."""
    return b"1420070400", json.dumps(seconds_since_1970).encode()
