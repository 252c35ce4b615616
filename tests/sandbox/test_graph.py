"""The rules of the sandbox's API, tested over HTTP."""

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


def test_every_root_field_has_a_resolver_and_other_fields_are_refused(ask: client.Client) -> None:
    graph.load_schema()  # compares the root fields with the resolvers
    assert "Cannot query field 'nothing'" in ask.refusal("{ nothing }")
    assert "Syntax Error" in ask.refusal("{ account")


def test_a_body_without_a_query_is_a_bad_request(sandbox: Sandbox) -> None:
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
def test_refused_requests_are_recorded(sandbox: Sandbox, method: str, path: str, body: bytes, status: int) -> None:
    assert client.send(method, f"{sandbox.api_url.rstrip('/')}{path}?secret=x", body).status == status
    [record] = sandbox.requests
    assert (record.method, record.path, record.status) == (method, path, status)


def test_a_request_is_recorded_under_its_operation_name(sandbox: Sandbox, ask: client.Client) -> None:
    ask.post("query mine { account { username } }")
    ask.post("{ account { username } }")
    assert [request.operation for request in sandbox.requests] == ["mine", "account"]
    assert (sandbox.requests.count("mine"), sandbox.requests.count("account")) == (1, 2)


def test_a_server_may_assign_unvalidated_pickles(sandbox: Sandbox, ask: client.Client) -> None:
    slot = sandbox.state.get_slot("fresh")
    bad = sandbox.state.add_pickle(slot, "bad.pkl", passed=False)
    assert "has not passed" in ask.post(client.ASSIGN, modelId=slot.id, pickleId=bad.id).body.decode()
    sandbox.state.rejects_unvalidated = False
    ask.post(client.ASSIGN, modelId=slot.id, pickleId=bad.id)
    assert slot.pickle_id == bad.id


def test_a_string_variable_is_allowed_for_an_id_only(ask: client.Client) -> None:
    assert ask.data("query($id: String) { computePickles(id: $id) { id } }", id=None) == []
    message = ask.refusal("query($id: String) { triggerLogs(triggerId: $id) { message } }", id="x")
    assert message == "Variable '$id' of type 'String' used in position expecting type 'ID!'."
    assert "expecting type 'Int!'" in ask.refusal(
        'query($t: String!) { modelNameAvailable(name: "a", tournament: $t) }', t="8"
    )


def test_the_token_selects_account_and_scopes(sandbox: Sandbox, ask: client.Client) -> None:
    account = ask.data("{ account { username maxModelSlots models { name tournament archived submissionWebhook } } }")
    assert account["username"] == "sandbox_user"
    assert {model["name"] for model in account["models"]} == {
        "fresh", "running", "hooked", "old_one", "signals_one", "staked",
    }  # fmt: skip
    info = client.Client(sandbox, sandbox_state.READ_ONLY).data("{ apiTokenInfo { accountUsername scopes } }")
    assert info["accountUsername"] == "sandbox_user"
    assert sandbox_state.UPLOAD_SCOPE not in info["scopes"]


@pytest.mark.parametrize("status", [200, 401])
def test_without_a_valid_token_errors_is_an_object(sandbox: Sandbox, status: int) -> None:
    sandbox.state.refusal_status = status
    for token in (None, sandbox_state.REVOKED):
        response = client.Client(sandbox, token).post("{ account { id } }")
        assert response.status == status
        assert isinstance(response.json()["errors"]["detail"], str)


def test_public_queries_need_no_token(sandbox: Sandbox) -> None:
    anonymous = client.Client(sandbox, None)
    images = anonymous.data("{ computePickleDockerImages { image tag default deprecated experimental } }")
    assert [image["image"] for image in images if image["default"]] == ["numerai_predict_py_3_12"]
    assert not any(image["deprecated"] for image in images)
    assert any(image["experimental"] for image in images)
    all_images = anonymous.data("{ computePickleDockerImages(deprecated: true) { image } }")
    assert len(all_images) == len(images) + 1
    assert [version["name"] for version in anonymous.data("{ computePickleDataVersions { name } }")] == [
        "v5.3",
        "v5.2",
        "v6.0",
    ]
    [current] = anonymous.data("{ rounds(number: 0, tournament: 8) { number openTime closeTime } }")
    assert current["number"] == 1000


def test_datasets_are_listed_and_downloaded_without_a_token(sandbox: Sandbox) -> None:
    anonymous = client.Client(sandbox, None)
    names = anonymous.data("{ listDatasets }")
    assert "v5.3/live.parquet" in names
    for name in names:
        url = anonymous.data("query($name: String!) { dataset(filename: $name) }", name=name)
        response = client.send("GET", url)
        assert (response.status, response.body) == (200, sandbox.publish_datasets()[name].read_bytes())
    assert "Unknown" in anonymous.refusal('{ dataset(filename: "v1/train.csv") }')


def test_the_stored_name_contains_the_local_name(ask: client.Client) -> None:
    first, second = (ask.authorise(filename="mlp-0123456789ab.pkl")[0] for _ in range(2))
    assert first.endswith("-mlp-0123456789ab.pkl")
    assert first != second
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
def test_no_upload_is_authorised_for_an_unsuitable_slot(
    sandbox: Sandbox, ask: client.Client, slot: str, message: str
) -> None:
    assert message in ask.refusal(client.AUTHORISE, filename="a.pkl", modelId=sandbox.state.get_slot(slot).id)


def test_a_token_without_the_scope_changes_nothing(sandbox: Sandbox) -> None:
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
def test_a_pickle_is_stored_registered_validated_and_assigned(sandbox: Sandbox, ask: client.Client) -> None:
    registered, status_words = ask.upload("fresh", b"the bytes"), sandbox.state.words
    assert registered["validationStatus"] == status_words.pending
    assert sandbox.read_pickle(registered["filename"]) == b"the bytes"
    pickle = ask.pickle(registered["id"])
    assert (pickle["validationStatus"], pickle["dockerImage"]) == (status_words.good, "numerai_predict_py_3_12:a78dedd")
    assert pickle["modelId"] == sandbox.state.get_slot("fresh").id
    [trigger] = pickle["triggers"]
    assert (trigger["status"], trigger["roundId"]) == (status_words.run_good, "1000")
    assert [status["status"] for status in trigger["statuses"]] == [status_words.run_pending, status_words.run_good]
    assert [
        line["message"]
        for line in ask.data("query($id: ID!) { triggerLogs(triggerId: $id) { message } }", id=trigger["id"])
    ]

    running = sandbox.state.get_slot("running").id
    ask.data(client.ASSIGN, modelId=running, pickleId=registered["id"])
    models = ask.data("{ account { models { id computePickleUpload { id } } } }")["models"]
    assert [model["id"] for model in models if model["computePickleUpload"]] == [running]
    assert ask.pickle(registered["id"])["assignedModelSlots"] == [running]
    assert ask.data(client.PICKLES, modelId=running) == [], (
        "modelId filters by the slot that the pickle was uploaded for"
    )
    assert ask.data(client.PICKLES, unassigned=True) == []
    ask.data(client.ASSIGN, modelId=running, pickleId=None)
    assert len(ask.data(client.PICKLES, unassigned=True)) == 1


def test_registering_depends_on_the_stored_name_not_the_bytes(sandbox: Sandbox, ask: client.Client) -> None:
    slot = sandbox.state.get_slot("fresh").id
    filename, _ = ask.authorise("fresh", "model.pkl")
    assert "not authorised" in ask.refusal(client.CREATE, filename="model.pkl", modelId=slot)
    assert "another model" in ask.refusal(
        client.CREATE, filename=filename, modelId=sandbox.state.get_slot("running").id
    )
    stranger = client.Client(sandbox, sandbox_state.STRANGERS)
    assert "not authorised" in stranger.refusal(
        client.CREATE, filename=filename, modelId=sandbox.state.get_slot("theirs").id
    )
    ids = {ask.data(client.CREATE, filename=filename, modelId=slot)["id"] for _ in range(2)}
    assert len(ids) == 2, "registering twice creates two records"
    for pickle_id in ids:
        pickle = ask.pickle(pickle_id)
        assert pickle["validationStatus"] == sandbox.state.words.bad
        assert pickle["triggers"][0]["statuses"][-1]["description"] == runs.NOT_STORED
        assert "not passed" in ask.refusal(client.ASSIGN, modelId=slot, pickleId=pickle_id)


def test_a_pickle_is_registered_for_the_requested_image_and_data(sandbox: Sandbox, ask: client.Client) -> None:
    filename, url = ask.authorise("fresh")
    client.send("PUT", url, b"x")
    image, slot = sandbox.state.get_image("numerai_predict_py_3_13"), sandbox.state.get_slot("fresh").id
    version = sandbox.state.data_versions[1]
    registered = ask.data(client.CREATE, filename=filename, modelId=slot, image=image.id, data=version.id)
    pickle = ask.pickle(registered["id"])
    assert (pickle["dockerImage"], pickle["dataVersion"]) == ("numerai_predict_py_3_13:03624a6", "v5.2")
    assert "Docker image not found" in ask.refusal(
        client.CREATE, filename=filename, modelId=slot, image=sandbox_state.create_id()
    )


def test_polling_by_id_returns_the_interim_words_in_turn(sandbox: Sandbox, ask: client.Client) -> None:
    sandbox.runs.runner = runs.ScriptedRunner(interim=("PENDING", "who knows"))
    sandbox.state.words.good = "SUCCESS"
    pickle = ask.upload()
    ask.data(client.PICKLES)  # a query without an id uses up no interim word
    assert "not passed" in ask.refusal(client.ASSIGN, modelId=sandbox.state.get_slot("fresh").id, pickleId=pickle["id"])
    assert [ask.pickle(pickle["id"])["validationStatus"] for _ in range(4)] == [
        "PENDING", "who knows", "SUCCESS", "SUCCESS",
    ]  # fmt: skip


def test_a_validation_that_never_settles(sandbox: Sandbox, ask: client.Client) -> None:
    sandbox.runs.runner = runs.ScriptedRunner(interim=("pending", "running"), settles=False)
    pickle = ask.upload()
    assert [ask.pickle(pickle["id"])["validationStatus"] for _ in range(4)] == [
        "pending",
        "running",
        "running",
        "running",
    ]


@words.each_vocabulary
def test_a_failed_validation_has_its_description_and_logs(sandbox: Sandbox, ask: client.Client) -> None:
    sandbox.runs.runner = runs.ScriptedRunner.failing(runs.SEGMENTATION_FAULT, "one", "two")
    pickle = ask.pickle(ask.upload()["id"])
    assert (pickle["validationStatus"], pickle["triggerStatus"]) == (
        sandbox.state.words.bad,
        sandbox.state.words.run_bad,
    )
    [trigger] = pickle["triggers"]
    assert trigger["statuses"][-1]["description"] == runs.SEGMENTATION_FAULT
    logs = ask.data("query($id: ID!) { triggerLogs(triggerId: $id) { timestamp message } }", id=trigger["id"])
    assert [line["message"] for line in logs] == ["one", "two"]
    assert sandbox.state.get_slot("fresh").latest_submission is None


@words.each_vocabulary
def test_a_run_may_have_only_the_pickles_trigger_status(sandbox: Sandbox, ask: client.Client) -> None:
    sandbox.state.runs_have_statuses = False
    pickle = ask.pickle(ask.upload()["id"])
    [trigger] = pickle["triggers"]
    assert (trigger["status"], trigger["statuses"]) == (None, [])
    assert pickle["triggerStatus"] == sandbox.state.words.run_good


@words.each_vocabulary
def test_without_an_open_round_a_valid_pickle_submits_nothing(sandbox: Sandbox, ask: client.Client) -> None:
    next_round = sandbox.state.close_round()
    pickle = ask.pickle(ask.upload()["id"])
    assert pickle["validationStatus"] == sandbox.state.words.good
    assert pickle["triggers"][0]["statuses"][-1]["description"] == runs.NO_ROUND
    assert sandbox.state.get_slot("fresh").latest_submission is None
    [current] = ask.data("{ rounds(number: 0) { number closeTime } }")
    assert current["number"] == next_round.number - 1
    assert max(round_["number"] for round_ in ask.data("{ rounds(tournament: 8) { number } }")) == next_round.number
    second_run = ask.data(
        "mutation($id: ID) { triggerComputePickleUpload(pickleId: $id) { triggers { statuses { description } } } }",
        id=pickle["id"],
    )
    assert second_run["triggers"][0]["statuses"][-1]["description"] == runs.NO_ROUND
    sandbox.state.no_round_fails = True
    assert ask.pickle(ask.upload()["id"])["validationStatus"] == sandbox.state.words.bad


@words.each_vocabulary
def test_registering_submits_for_the_open_round(sandbox: Sandbox, ask: client.Client) -> None:
    ask.upload("staked")
    [slot] = [
        model
        for model in ask.data("{ account { models { name v2Stake { latestValue } latestSubmissionV2 { status } } } }")[
            "models"
        ]
        if model["name"] == "staked"
    ]
    assert slot["v2Stake"]["latestValue"] == "12.5"
    assert slot["latestSubmissionV2"]["status"] == sandbox.state.words.run_good


def test_a_pickle_is_run_again_by_its_id_or_its_slot(sandbox: Sandbox, ask: client.Client) -> None:
    pickle, slot = ask.upload(), sandbox.state.get_slot("fresh").id
    run = "mutation($m: ID, $p: ID, $v: Boolean) { triggerComputePickleUpload(modelId: $m, pickleId: $p, triggerValidation: $v) { id } }"  # noqa: E501
    assert "no pickle" in ask.refusal(run, m=slot)
    ask.data(client.ASSIGN, modelId=slot, pickleId=pickle["id"])
    ask.data(run, m=slot)
    ask.data(run, p=pickle["id"], v=True)
    assert [trigger["type"] for trigger in ask.pickle(pickle["id"])["triggers"]] == ["manual", "manual", "upload"]


def test_a_pickle_is_downloaded_with_the_download_scope(sandbox: Sandbox, ask: client.Client) -> None:
    pickle, slot = ask.upload(content=b"mine"), sandbox.state.get_slot("fresh").id
    download = "query($m: ID!, $p: ID) { computePickleDownloadAuth(modelId: $m, pickleId: $p) { filename url } }"
    auth = ask.data(download, m=slot, p=pickle["id"])
    response = client.send("GET", auth["url"])
    assert (response.body, auth["filename"]) == (b"mine", pickle["filename"])
    assert "download_submission" in client.Client(sandbox, sandbox_state.READ_ONLY).refusal(download, m=slot)
    assert "no pickle" in ask.refusal(download, m=slot)
    assert "does not belong" in ask.refusal(download, m=sandbox.state.get_slot("running").id, p=pickle["id"])
    other = sandbox.state.add_pickle(sandbox.state.get_slot("theirs"), "theirs.pkl")
    assert "not found" in ask.refusal(download, m=slot, p=other.id)


@words.each_vocabulary
def test_labels_webhooks_and_diagnostics(sandbox: Sandbox, ask: client.Client) -> None:
    registered = ask.upload()
    ask.data('mutation($p: ID!) { updatePickleLabel(pickleId: $p, label: "mine") { id } }', p=registered["id"])
    pickle = ask.pickle(registered["id"])
    assert pickle["label"] == "mine"
    [diagnostics] = ask.data("query($id: ID) { diagnostics(id: $id) { status } }", id=pickle["diagnosticsId"])
    assert diagnostics["status"] == pickle["diagnosticsStatus"] == sandbox.state.words.diagnostics
    logs = ask.data("query($p: ID!) { diagnosticsTriggerLogs(pickleId: $p) { message } }", p=registered["id"])
    assert logs[0]["message"] == "this sandbox computes no diagnostics"
    slot = sandbox.state.get_slot("hooked")
    ask.data("mutation($m: String) { setSubmissionWebhook(modelId: $m, newSubmissionWebhook: null) }", m=slot.id)
    ask.upload("hooked")


def test_names_of_new_slots(sandbox: Sandbox, ask: client.Client) -> None:
    free = "query($n: String!) { modelNameAvailable(name: $n, tournament: 8) }"
    add = "mutation($n: String!) { addModel(name: $n, tournament: 8) { id name tournament } }"
    assert ask.data(free, n="theirs") is False, "names are unique across accounts"
    assert ask.data(free, n="another") is True
    assert ask.data(add, n="another")["tournament"] == 8
    assert "taken" in ask.refusal(add, n="another")
    for name in ("No_Capitals", "ab", "a" * 21, "a-b"):
        assert "3 to 20" in ask.refusal(add, n=name)
    sandbox.state.accounts[0].max_model_slots = 6  # archived slots do not count
    assert "no model slots left" in ask.refusal(add, n="one_more")


def test_the_clock_can_be_wrong(sandbox: Sandbox, ask: client.Client) -> None:
    sandbox.state.clock_offset = dt.timedelta(minutes=15)
    server_time = email.utils.parsedate_to_datetime(ask.post("{ listDatasets }").headers["Date"])
    ahead = server_time - dt.datetime.now(dt.UTC)
    assert dt.timedelta(minutes=14) < ahead < dt.timedelta(minutes=16)
