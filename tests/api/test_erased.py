"""Whoever was erased is one of whom nothing personal is taken, and nothing that was is shown."""

import pytest

from sinks.postgres.keys import Keys
from streams.decision import Intent
from tests.api.caller import Caller

LABEL, KEEP = "/v1/lab/label_sample", "/v1/lab/keep_sample"


@pytest.mark.req("SR140")
async def test_what_is_personal_is_refused_and_what_is_not_is_taken(edge: Caller) -> None:
    """410 with a code of its own, whoever says it; under an Idempotency-Key too."""
    said = {"sample": "s1", "keeper": "ann", "label": "mine"}
    first = await edge.post(LABEL, said, "ann/User")
    assert first.status_code == 202
    sealed = (await edge.record(first, "lab.commands", 2))["payload"]["label"]
    assert (await edge.get(f"/v1/lab/secret/{sealed}")).json()["note"] == "mine"
    await Keys(edge.settings).perform(Intent("destroy_key", {"subject": "ann"}), "once")

    for who, headers in (("ann/User", None), ("root/Admin", None), ("ann/User", {"Idempotency-Key": "k"})):
        answer = await edge.post(LABEL, said, who, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (410, "subject_erased")
    assert len(await edge.records("lab.commands", 2)) == 1
    assert (await edge.post(KEEP, {"sample": "s1", "keeper": "ann"}, "ann/VIP")).status_code == 202
    assert (await edge.post(LABEL, said | {"keeper": "bob"}, "bob/User")).status_code == 202
    assert (await edge.get(f"/v1/lab/secret/{sealed}")).json()["note"] is None
