"""What the commands tell a person who has nothing but the terminal: ids, reasons, the mode, what is wrong."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import sqlite3
import subprocess
import sysconfig
from collections.abc import Callable
from pathlib import Path

import pytest

from domain.signatures import callback_secret, event_public_key
from parsegate.sample_documents import SAMPLES, sample_path
from tests.noon import noon_zone
from tests.processes import Program, environment_without_settings

Start = Callable[..., Program]
UUID_PATTERN = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
SECRET_KEY = "0123456789abcdef" * 4
LETTER, GREEK, BROKEN = (str(sample_path(SAMPLES[number])) for number in (0, 2, 6))
EIGHTY = {"COLUMNS": "80"}


def ended(program: Program, status: int = 0) -> str:
    """What a program said that ended as it should have."""
    assert program.wait() == status, program.output
    assert "Traceback" not in program.output
    return program.output


def test_the_walk_through_of_the_readme(start_program: Start) -> None:
    """Each command gives what the next one needs, in 80 columns."""
    up = start_program("up", "--simulator", "--port", "0")
    up.wait_for("ready on")
    assert "mode real (default): documents are parsed by the simulator\n" in up.output
    followed = ended(start_program("submit", LETTER, BROKEN, "--wait", environment=EIGHTY), 1)
    assert all(len(line) <= 80 for line in followed.splitlines() if "samples/" not in line), followed
    assert "broken-invoice.pdf: The PDF is broken and can't be opened. (PDF_IS_BROKEN)" in followed
    [job_id] = re.findall(rf"^({UUID_PATTERN})  completed  .*policy-letter.pdf$", followed, re.MULTILINE)
    assert "HH-204-7781" in ended(start_program("result", job_id))
    shown = ended(start_program("jobs", "show", job_id))
    assert re.search(r"^  [-0-9]{10} [:0-9]{8}  job +received, by admin of the data folder: ordered$", shown, re.M)
    assert re.search(r"^  [-0-9]{10} [:0-9]{8}  job +ingesting to completed, by ", shown, re.M)
    said = json.loads(ended(start_program("jobs", "show", job_id, "--json")))
    assert said["parsed_pages"] == 1
    assert said["history"][0]["before"] is None
    assert said["history"][-1]["after"] == "completed"
    assert ended(start_program("mode", "show")) == "real (default)\n"


def test_a_submit_that_waits_says_what_for_and_how_to_go_on(start_program: Start) -> None:
    """Six credits a day: the letter takes three, and the other document's six must wait for tomorrow."""
    settings = {"PARSEGATE_DAILY_BUDGET_USD": "0.0075", "PARSEGATE_BUDGET_TIMEZONE": noon_zone()}
    start_program("up", "--simulator", "--port", "0", environment=settings).wait_for("ready on")
    ended(start_program("submit", LETTER, "--wait"))
    waiting = start_program("submit", GREEK, "--wait")
    said = waiting.wait_for(r"^greek-and-cyrillic\.pdf: deferred: .*budget.*$")[0]
    waiting.process.send_signal(signal.SIGINT)
    output = ended(waiting, 130)
    assert output.count(said) == 1
    goes_on = re.findall(rf"^the job goes on: parsegate jobs show {UUID_PATTERN}  \((.*)\)$", output, re.MULTILINE)
    assert goes_on == ["greek-and-cyrillic.pdf"]


def test_commands_beside_a_running_up_take_nothing_from_it(start_program: Start) -> None:
    """`doctor` and `token` open the same database file: what is acknowledged afterwards outlives even a SIGKILL."""
    up = start_program("up", "--simulator", "--port", "0")
    up.wait_for("ready on")
    ended(start_program("submit", LETTER, "--wait"))
    doctor = ended(start_program("doctor"))
    assert "mode: ok, real (default), as 'parsegate up' here says\n" in doctor
    assert re.search(r"^provider: ok, 'parsegate up' here sends to http://127\.0\.0\.1:\d+$", doctor, re.MULTILINE)
    token = ended(start_program("token", "create", "--name", "uploads", "--scope", "submit")).strip()
    assert "completed" in ended(start_program("submit", GREEK, "--wait", environment={"PARSEGATE_TOKEN": token}))
    assert "$77.0000" in ended(start_program("budget", "set", "77"))
    up.kill()
    start_program("up", "--simulator", "--port", "0").wait_for("ready on")
    assert "$77.0000" in ended(start_program("budget", "show"))


def test_what_the_local_parser_stood_in_for_is_done_again_with_its_quote(start_program: Start) -> None:
    start_program("up", "--simulator", "--port", "0").wait_for("ready on")
    followed = ended(start_program("submit", LETTER, "--mode", "mock", "--wait"))
    [job_id] = re.findall(rf"^({UUID_PATTERN})  completed  ", followed, re.MULTILINE)
    assert json.loads(ended(start_program("jobs", "show", job_id, "--json")))["provenance"] == "mock"
    quote = "1 document, 1 page: at most 3 credits, $0.00375, fits today's budget\n"
    assert ended(start_program("jobs", "redo", "--provenance", "mock", "--dry-run")) == quote
    assert ended(start_program("jobs", "redo", "--provenance", "mock", "--yes")) == f"{quote}1 ordered\n"
    nothing = "no result of the local parser is left to be done again\n"
    assert ended(start_program("jobs", "redo", "--provenance", "mock")) == nothing


def test_a_server_that_goes_away_leaves_the_ids(start_program: Start) -> None:
    simulator = start_program("simulator", "--port", "0", "--latency", "600").ready_url()
    real = {
        "LLAMA_CLOUD_API_KEY": "llx-test",
        "LLAMA_CLOUD_BASE_URL": simulator,
        "PARSEGATE_DAILY_BUDGET_USD": "1",
    }
    up = start_program("up", "--port", "0", environment=real)
    up.wait_for("ready on")
    assert f"mode real (default): documents are parsed by {simulator}\n" in up.output
    waiting = start_program("submit", LETTER, BROKEN, "--wait")
    up.wait_for(r'(?s)("method": "POST", "route": "/v1/documents".*){2}"method": "GET", "route": "/v1/documents')
    up.kill()
    output = ended(waiting, 1)
    goes_on = re.findall(rf"^the job goes on: parsegate jobs show {UUID_PATTERN}  \((.*)\)$", output, re.MULTILINE)
    assert goes_on == ["policy-letter.pdf", "broken-invoice.pdf"]
    assert output.splitlines()[-1].startswith("parsegate: no Parsegate answers at ")


def test_tokens_are_a_table(start_program: Start) -> None:
    ended(start_program("db", "migrate"))
    assert ended(start_program("token", "list")) == "there is no token yet\n"
    ended(start_program("token", "create", "--name", " uploads ", "--scope", "submit"))
    ended(start_program("token", "create", "--name", "old", "--scope", "read"))
    ended(start_program("token", "revoke", "--name", "old"))
    for number, said in enumerate(("90d", "12h", "2099-01-31T00:00:00Z")):
        ended(start_program("token", "create", "--name", f"brief-{number}", "--scope", "read", "--expires", said))
    for number, said in enumerate(("90", "0d", "tomorrow", "9999999d", "2099-01-31")):
        refused = start_program("token", "create", "--name", f"bad-{number}", "--scope", "read", "--expires", said)
        assert "--expires: write 90d" in ended(refused, 2)
    past = start_program("token", "create", "--name", "past", "--scope", "read", "--expires", "2020-01-31T00:00:00Z")
    assert "has expired already" in ended(past, 1)
    rows = [line.split() for line in ended(start_program("token", "list", environment=EIGHTY)).splitlines()]
    assert ["name", "scope", "tenant", "made", "used", "state"] in rows
    [uploads] = [row for row in rows if row[:1] == ["uploads"]]
    assert (uploads[1:3], uploads[-2:]) == (["submit", "default"], ["in", "force"])
    [old] = [row for row in rows if row[:1] == ["old"]]
    assert old[-2] == "revoked"
    assert [row[-2:] for row in rows if row[:1] == ["brief-2"]] == [["until", "2099-01-31"]]
    assert uploads[-3] == "never"


def test_a_secret_of_a_job_that_is_not_known_is_given_with_a_warning(start_program: Start) -> None:
    ended(start_program("db", "migrate"))
    job_id = "0b9f6c1e-4f3d-4b6e-9d0e-2f7a54d5c001"
    output = ended(start_program("secrets", "webhook", job_id, environment={"PARSEGATE_SECRET_KEY": SECRET_KEY}))
    warning, secret = output.splitlines()
    assert warning == f"parsegate: there is no job {job_id} in this database"
    assert re.fullmatch("[0-9a-f]{64}", secret)


def test_jobs_are_listed_stopped_and_ordered_again(start_program: Start) -> None:
    start_program("up", "--simulator", "--port", "0").wait_for("ready on")
    assert ended(start_program("jobs", "list")) == "no job fits\n"
    ended(start_program("limits", "set", "parse", "1/600"))
    ordered = json.loads(ended(start_program("submit", LETTER, "--wait", "--json")))
    done, waiting = ordered[0]["job_id"], []
    for path in (GREEK, BROKEN):
        waiting.append(json.loads(ended(start_program("submit", path, "--json")))[0]["job_id"])
    rows = ended(start_program("jobs", "list", "--limit", "2", environment=EIGHTY))
    assert "policy-letter.pdf" not in rows
    cursor = re.findall(r"^there are more: add --cursor (\S+)$", rows, re.MULTILINE)[0]
    assert re.search(rf"{done} +completed +real +3 ", ended(start_program("jobs", "list", "--cursor", cursor)))
    found = json.loads(ended(start_program("jobs", "list", "--search", "LETTER", "--state", "completed", "--json")))
    assert [job["job_id"] for job in found["items"]] == [done]
    refused = ended(start_program("jobs", "cancel", waiting[0], done), 1).splitlines()
    assert refused[0] == f"{waiting[0]}  cancelled"
    assert "has ended as completed: there is nothing to cancel" in refused[1]
    said = json.loads(ended(start_program("jobs", "cancel", *waiting, "--json")))
    assert [(job["job_id"], job["state"]) for job in said] == [(job_id, "cancelled") for job_id in waiting]
    again = ended(start_program("jobs", "retry", *waiting)).splitlines()
    assert [line.split()[1:] for line in again] == [["received", "again", job_id] for job_id in waiting]
    assert "there is nothing to retry" in ended(start_program("jobs", "retry", done), 1)


def test_a_key_is_rotated_in_the_data_folder(start_program: Start, tmp_path: Path) -> None:
    """What the older key signed counts until the end; the running program is not disturbed before it is restarted."""
    up = start_program("up", "--simulator", "--port", "0")
    up.wait_for("ready on")
    path = tmp_path / "parsegate-data" / "secret-key"
    (old,), told = path.read_text().split(), json.loads(ended(start_program("secrets", "callback", "--json")))
    assert "nothing to finish" in ended(start_program("secrets", "rotate", "--finish"), 1)
    said = ended(start_program("secrets", "rotate"))
    assert "a new key, first of 2" in said
    assert "restart 'parsegate up'" in said
    new, kept = path.read_text().strip().split(",")
    assert (kept, len(new), path.stat().st_mode & 0o777) == (old, 64, 0o600)
    assert old not in said
    assert new not in said
    now = json.loads(ended(start_program("secrets", "callback", "--json")))
    assert now["secret"] != told["secret"]
    assert now["public_key"] != told["public_key"]
    assert json.loads(ended(start_program("secrets", "callback", "--tenant", "acme", "--json"))) == {
        "tenant": "acme",
        "secret": callback_secret(bytes.fromhex(new), "acme"),
        "public_key": event_public_key(bytes.fromhex(new)),
    }
    up.stop()
    again = start_program("up", "--simulator", "--port", "0")
    again.wait_for("ready on")
    assert "(2 in force)" in ended(start_program("doctor", environment={"COLUMNS": "200"}))
    ended(start_program("secrets", "rotate", "--finish"))
    assert path.read_text().split() == [new]


def test_a_key_that_is_a_setting_is_printed_and_is_the_persons_to_set(start_program: Start) -> None:
    settings = {"PARSEGATE_SECRET_KEY": SECRET_KEY}
    lines = ended(start_program("secrets", "rotate", environment=settings)).splitlines()
    new, old = lines[0].split(",")
    assert (old, bool(re.fullmatch("[0-9a-f]{64}", new)), new != old) == (SECRET_KEY, True, True)
    steps = [line for line in lines[1:] if re.match(r"\d\. ", line)]
    assert steps[1].startswith("2. restart every gateway")
    assert "workers and the clock" in steps[2]
    both = {"PARSEGATE_SECRET_KEY": lines[0]}
    assert ended(start_program("secrets", "rotate", "--finish", environment=both)).splitlines()[0] == new
    three = {"PARSEGATE_SECRET_KEY": f"{lines[0]},{'0' * 64}"}
    assert "--finish' first" in ended(start_program("secrets", "rotate", environment=three), 1)


def test_doctor_is_content_with_what_works(start_program: Start, amqp_url: str, postgres_url: str) -> None:
    settings = {
        "PARSEGATE_AMQP_URL": amqp_url,
        "PARSEGATE_DATABASE_URL": postgres_url,
        "PARSEGATE_SECRET_KEY": SECRET_KEY,
        "LLAMA_CLOUD_API_KEY": "llx-test",
        "LLAMA_CLOUD_BASE_URL": start_program("simulator", "--port", "0").ready_url(),
        "PARSEGATE_DAILY_BUDGET_USD": "1",
    }
    ended(start_program("db", "migrate", environment=settings))
    said = json.loads(ended(start_program("doctor", "--json", environment=settings)))
    checks = {check["name"]: check["message"] for check in said["checks"]}
    assert list(checks) == [*("settings", "secret key", "database", "ledger", "mode", "store", "RabbitMQ", "provider")]
    assert "lets us in" in checks["RabbitMQ"]
    assert "accepts the key" in checks["provider"]
    assert "not used" in said_of(start_program("doctor", environment=settings | {"PARSEGATE_MODE": "mock"}), "provider")


def said_of(doctor: Program, name: str) -> str:
    """What the doctor, which was content, said of one thing."""
    [line] = [line for line in ended(doctor).splitlines() if line.startswith(f"{name}: ok, ")]
    return line


def test_doctor_recomputes_the_ledger(start_program: Start, tmp_path: Path) -> None:
    up = start_program("up", "--simulator", "--port", "0")
    up.wait_for("ready on")
    ended(start_program("submit", LETTER, "--wait"))
    up.stop()
    assert "ledger: ok" in ended(start_program("doctor"))
    with contextlib.closing(sqlite3.connect(tmp_path / "parsegate-data" / "parsegate.db")) as books, books:
        books.execute("UPDATE budget_window SET spent = spent + 1")
    said = ended(start_program("doctor"), 1)
    assert re.search(r"^ledger: WRONG, the balances of global/day in \S+ are not the sum of its entries", said, re.M)


def test_doctor_finds_all_that_is_wrong_and_leaves_nothing(start_program: Start, tmp_path: Path) -> None:
    start_program("up", "--port", "0").wait_for("ready on")
    before = {file for file in tmp_path.rglob("*") if "store" in file.parts}
    ended(start_program("doctor"))
    assert {file for file in tmp_path.rglob("*") if "store" in file.parts} == before
    settings = {
        "PARSEGATE_AMQP_URL": "amqp://nobody:hush@127.0.0.1:9/v",
        "PARSEGATE_PARSE_LIMIT": "many",
        "PARSEGATE_UPLOAD_LIMIT": "more",
        "PARSEGATE_MOED": "mock",
        "PARSEGATE_DAILY_BUDGET_USD": "1",
        "LLAMA_CLOUD_API_KEY": "llx-wrong",
        "LLAMA_CLOUD_BASE_URL": start_program("simulator", "--port", "0").ready_url(),
    }
    output = ended(start_program("doctor", environment=settings), 1)
    wrong = "\n".join(line for line in output.splitlines() if ": WRONG, " in line)
    for words in (
        "PARSEGATE_PARSE_LIMIT: write COUNT/SECONDS",
        "PARSEGATE_UPLOAD_LIMIT: write COUNT/SECONDS",
        "did you mean PARSEGATE_MODE?",
        "RabbitMQ: WRONG, ",
        "set LLAMA_CLOUD_API_KEY to a key that is in force",
    ):
        assert words in wrong
    assert "PARSEGATE_AMQP_URL=amqp://nobody:********@127.0.0.1:9/v" in output
    assert "hush" not in output
    assert "llx-wrong" not in output


@pytest.mark.parametrize("command", [("gateway", "--port", "0"), ("worker",), ("clock",)], ids=lambda words: words[0])
def test_every_process_says_who_parses(
    start_program: Start, command: tuple[str, ...], amqp_url: str, postgres_url: str
) -> None:
    settings = {
        "PARSEGATE_AMQP_URL": amqp_url,
        "PARSEGATE_DATABASE_URL": postgres_url,
        "PARSEGATE_SECRET_KEY": SECRET_KEY,
    }
    ended(start_program("db", "migrate", environment=settings))
    start_program(*command, environment=settings).wait_for(
        r"^mode mock \(default, without LLAMA_CLOUD_API_KEY\): documents are parsed here, and nothing is sent or paid$"
    )


def test_a_switch_that_holds_is_said_at_the_start(start_program: Start) -> None:
    up = start_program("up", "--simulator", "--port", "0")
    up.wait_for("ready on")
    ended(start_program("mode", "set", "mock"))
    up.stop()
    again = start_program("up", "--simulator", "--port", "0")
    again.wait_for(r"^mode mock \(switched by admin of the data folder at .* UTC\): documents are parsed here")


def test_output_that_nobody_reads_or_that_has_no_room(tmp_path: Path) -> None:
    parsegate = Path(sysconfig.get_path("scripts")) / "parsegate"

    def shell(command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-c", command],
            cwd=tmp_path,
            env=environment_without_settings(),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    cut = shell(f"{parsegate} demo | head -1")
    assert (len(cut.stdout.splitlines()), cut.stderr) == (1, "")
    full = shell(f"{parsegate} doctor >/dev/full")
    assert full.returncode == 1
    assert full.stderr == "parsegate: what there is to say can't be written: No space left on device\n"
