"""A backup is whole or there is none, wherever it is cut; a restore gives what was kept, or nothing."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import os
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from tests.parts.faults import Faults
from tests.workers.backup.conftest import Bucket
from tests.workers.backup.local import Stage
from workers.backup import s3 as s3_depot
from workers.backup.restore import restore
from workers.backup.take import backup
from workers.contract.backups import BackupResult, BackupSpec, Depot, Kept
from workers.contract.failure import Failure
from workers.contract.messages import Fault

NAME = "7/production/db/one.gz"
ENDLESS = ("sh", "-c", "while :; do head -c 100000 /dev/urandom; done")
LARGE = 9 * 2**20  # bytes that do not compress: two parts of an upload


def files(root: Path) -> list[str]:
    return sorted(str(file.relative_to(root)) for file in root.rglob("*") if file.is_file())


def kept(result: BackupResult, name: str = NAME) -> Kept:
    return Kept(name=name, sha256=result.sha256, size=result.size)


async def taken(stage: Stage, *command: str, **more: Any) -> BackupResult:
    spec = stage.backup(*command, **more)
    return await backup(stage.attempt(spec), spec, stage.tools)


async def failed(stage: Stage, spec: BackupSpec) -> Failure:
    with pytest.raises(Failure) as caught:
        await backup(stage.attempt(spec), spec, stage.tools)
    return caught.value


async def put_back(stage: Stage, what: Kept, *command: str) -> None:
    spec = stage.restore(what, *command)
    await restore(stage.attempt(spec), spec, stage.tools)


async def test_a_backup_is_compressed_summed_and_for_its_owner_alone(stage: Stage, root: Path) -> None:
    result = await taken(stage, "sh", "-c", "seq 100000; echo noise >&2")

    file = root / NAME
    assert gzip.decompress(file.read_bytes()).startswith(b"1\n2\n")
    assert result.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    assert (result.size, result.dumped) == (file.stat().st_size, 588895)
    assert result.size < result.dumped / 2
    assert file.stat().st_mode & 0o777 == 0o600
    assert files(root) == [NAME]


async def test_those_that_are_too_old_go_once_the_new_one_is_whole(stage: Stage, root: Path) -> None:
    old = ["7/production/db/old.gz", "7/production/db/gone.gz"]
    await taken(stage, "echo", "old", name=old[0])

    assert (await failed(stage, stage.backup("false", expired=old))).reason == "command_failed"
    assert files(root) == [old[0]]

    assert (await taken(stage, "echo", "new", expired=old)).removed == old
    assert files(root) == [NAME]


@pytest.mark.parametrize(
    ("command", "reason", "said"),
    [
        (("sh", "-c", "seq 1000; echo the disk is full >&2; exit 3"), "command_failed", "the disk is full"),
        (("sh", "-c", "seq 1000; kill -9 $$"), "command_failed", "ended with exit code"),
        (("true",), "backup_empty", "printed nothing"),
    ],
)
async def test_a_dump_that_fails_leaves_no_backup_and_says_why(
    stage: Stage, root: Path, command: tuple[str, ...], reason: str, said: str
) -> None:
    failure = await failed(stage, stage.backup(*command))

    assert (failure.reason, failure.fault, said in failure.sentence) == (reason, Fault.USER, True), failure
    assert files(root) == []


async def test_a_dump_that_is_killed_in_the_middle_leaves_no_backup(stage: Stage, root: Path) -> None:
    spec = stage.backup(*ENDLESS)
    taking = asyncio.create_task(failed(stage, spec))
    await asyncio.wait_for(stage.engine.printing.wait(), 30)
    assert files(root) == [f"{NAME}.part"]

    os.killpg(stage.engine.commands[0].pid, 9)

    assert (await asyncio.wait_for(taking, 30)).reason == "command_failed"
    assert files(root) == []


async def test_a_dump_whose_container_went_meanwhile_is_worth_another_try(stage: Stage, root: Path) -> None:
    stage.engine.there = False
    failure = await failed(stage, stage.backup("sh", "-c", "seq 10; exit 137"))
    assert (failure.reason, failure.fault) == ("service_gone", Fault.OURS)
    assert files(root) == []


async def test_a_cancelled_backup_leaves_nothing_and_its_command_is_gone(stage: Stage, root: Path) -> None:
    spec = stage.backup(*ENDLESS)
    taking = asyncio.create_task(backup(stage.attempt(spec), spec, stage.tools))
    await asyncio.wait_for(stage.engine.printing.wait(), 30)

    taking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await taking

    assert files(root) == []
    assert stage.engine.commands[0].poll() is not None


async def test_what_a_killed_worker_left_goes_with_the_next_backup(stage: Stage, root: Path) -> None:
    left = root / "7/production/db/two.gz.part"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"half")

    await taken(stage, "echo", "whole")

    assert files(root) == [NAME]


async def test_a_folder_that_is_not_mounted_is_told_and_not_made(stage: Stage, root: Path) -> None:
    stage.depot = Depot(url=str(absent := root / "absent"))
    failure = await failed(stage, stage.backup("echo", "a"))
    assert (failure.reason, failure.fault) == ("no_depot", Fault.FINAL)
    assert f"there is no folder {absent} on this worker: make it, or mount it" in failure.sentence
    assert files(root) == []


async def test_no_name_leads_out_of_the_folder(stage: Stage) -> None:
    for name in ("../other.gz", "/etc/other.gz", "a/../../b.gz"):
        assert (await failed(stage, stage.backup("echo", "a", name=name))).reason == "bad_name"


async def test_no_more_of_a_dump_is_in_memory_than_a_part(stage: Stage) -> None:
    tracemalloc.start()
    try:
        result = await taken(stage, "head", "-c", str(200 * 2**20), "/dev/zero")
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert result.dumped == 200 * 2**20
    assert most < 20 * 2**20


async def test_a_backup_is_put_back_as_it_was_dumped(stage: Stage, tmp_path: Path) -> None:
    result = await taken(stage, "sh", "-c", f"head -c {LARGE} /dev/urandom | tee {tmp_path}/dumped")

    await put_back(stage, kept(result), "sh", "-c", f"cat > {tmp_path}/restored")

    assert (tmp_path / "restored").read_bytes() == (tmp_path / "dumped").read_bytes()


async def test_what_is_not_what_was_kept_reaches_no_database(
    stage: Stage, root: Path, tmp_path: Path
) -> None:
    what = kept(await taken(stage, "seq", "100000"))
    stored = bytearray((root / NAME).read_bytes())
    stored[len(stored) // 2] ^= 1
    (root / NAME).write_bytes(stored)

    with pytest.raises(Failure, match="is not what was kept") as caught:
        await put_back(stage, what, "touch", str(tmp_path / "reached"))

    assert (caught.value.reason, caught.value.fault) == ("backup_damaged", Fault.FINAL)
    assert stage.engine.commands[1:] == []
    (root / NAME).unlink()
    with pytest.raises(Failure, match="is not in"):
        await put_back(stage, what, "touch", str(tmp_path / "reached"))
    assert not (tmp_path / "reached").exists()


async def test_a_restore_that_is_cut_ends_its_command_before_the_end_of_its_input(
    stage: Stage, tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    what = kept(await taken(stage, "head", "-c", str(LARGE), "/dev/urandom"))
    reads: list[str] = []

    def read(_: Any, name: str) -> Any:
        reads.append(name)
        stored = (root / name).read_bytes()[: None if len(reads) == 1 else LARGE // 2]
        yield from (stored[at : at + 2**20] for at in range(0, len(stored), 2**20))

    monkeypatch.setattr("workers.backup.folder.FolderDepot.read", read)
    with pytest.raises(Failure, match="is not what was kept"):
        await put_back(stage, what, "sh", "-c", f"cat > {tmp_path}/got && touch {tmp_path}/committed")

    assert len(reads) == 2
    assert not (tmp_path / "committed").exists()
    assert stage.engine.commands[-1].poll() == -9


async def test_a_restore_whose_command_fails_says_what_it_said(stage: Stage) -> None:
    what = kept(await taken(stage, "seq", "10"))
    with pytest.raises(Failure, match="sh ended with exit code 4: relation exists") as caught:
        await put_back(stage, what, "sh", "-c", "cat > /dev/null; echo relation exists >&2; exit 4")
    assert caught.value.fault is Fault.USER


async def test_a_service_that_does_not_run_here_is_told(stage: Stage) -> None:
    spec = stage.backup("echo", "a").model_copy(update={"service": "cache"})
    assert "Service cache does not run on here" in (await failed(stage, spec)).sentence


async def test_a_backup_in_a_bucket_is_encrypted_there_and_put_back(
    s3_stage: Stage, bucket: Bucket, tmp_path: Path
) -> None:
    result = await taken(s3_stage, "sh", "-c", f"head -c {LARGE} /dev/urandom | tee {tmp_path}/dumped")

    assert bucket.objects() == {f"of/shop/{NAME}": result.size}
    there = bucket.client.head_object(Bucket=bucket.name, Key=f"of/shop/{NAME}")
    assert there["ServerSideEncryption"] == "AES256"
    assert there["ETag"].strip('"').endswith("-2"), "in two parts"
    await put_back(s3_stage, kept(result), "sh", "-c", f"cat > {tmp_path}/restored")
    assert (tmp_path / "restored").read_bytes() == (tmp_path / "dumped").read_bytes()

    again = await taken(s3_stage, "echo", "new", name="7/production/db/two.gz", expired=[NAME])
    assert again.removed == [NAME]
    assert bucket.objects() == {"of/shop/7/production/db/two.gz": again.size}


@pytest.mark.parametrize(("method", "path"), [("PUT", "partNumber=2"), ("POST", "uploadId"), ("HEAD", NAME)])
async def test_a_bucket_that_answers_500_has_no_backup_afterwards(
    s3_stage: Stage,
    bucket: Bucket,
    faults: Faults,
    method: str,
    path: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(s3_depot, "_TRIES", 2)
    faults.fail(method, path, times=2, status=500)

    failure = await failed(s3_stage, s3_stage.backup("head", "-c", str(LARGE), "/dev/urandom"))

    assert (failure.reason, failure.fault) == ("depot_down", Fault.OURS)
    assert (bucket.objects(), bucket.uploads()) == ({}, [])


async def test_a_bucket_that_answers_500_once_is_asked_again(
    s3_stage: Stage, bucket: Bucket, faults: Faults
) -> None:
    faults.fail("PUT", "partNumber=1", times=1, status=500)
    result = await taken(s3_stage, "seq", "1000")
    assert bucket.objects() == {f"of/shop/{NAME}": result.size}


async def test_a_cancelled_upload_leaves_nothing_and_neither_does_one_of_a_killed_worker(
    s3_stage: Stage, bucket: Bucket
) -> None:
    where = {"Bucket": bucket.name, "Key": "of/shop/7/production/db/killed.gz"}
    bucket.client.create_multipart_upload(**where)
    other = {"Bucket": bucket.name, "Key": "of/shop/7/staging/db/runs.gz"}
    bucket.client.create_multipart_upload(**other)
    spec = s3_stage.backup(*ENDLESS)
    taking = asyncio.create_task(backup(s3_stage.attempt(spec), spec, s3_stage.tools))
    await asyncio.wait_for(s3_stage.engine.printing.wait(), 30)
    assert sorted(bucket.uploads()) == [f"of/shop/{NAME}", other["Key"]]

    taking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await taking

    assert (bucket.objects(), bucket.uploads()) == ({}, [other["Key"]])


async def test_a_bucket_that_is_not_there_is_somebodys_to_mend(s3_stage: Stage) -> None:
    depot = s3_stage.depot.model_copy(update={"url": "s3://there-is-none"})
    spec = s3_stage.backup("echo", "a").model_copy(update={"depot": depot})
    failure = await failed(s3_stage, spec)
    assert (failure.reason, failure.fault) == ("depot_denied", Fault.FINAL)
    assert failure.sentence.startswith("SERVICE_BACKUPS: s3://there-is-none does not let this instance in")
