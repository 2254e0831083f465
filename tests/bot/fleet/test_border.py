"""A worker that the bot knows already is believed no longer than its credential holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import RootModel
from structlog.testing import capture_logs

from bot.fleet import enrolment
from bot.fleet.border import Border
from bot.secrets.vault import Vault
from bot.store.database import Store
from config.settings import Settings
from workers.contract.border import Question, Refused
from workers.contract.credential import Credential
from workers.contract.envelopes import Dismissed, Late, Numbered, Replied, Stranger, replies
from workers.contract.letters import REQUEST, UNKNOWN, Letters, answer_to, signed
from workers.contract.messages import VERSION, Heartbeat, Measured, Printed, Refusal


@pytest.fixture
def vault(store: Store, tmp_path: Path) -> Vault:
    return Vault(store, Settings(data_dir=tmp_path))


def letter(credential: Credential, number: int, pool: str = "default") -> bytes:
    beat = Heartbeat(
        worker=credential.name, instance="i", pool=pool, slots=1, address="", software=""
    )  # fmt: skip
    sealed = Letters.of_worker(credential).seal(REQUEST, Numbered(number=number, request=beat))
    return signed(credential.name, sealed)


async def refused(border: Border, credential: Credential, number: int) -> Replied | bytes:
    """What the sender of a request is answered that does not pass."""
    with pytest.raises(Refused) as error:
        await border.request(letter(credential, number))
    if error.value.reply == UNKNOWN:
        return UNKNOWN
    return replies.validate_json(Letters.of_worker(credential).open(answer_to(number), error.value.reply))


async def test_a_known_worker_that_is_revoked_or_has_a_new_credential_is_not_believed(
    store: Store, vault: Vault
) -> None:
    border = Border(store, await enrolment.keys(vault))
    first = await enrolment.add(store, vault, "one", "default")
    for number in (1, 2):
        question = await border.request(letter(first, number))
        assert (type(question), question.pool) == (Question, "default")

    second = await enrolment.add(store, vault, "one", "gpu", replace=True)
    assert await refused(border, first, 3) == UNKNOWN
    assert (await border.request(letter(second, 1, "gpu"))).pool == "gpu"
    assert await refused(border, first, 4) == UNKNOWN

    await enrolment.revoke(store, "one")
    assert isinstance(await refused(border, second, 2), Dismissed)


async def test_a_request_counts_once_at_every_bot_that_knows_its_sender(store: Store, vault: Vault) -> None:
    bots = [Border(store, await enrolment.keys(vault)) for _ in range(2)]
    one = await enrolment.add(store, vault, "one", "default")
    await bots[0].request(letter(one, 1))
    await bots[1].request(letter(one, 2))
    for border in bots:
        for number in (1, 2):
            assert await refused(border, one, number) == Late(last=2)
    await bots[0].request(letter(one, 3))
    assert await refused(bots[1], one, 3) == Late(last=3)


@pytest.mark.parametrize("said", [Printed(worker="two", outputs=[]), Measured(worker="two", samples=[])])
async def test_a_worker_tells_what_containers_print_and_use_in_its_own_name_alone(
    store: Store, vault: Vault, said: Printed | Measured
) -> None:
    border = Border(store, await enrolment.keys(vault))
    one = await enrolment.add(store, vault, "one", "default")
    letters = Letters.of_worker(one)

    def told(number: int, what: Printed | Measured) -> bytes:
        return signed("one", letters.seal(REQUEST, Numbered(number=number, request=what)))

    with pytest.raises(Refused) as error:
        await border.request(told(1, said))
    answer = replies.validate_json(letters.open(answer_to(1), error.value.reply))
    assert answer == Refusal(reason="worker one speaks as two")
    own = said.model_copy(update={"worker": "one"})
    assert (await border.request(told(2, own))).request == own


@pytest.mark.parametrize(("version", "who"), [(VERSION - 1, "worker"), (VERSION + 1, "bot")])
async def test_a_worker_of_another_contract_is_told_who_is_to_be_upgraded_in_words_of_its_own(
    store: Store, vault: Vault, version: int, who: str
) -> None:
    border = Border(store, await enrolment.keys(vault))
    one = await enrolment.add(store, vault, "one", "default")
    letters = Letters.of_worker(one)
    asked = Stranger.model_validate({"version": version, "number": 7, "request": {"kind": "what came later"}})
    with capture_logs() as logs, pytest.raises(Refused) as error:
        await border.request(signed("one", letters.seal(REQUEST, asked)))

    answer = json.loads(letters.open(answer_to(7), error.value.reply))

    assert answer == {"version": version, "kind": "dismissed", "reason": logs[0]["why"]}
    assert f"worker one speaks version {version}" in answer["reason"]
    assert answer["reason"].endswith(f"upgrade the {who}")


async def test_what_a_worker_says_besides_is_nothing_to_a_bot_that_does_not_know_it(
    store: Store, vault: Vault
) -> None:
    border = Border(store, await enrolment.keys(vault))
    one = await enrolment.add(store, vault, "one", "default")
    _, _, sealed = letter(one, 1).partition(b"\n")
    # As the bot sees it when it has opened it.
    said = json.loads(Letters.of_bot(await enrolment.keys(vault), one.keys.public).open(REQUEST, sealed))
    said["later"] = said["request"]["later"] = {"of": "a newer version"}

    class Later(RootModel[dict[str, Any]]):
        pass

    more = Letters.of_worker(one).seal(REQUEST, Later(said))
    question = await border.request(signed("one", more))

    assert isinstance(question.request, Heartbeat)
    assert not hasattr(question.request, "later")
