"""Places for backups: a folder, and a bucket behind a proxy that can fail."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from tests.parts.aws import REGION, Aws, some_account
from tests.parts.faults import Faults
from tests.workers.backup.local import Stage
from workers.contract.backups import Depot
from workers.contract.messages import Credentials


@pytest.fixture(scope="session")
def s3() -> Iterator[Aws]:
    with Aws(some_account()) as part:
        yield part


@pytest.fixture
async def faults(s3: Aws) -> AsyncIterator[Faults]:
    async with Faults(s3.port).serving() as faults:
        yield faults
    assert not faults.unspent


class Bucket:
    """What is in it, seen from outside."""

    def __init__(self, s3: Aws) -> None:
        self.name = f"backups-{uuid4().hex[:8]}"
        self.client = s3.client("s3", "us-east-1")
        self.client.create_bucket(Bucket=self.name)

    def objects(self) -> dict[str, int]:
        found = self.client.list_objects_v2(Bucket=self.name).get("Contents", [])
        return {one["Key"]: one["Size"] for one in found}

    def uploads(self) -> list[str]:
        found = self.client.list_multipart_uploads(Bucket=self.name).get("Uploads", [])
        return [one["Key"] for one in found]


@pytest.fixture
def bucket(s3: Aws) -> Bucket:
    return Bucket(s3)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "backups").mkdir()
    return tmp_path / "backups"


@pytest.fixture
def stage(tmp_path: Path, root: Path) -> Stage:
    """With a folder for backups."""
    return Stage(tmp_path, Depot(url=str(root)))


@pytest.fixture
def s3_stage(tmp_path: Path, bucket: Bucket, faults: Faults) -> Stage:
    url, endpoint = f"s3://{bucket.name}/of/shop", f"http://127.0.0.1:{faults.port}"
    depot = Depot(url=url, endpoint=endpoint, region=REGION, encryption="AES256")
    return Stage(tmp_path, depot, Credentials(depot_id="test", depot_secret="test"))
