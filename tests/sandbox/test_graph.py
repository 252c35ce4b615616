"""The API's rules, asked over the socket."""

from __future__ import annotations

import datetime as dt
import email.utils
from typing import TYPE_CHECKING

import pytest

from builder.sandbox import graph, runs
from builder.sandbox import state as sandbox_state
from tests.sandbox import client
from tests.support import words

if TYPE_CHECKING:
    from builder.sandbox.server import Sandbox


def test_every_root_field_of_the_schema_has_a_resolver_and_nothing_else_is_answered(ask: client.Client) -> None:
    graph.load_schema()  # which compares them
    assert "Cannot query field 'nothing'" in ask.refusal("{ nothing }")
    assert "Syntax Error" in ask.refusal("{ account")


def test_a_body_that_is_no_query_is_a_bad_request(sandbox: Sandbox) -> None:
    assert client.send("POST", sandbox.api_url, b"{}").status == 400
    assert client.send("POST", sandbox.api_url, b"not json").status == 400


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/elsewhere", b"{}", 404),
        ("POST", "/", b"no GraphQL", 400),
        ("DELETE", "/", b"", 405),
        ("PATCH", "/storage/x", b"abc", 405),
        ("HEAD", "/", b"", 405),
        ("GET", "/elsewhere", b"", 404),
    ],
)
def test_what_is_refused_is_written_down_too(
    sandbox: Sandbox, method: str, path: str, body: bytes, status: int
) -> None:
    assert client.send(method, f"{sandbox.api_url.rstrip('/')}{path}?secret=x", body).status == status
    [record] = sandbox.requests
    assert (record.method, record.path, record.status) == (method, path, status)


def test_a_request_is_called_by_the_name_in_its_text(sandbox: Sandbox, ask: client.Client) -> None:
    ask.post("query mine { account { username } }")
    ask.post("{ account { username } }")
    assert [item.operation for item in sandbox.requests] == ["mine", "account"]
    assert (sandbox.requests.count("mine"), sandbox.requests.count("account")) == (1, 2)


def test_a_server_can_assign_any_pickle(sandbox: Sandbox, ask: client.Client) -> None:
    slot = sandbox.state.get_slot("fresh")
    bad = sandbox.state.add_pickle(slot, "bad.pkl", passed=False)
    assert "has not passed" in ask.post(client.ASSIGN, modelId=slot.id, pickleId=bad.id).body.decode()
    sandbox.state.checks_assigned = False
    ask.post(client.ASSIGN, modelId=slot.id, pickleId=bad.id)
    assert slot.pickle_id == bad.id


def test_a_variable_of_type_string_may_stand_where_an_id_is_declared_and_nowhere_else(ask: client.Client) -> None:
    assert ask.data("query($id: String) { computePickles(id: $id) { id } }", id=None) == []
    refused = ask.refusal("query($id: String) { triggerLogs(triggerId: $id) { message } }", id="x")
    assert refused == "Variable '$id' of type 'String' used in position expecting type 'ID!'."
    assert "expecting type 'Int!'" in ask.refusal(
        'query($t: String!) { modelNameAvailable(name: "a", tournament: $t) }', t="8"
    )


def test_the_token_says_who_asks_and_what_they_may_do(sandbox: Sandbox, ask: client.Client) -> None:
    account = ask.data("{ account { username maxModelSlots models { name tournament archived submissionWebhook } } }")
    assert account["username"] == "sandbox_user"
    assert {item["name"] for item in account["models"]} == {
        "fresh", "running", "hooked", "old_one", "signals_one", "staked",
    }  # fmt: skip
    info = client.Client(sandbox, sandbox_state.READ_ONLY).data("{ apiTokenInfo { accountUsername scopes } }")
    assert info["accountUsername"] == "sandbox_user"
    assert sandbox_state.UPLOAD_SCOPE not in info["scopes"]


@pytest.mark.parametrize("status", [200, 401])
def test_without_a_good_token_errors_is_an_object(sandbox: Sandbox, status: int) -> None:
    sandbox.state.refusal_status = status
    for token in (None, sandbox_state.REVOKED):
        answer = client.Client(sandbox, token).post("{ account { id } }")
        assert answer.status == status
        assert isinstance(answer.json()["errors"]["detail"], str)


def test_what_is_public_is_answered_without_a_token(sandbox: Sandbox) -> None:
    anonymous = client.Client(sandbox, None)
    images = anonymous.data("{ computePickleDockerImages { image tag default deprecated experimental } }")
    assert [item["image"] for item in images if item["default"]] == ["numerai_predict_py_3_11"]
    assert not any(item["deprecated"] for item in images)
    assert any(item["experimental"] for item in images)
    every = anonymous.data("{ computePickleDockerImages(deprecated: true) { image } }")
    assert len(every) == len(images) + 1
    assert [item["name"] for item in anonymous.data("{ computePickleDataVersions { name } }")] == [
        "v5.2",
        "v5.1",
        "v5.3",
    ]
    [current] = anonymous.data("{ rounds(number: 0, tournament: 8) { number openTime closeTime } }")
    assert current["number"] == 1000


def test_data_is_listed_and_fetched_by_an_address_that_takes_no_token(sandbox: Sandbox) -> None:
    anonymous = client.Client(sandbox, None)
    names = anonymous.data("{ listDatasets }")
    assert "v5.2/live.parquet" in names
    for name in names:
        url = anonymous.data("query($name: String!) { dataset(filename: $name) }", name=name)
        got = client.send("GET", url)
        assert (got.status, got.body) == (200, sandbox.datasets()[name].read_bytes())
    assert "Unknown" in anonymous.refusal('{ dataset(filename: "v1/train.csv") }')


def test_an_upload_is_authorised_under_another_name_that_holds_the_local_one(ask: client.Client) -> None:
    item, two = (ask.authorise(filename="mlp-0123456789ab.pkl")[0] for _ in range(2))
    assert item.endswith("-mlp-0123456789ab.pkl")
    assert item != two
    assert "/" not in ask.authorise(filename="../../x y.pkl")[0]


@pytest.mark.parametrize(
    ("slot", "message"),
    [
        ("hooked", "webhook"),
        ("old_one", "archived"),
        ("signals_one", "Classic"),
        ("theirs", "not found"),
    ],
)
def test_a_slot_that_cannot_take_a_pickle_is_not_authorised(
    sandbox: Sandbox, ask: client.Client, slot: str, message: str
) -> None:
    assert message in ask.refusal(client.AUTHORISE, filename="a.pkl", modelId=sandbox.state.get_slot(slot).id)


def test_a_token_without_the_scope_writes_nothing(sandbox: Sandbox) -> None:
    reader, slot = client.Client(sandbox, sandbox_state.READ_ONLY), sandbox.state.get_slot("hooked")
    for query, variables in (
        (client.AUTHORISE, {"filename": "a.pkl"}),
        (client.ASSIGN, {"modelId": slot.id}),
        ("mutation($id: String) { setSubmissionWebhook(modelId: $id) }", {"id": slot.id}),
        ('mutation { addModel(name: "more", tournament: 8) { id } }', {}),
    ):
        assert "upload_submission" in reader.refusal(query, **variables)
    assert slot.webhook is not None


@words.each_vocabulary
def test_from_bytes_to_an_assigned_pickle(sandbox: Sandbox, ask: client.Client) -> None:
    built, spoken = ask.upload("fresh", b"the bytes"), sandbox.state.words
    assert built["validationStatus"] == spoken.pending
    assert sandbox.read_pickle(built["filename"]) == b"the bytes"
    actual = ask.pickle(built["id"])
    assert (actual["validationStatus"], actual["dockerImage"]) == (spoken.good, "numerai_predict_py_3_11:a78dedd")
    assert actual["modelId"] == sandbox.state.get_slot("fresh").id
    [trigger] = actual["triggers"]
    assert (trigger["status"], trigger["roundId"]) == (spoken.run_good, "1000")
    assert [item["status"] for item in trigger["statuses"]] == [spoken.run_pending, spoken.run_good]
    assert [
        item["message"]
        for item in ask.data("query($id: ID!) { triggerLogs(triggerId: $id) { message } }", id=trigger["id"])
    ]

    running = sandbox.state.get_slot("running").id
    ask.data(client.ASSIGN, modelId=running, pickleId=built["id"])
    models = ask.data("{ account { models { id computePickleUpload { id } } } }")["models"]
    assert [item["id"] for item in models if item["computePickleUpload"]] == [running]
    assert ask.pickle(built["id"])["assignedModelSlots"] == [running]
    assert ask.data(client.PICKLES, modelId=running) == [], "the filter is on the slot that it was uploaded for"
    assert ask.data(client.PICKLES, unassigned=True) == []
    ask.data(client.ASSIGN, modelId=running, pickleId=None)
    assert len(ask.data(client.PICKLES, unassigned=True)) == 1


def test_registering_goes_by_the_stored_name_and_not_by_the_bytes(sandbox: Sandbox, ask: client.Client) -> None:
    slot = sandbox.state.get_slot("fresh").id
    stored, _ = ask.authorise("fresh", "model.pkl")
    assert "not authorised" in ask.refusal(client.CREATE, filename="model.pkl", modelId=slot)
    assert "another model" in ask.refusal(client.CREATE, filename=stored, modelId=sandbox.state.get_slot("running").id)
    stranger = client.Client(sandbox, sandbox_state.STRANGERS)
    assert "not authorised" in stranger.refusal(
        client.CREATE, filename=stored, modelId=sandbox.state.get_slot("theirs").id
    )
    ids = {ask.data(client.CREATE, filename=stored, modelId=slot)["id"] for _ in range(2)}
    assert len(ids) == 2, "nothing makes registering the same thing twice one record"
    for item in ids:
        actual = ask.pickle(item)
        assert actual["validationStatus"] == sandbox.state.words.bad
        assert actual["triggers"][0]["statuses"][-1]["description"] == runs.NOT_STORED
        assert "not passed" in ask.refusal(client.ASSIGN, modelId=slot, pickleId=item)


def test_what_a_pickle_is_registered_for_is_what_was_asked_for(sandbox: Sandbox, ask: client.Client) -> None:
    stored, url = ask.authorise("fresh")
    client.send("PUT", url, b"x")
    image, slot = sandbox.state.get_image("numerai_predict_py_3_13"), sandbox.state.get_slot("fresh").id
    data = sandbox.state.data_versions[1]
    built = ask.data(client.CREATE, filename=stored, modelId=slot, image=image.id, data=data.id)
    actual = ask.pickle(built["id"])
    assert (actual["dockerImage"], actual["dataVersion"]) == ("numerai_predict_py_3_13:03624a6", "v5.1")
    assert "Docker image not found" in ask.refusal(
        client.CREATE, filename=stored, modelId=slot, image=sandbox_state.new_id()
    )


def test_polling_sees_the_scripted_words_one_by_one(sandbox: Sandbox, ask: client.Client) -> None:
    sandbox.runs.judge = runs.Scripted(interim=("PENDING", "who knows"))
    sandbox.state.words.good = "SUCCESS"
    built = ask.upload()
    ask.data(client.PICKLES)  # a list moves nothing
    assert "not passed" in ask.refusal(client.ASSIGN, modelId=sandbox.state.get_slot("fresh").id, pickleId=built["id"])
    assert [ask.pickle(built["id"])["validationStatus"] for _ in range(4)] == [
        "PENDING", "who knows", "SUCCESS", "SUCCESS",
    ]  # fmt: skip


def test_a_validation_that_never_settles(sandbox: Sandbox, ask: client.Client) -> None:
    sandbox.runs.judge = runs.Scripted(interim=("pending", "running"), settles=False)
    built = ask.upload()
    assert [ask.pickle(built["id"])["validationStatus"] for _ in range(4)] == [
        "pending",
        "running",
        "running",
        "running",
    ]


@words.each_vocabulary
def test_a_failed_validation_has_its_description_and_logs(sandbox: Sandbox, ask: client.Client) -> None:
    sandbox.runs.judge = runs.Scripted.failing(runs.SEGMENTATION_FAULT, "one", "two")
    actual = ask.pickle(ask.upload()["id"])
    assert (actual["validationStatus"], actual["triggerStatus"]) == (
        sandbox.state.words.bad,
        sandbox.state.words.run_bad,
    )
    [trigger] = actual["triggers"]
    assert trigger["statuses"][-1]["description"] == runs.SEGMENTATION_FAULT
    logs = ask.data("query($id: ID!) { triggerLogs(triggerId: $id) { timestamp message } }", id=trigger["id"])
    assert [item["message"] for item in logs] == ["one", "two"]
    assert sandbox.state.get_slot("fresh").latest_submission is None


@words.each_vocabulary
def test_a_run_may_have_no_status_but_the_pickles(sandbox: Sandbox, ask: client.Client) -> None:
    sandbox.state.runs_have_statuses = False
    actual = ask.pickle(ask.upload()["id"])
    [trigger] = actual["triggers"]
    assert (trigger["status"], trigger["statuses"]) == (None, [])
    assert actual["triggerStatus"] == sandbox.state.words.run_good


@words.each_vocabulary
def test_with_no_round_open_a_good_pickle_submits_nothing_and_says_why(sandbox: Sandbox, ask: client.Client) -> None:
    following = sandbox.state.close_round()
    actual = ask.pickle(ask.upload()["id"])
    assert actual["validationStatus"] == sandbox.state.words.good
    assert actual["triggers"][0]["statuses"][-1]["description"] == runs.NO_ROUND
    assert sandbox.state.get_slot("fresh").latest_submission is None
    [current] = ask.data("{ rounds(number: 0) { number closeTime } }")
    assert current["number"] == following.number - 1
    assert max(item["number"] for item in ask.data("{ rounds(tournament: 8) { number } }")) == following.number
    again = ask.data(
        "mutation($id: ID) { triggerComputePickleUpload(pickleId: $id) { triggers { statuses { description } } } }",
        id=actual["id"],
    )
    assert again["triggers"][0]["statuses"][-1]["description"] == runs.NO_ROUND
    sandbox.state.no_round_fails = True
    assert ask.pickle(ask.upload()["id"])["validationStatus"] == sandbox.state.words.bad


@words.each_vocabulary
def test_registering_submits_for_the_open_round(sandbox: Sandbox, ask: client.Client) -> None:
    ask.upload("staked")
    [slot] = [
        item
        for item in ask.data("{ account { models { name v2Stake { latestValue } latestSubmissionV2 { status } } } }")[
            "models"
        ]
        if item["name"] == "staked"
    ]
    assert slot["v2Stake"]["latestValue"] == "12.5"
    assert slot["latestSubmissionV2"]["status"] == sandbox.state.words.run_good


def test_a_pickle_is_run_again_by_itself_or_by_its_slot(sandbox: Sandbox, ask: client.Client) -> None:
    built, slot = ask.upload(), sandbox.state.get_slot("fresh").id
    run = "mutation($m: ID, $p: ID, $v: Boolean) { triggerComputePickleUpload(modelId: $m, pickleId: $p, triggerValidation: $v) { id } }"  # noqa: E501
    assert "no pickle" in ask.refusal(run, m=slot)
    ask.data(client.ASSIGN, modelId=slot, pickleId=built["id"])
    ask.data(run, m=slot)
    ask.data(run, p=built["id"], v=True)
    assert [item["type"] for item in ask.pickle(built["id"])["triggers"]] == ["manual", "manual", "upload"]


def test_the_bytes_come_back_with_the_scope_for_it(sandbox: Sandbox, ask: client.Client) -> None:
    built, slot = ask.upload(content=b"mine"), sandbox.state.get_slot("fresh").id
    download = "query($m: ID!, $p: ID) { computePickleDownloadAuth(modelId: $m, pickleId: $p) { filename url } }"
    actual = ask.data(download, m=slot, p=built["id"])
    got = client.send("GET", actual["url"])
    assert (got.body, actual["filename"]) == (b"mine", built["filename"])
    assert "download_submission" in client.Client(sandbox, sandbox_state.READ_ONLY).refusal(download, m=slot)
    assert "no pickle" in ask.refusal(download, m=slot)
    assert "does not belong" in ask.refusal(download, m=sandbox.state.get_slot("running").id, p=built["id"])
    theirs = sandbox.state.add_pickle(sandbox.state.get_slot("theirs"), "theirs.pkl")
    assert "not found" in ask.refusal(download, m=slot, p=theirs.id)


@words.each_vocabulary
def test_labels_webhooks_and_diagnostics(sandbox: Sandbox, ask: client.Client) -> None:
    built = ask.upload()
    ask.data('mutation($p: ID!) { updatePickleLabel(pickleId: $p, label: "mine") { id } }', p=built["id"])
    actual = ask.pickle(built["id"])
    assert actual["label"] == "mine"
    [diagnostics] = ask.data("query($id: ID) { diagnostics(id: $id) { status } }", id=actual["diagnosticsId"])
    assert diagnostics["status"] == actual["diagnosticsStatus"] == sandbox.state.words.diagnostics
    message = ask.data("query($p: ID!) { diagnosticsTriggerLogs(pickleId: $p) { message } }", p=built["id"])
    assert message[0]["message"] == "this sandbox computes no diagnostics"
    hooked = sandbox.state.get_slot("hooked")
    ask.data("mutation($m: String) { setSubmissionWebhook(modelId: $m, newSubmissionWebhook: null) }", m=hooked.id)
    ask.upload("hooked")


def test_names_of_new_slots(sandbox: Sandbox, ask: client.Client) -> None:
    free = "query($n: String!) { modelNameAvailable(name: $n, tournament: 8) }"
    add = "mutation($n: String!) { addModel(name: $n, tournament: 8) { id name tournament } }"
    assert ask.data(free, n="theirs") is False, "names are one space for all accounts"
    assert ask.data(free, n="another") is True
    assert ask.data(add, n="another")["tournament"] == 8
    assert "taken" in ask.refusal(add, n="another")
    for name in ("No_Capitals", "ab", "a" * 21, "a-b"):
        assert "3 to 20" in ask.refusal(add, n=name)
    sandbox.state.accounts[0].max_model_slots = 6  # archived ones take none
    assert "no model slots left" in ask.refusal(add, n="one_more")


def test_the_clock_can_be_wrong(sandbox: Sandbox, ask: client.Client) -> None:
    sandbox.state.clock_offset = dt.timedelta(minutes=15)
    shown = email.utils.parsedate_to_datetime(ask.post("{ listDatasets }").headers["Date"])
    ahead = shown - dt.datetime.now(dt.UTC)
    assert dt.timedelta(minutes=14) < ahead < dt.timedelta(minutes=16)
