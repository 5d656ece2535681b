"""The server as its clients see it: OpenAI's own client, plain requests, and those who mean harm; against a real process."""

import base64
import hashlib
import http.client
import io
import json
import shutil
import struct
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from elsewhere import Place
from PIL import Image
from served import Served, add_texts, serve

from karat.app.costs import Prices, declare
from karat.store.store import Store

PRICE = 0.5


def grey_picture(*, clear: bool = False) -> bytes:
    """Give a grey picture, or a mask of its size whose lower half is clear."""
    file, picture = io.BytesIO(), Image.new("RGBA" if clear else "L", (8, 8), (0, 0, 0, 255) if clear else 99)
    if clear:
        picture.paste((0, 0, 0, 0), (0, 4, 8, 8))
    picture.save(file, "PNG")
    return file.getvalue()


GREY, HALF = grey_picture(), grey_picture(clear=True)
ASK: list[Any] = [{"role": "user", "content": "Where is a red?"}]


@pytest.fixture(scope="module")
def served(chain: Path, place: Place, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("served")
    shutil.copytree(chain / "store", folder / "store", symlinks=True)
    place.carry(folder / "store")
    add_texts(folder)
    store = Store.open(folder / "store")
    declare(store, Prices(device_hour=3600 * PRICE, currency="EUR"))
    store.close()
    server = serve(folder / "store")
    yield server
    assert server.end() == 0
    assert "Traceback" not in (folder / "store" / "server.log").read_text()


@pytest.fixture
def ai(served: Served) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(api_key=served.key, base_url=f"{served.url}/v1", max_retries=0, timeout=60) as client:
        yield client


@pytest.fixture
def web(served: Served) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=served.url, headers={"authorization": f"Bearer {served.key}"}, timeout=60) as client:
        yield client


def key_for(web: httpx.Client, *scopes: str, **limits: Any) -> dict[str, str]:
    made = web.post("/api/keys", json={"name": "test", "scopes": scopes or ["generate"], **limits})
    assert made.status_code == 201, made.text
    return {"authorization": f"Bearer {made.json()['secret']}"}


def ended(web: httpx.Client, id: str, seconds: float = 30) -> dict[str, Any]:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        job = web.get(f"/api/jobs/{id}").json()["job"]
        if job["state"] in ("done", "failed", "cancelled"):
            return dict(job)
        time.sleep(0.05)
    raise AssertionError(job)


def shape_of(answer: httpx.Response) -> dict[str, Any]:
    """Give an error, which has OpenAI's shape and nothing else."""
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert answer.headers["x-request-id"]
    return dict(error)


# The process


def test_a_server_takes_no_torch_and_little_memory(served: Served) -> None:
    maps = Path(f"/proc/{served.process.pid}/maps").read_text()
    assert "libtorch" not in maps
    status = Path(f"/proc/{served.process.pid}/status").read_text()
    resident = int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1])
    assert resident < 300_000, "KiB"
    code = "import sys, karat.faces.http.serving; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_health_and_figures(web: httpx.Client, ai: openai.OpenAI) -> None:
    assert httpx.get(f"{web.base_url}/health/live").json() == {"status": "live"}
    assert web.get("/health/ready").status_code == 200
    ai.images.generate(model="shapes:live", prompt="", extra_body={"steps": 2})
    figures = web.get("/metrics").text
    for name in ("karat_queue", "karat_wait_seconds", "karat_service_seconds", "karat_batch", "karat_pictures_total", "karat_memory_bytes"):
        assert name in figures
    assert httpx.get(f"{web.base_url}/metrics").status_code == 401


# OpenAI's client


def test_models_are_releases_by_alias_and_id(ai: openai.OpenAI) -> None:
    names = {model.id for model in ai.models.list()}
    assert {"shapes:live", "plain:live", "talk:live"} <= names
    shapes = ai.models.retrieve("shapes:live")
    assert (shapes.object, (shapes.model_extra or {})["makes"]) == ("model", "image")
    assert (shapes.model_extra or {})["release"] in names


def test_pictures_are_those_of_their_seed(ai: openai.OpenAI, web: httpx.Client) -> None:
    asked = {"model": "shapes:live", "prompt": "square", "extra_body": {"seed": 3, "steps": 4, "guidance": 1.5}}
    two = ai.images.generate(n=2, size="8x8", response_format="b64_json", **asked).data or []
    again = ai.images.generate(n=1, response_format="url", **asked).data or []
    files = [base64.b64decode(picture.b64_json or "") for picture in two]
    assert all(file.startswith(b"\x89PNG") for file in files)
    extra = two[0].model_extra or {}
    assert extra["seed"] == 3
    assert extra["originality"]["nearest"]
    assert web.get(again[0].url or "").content == files[0]
    line = web.get(f"/api/assets/{extra['asset_id']}").json()
    assert line["request"]["given"] == {"label": "square"}
    drawn = [ai.images.generate(model="shapes:live", prompt="").data or [] for _ in range(2)]
    assert drawn[0][0].b64_json != drawn[1][0].b64_json, "without a seed, another one each time"


def test_pictures_are_seen_on_their_way(ai: openai.OpenAI) -> None:
    asked = {"model": "shapes:live", "prompt": "lying", "extra_body": {"steps": 64, "seed": 5}}
    events = list(ai.images.generate(stream=True, partial_images=2, **asked))
    kinds = [event.type for event in events]
    assert kinds == ["image_generation.partial_image"] * 2 + ["image_generation.completed"]
    whole = ai.images.generate(response_format="b64_json", **asked).data or []
    assert events[-1].b64_json == whole[0].b64_json


def test_pictures_are_made_anew_where_the_mask_is_clear(ai: openai.OpenAI, web: httpx.Client) -> None:
    told: dict[str, Any] = {"seed": 4, "steps": 4, "given": {"label": "square"}, "sampling": {"solver": "euler"}}
    asked: dict[str, Any] = {"model": "shapes:live", "image": GREY, "mask": HALF, "prompt": "", "extra_body": told}
    two = ai.images.edit(n=2, **asked).data or []
    files = [base64.b64decode(picture.b64_json or "") for picture in two]
    pictures = [Image.open(io.BytesIO(file)) for file in files]
    assert [{picture.getpixel((x, y)) for x in range(8) for y in range(4)} for picture in pictures] == [{99}, {99}]
    assert pictures[0].crop((0, 4, 8, 8)).tobytes() != pictures[1].crop((0, 4, 8, 8)).tobytes()
    line = web.get(f"/api/assets/{(two[0].model_extra or {})['asset_id']}").json()["request"]
    assert (line["strength"], line["given"], line["sampling"]) == (1.0, {"label": "square"}, {"solver": "euler", "steps": 4})
    assert (line["picture"], line["mask"]) == tuple(hashlib.sha256(file).hexdigest() for file in (GREY, HALF))
    events = list(ai.images.edit(stream=True, partial_images=1, **asked))
    assert [event.type for event in events] == ["image_edit.partial_image", "image_edit.completed"]
    assert base64.b64decode(events[-1].b64_json) == files[0]


def test_a_picture_is_varied_the_same_whatever_is_made_beside_it(web: httpx.Client, ai: openai.OpenAI) -> None:
    def varied(strength: float, made: dict[float, str]) -> None:
        told = {"model": "shapes:live", "seed": "1", "strength": str(strength), "steps": "8"}
        answer = web.post("/v1/images/variations", files={"image": GREY}, data=told)
        made[strength] = answer.json()["data"][0]["b64_json"]

    alone: dict[float, str] = {}
    together: dict[float, str] = {}
    for strength in (0.3, 0.6):
        varied(strength, alone)
    threads = [threading.Thread(target=varied, args=(strength, together)) for strength in (0.3, 0.6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert together == alone
    assert len(set(alone.values())) == 2
    usual = ai.images.edit(model="shapes:live", image=GREY, prompt="", extra_body={"seed": 1, "steps": 8}).data or []
    assert usual[0].b64_json == alone[0.6], "without a mask, the whole is varied"


def test_pictures_lie_between_seeds_and_along_directions(ai: openai.OpenAI, web: httpx.Client) -> None:
    def made(n: int = 1, **told: Any) -> list[str | None]:
        answer = ai.images.generate(model="shapes:live", prompt="", n=n, extra_body={"steps": 2, **told})
        return [picture.b64_json for picture in answer.data or []]

    way, ends = made(3, walk=[3, 4]), [made(seed=seed)[0] for seed in (3, 4)]
    assert [Image.open(io.BytesIO(base64.b64decode(file or ""))).tobytes() for file in (way[0], way[2])] == [
        Image.open(io.BytesIO(base64.b64decode(file or ""))).tobytes() for file in ends
    ]
    assert made(seed=3, moves=[0.0, 3.0]) != made(seed=3, moves=[0.0])
    with pytest.raises(openai.BadRequestError, match="at least 2"):
        made(1, walk=[3, 4])
    count = len(web.get("/api/assets", params={"limit": 200}).json()["data"])
    shown = {"kind": "generate", "spec": {"release": "shapes:live", "request": {"moves": [1.0], "sampling": {"steps": 2}}, "keeps": False}}
    job = ended(web, web.post("/api/jobs", json=shown).json()["job"]["id"])
    assert base64.b64decode(job["result"]["pictures"][0]["file"]).startswith(b"\x89PNG")
    assert len(web.get("/api/assets", params={"limit": 200}).json()["data"]) == count, "what is only shown is no asset"


def test_answers_stream_as_they_are(ai: openai.OpenAI) -> None:
    asked: dict[str, Any] = {"model": "talk:live", "messages": ASK, "seed": 3, "max_completion_tokens": 12}
    whole = ai.chat.completions.create(n=2, logprobs=True, top_logprobs=2, **asked)
    assert [choice.index for choice in whole.choices] == [0, 1]
    assert {choice.finish_reason for choice in whole.choices} <= {"stop", "length"}
    assert whole.usage is not None
    assert whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens
    content = (whole.choices[0].logprobs and whole.choices[0].logprobs.content) or []
    assert content
    assert all(token.logprob <= 0 and len(token.top_logprobs) == 2 for token in content)
    spelt = bytes(byte for token in content for byte in token.bytes or []).decode(errors="replace")
    assert spelt == whole.choices[0].message.content
    chunks = list(ai.chat.completions.create(stream=True, stream_options={"include_usage": True}, **asked))
    assert chunks[0].choices[0].delta.role == "assistant"
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == whole.choices[0].message.content
    assert chunks[-2].choices[0].finish_reason == whole.choices[0].finish_reason
    assert chunks[-1].usage is not None
    assert all(chunk.usage is None for chunk in chunks[:-1])


def test_answers_are_what_a_schema_says(ai: openai.OpenAI) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"], "additionalProperties": False}
    bound: Any = {"type": "json_schema", "json_schema": {"name": "number", "schema": schema}}
    said = ai.chat.completions.create(model="talk:live", messages=ASK, response_format=bound)
    assert isinstance(json.loads(said.choices[0].message.content or "")["n"], int)


def test_texts_go_on(ai: openai.OpenAI) -> None:
    asked: dict[str, Any] = {"model": "plain:live", "max_tokens": 8, "seed": 1}
    four = ai.completions.create(prompt=["a red", "a blue"], n=2, echo=True, logprobs=1, **asked)
    assert [choice.text[:5] for choice in four.choices] == ["a red", "a red", "a blu", "a blu"]
    assert four.choices[0].logprobs is not None
    known = four.choices[0].model_extra or {}
    assert known["originality"]["longest"] <= 8
    alone = ai.completions.create(prompt="a red", **asked).choices[0].text
    assert "a red" + alone == four.choices[0].text, "whatever is written beside it"
    assert "".join(chunk.choices[0].text for chunk in ai.completions.create(prompt="a red", stream=True, **asked)) == alone
    stop = alone[3:5]
    assert ai.completions.create(prompt="a red", stop=stop, **asked).choices[0].text == alone[: alone.index(stop)]
    best = ai.completions.create(prompt="a red", best_of=3, **asked)
    assert best.usage is not None
    assert best.usage.prompt_tokens > 0


def test_embeddings_in_both_forms(ai: openai.OpenAI) -> None:
    packed = ai.embeddings.create(model="plain:live", input=["a red fox", "a red cat", "a red fox"]).data
    numbers = ai.embeddings.create(model="plain:live", input="a red fox", encoding_format="float").data
    assert packed[0].embedding == packed[2].embedding == numbers[0].embedding
    assert packed[0].embedding != packed[1].embedding
    assert sum(value**2 for value in numbers[0].embedding) == pytest.approx(1, abs=1e-5)
    raw = ai.embeddings.with_raw_response.create(model="plain:live", input="a red fox", encoding_format="base64")
    vector = json.loads(raw.text)["data"][0]["embedding"]
    count = len(base64.b64decode(vector)) // 4
    assert list(struct.unpack(f"<{count}f", base64.b64decode(vector))) == numbers[0].embedding


REFUSED: dict[str, tuple[type[openai.APIStatusError], Callable[[openai.OpenAI], Any], str]] = {
    "no model": (openai.NotFoundError, lambda ai: ai.images.generate(model="nothing", prompt=""), "no release called"),
    "no such id": (openai.NotFoundError, lambda ai: ai.models.retrieve("nothing"), "no release called"),
    "a path": (openai.NotFoundError, lambda ai: ai.images.generate(model="/etc/passwd", prompt=""), "no release called"),
    "no label": (openai.BadRequestError, lambda ai: ai.images.generate(model="shapes:live", prompt="unicorn"), "lying, square"),
    "no size": (openai.BadRequestError, lambda ai: ai.images.generate(model="shapes:live", prompt="", size="9x9"), "8x8"),
    "no option": (
        openai.BadRequestError,
        lambda ai: ai.images.generate(model="shapes:live", prompt="", extra_body={"sampling": {"foo": 1}}),
        "no foo",
    ),
    "too many": (openai.UnprocessableEntityError, lambda ai: ai.images.generate(model="shapes:live", prompt="", n=999), "n: "),
    "no text": (openai.BadRequestError, lambda ai: ai.chat.completions.create(model="shapes:live", messages=ASK), "writes no texts"),
    "no talk": (openai.BadRequestError, lambda ai: ai.chat.completions.create(model="plain:live", messages=ASK), "does not converse"),
    "long": (openai.BadRequestError, lambda ai: ai.completions.create(model="plain:live", prompt="x" * 900), "tokens long"),
    "no vector": (openai.BadRequestError, lambda ai: ai.embeddings.create(model="shapes:live", input="x"), "reads no texts"),
    "no edit of texts": (openai.BadRequestError, lambda ai: ai.images.edit(model="talk:live", image=b"x", prompt="x"), "no pictures"),
    "no such picture": (openai.BadRequestError, lambda ai: ai.images.edit(model="shapes:live", image=b"x", prompt=""), "no picture that"),
    "no such strength": (
        openai.UnprocessableEntityError,
        lambda ai: ai.images.edit(model="shapes:live", image=GREY, prompt="", extra_body={"strength": 2}),
        "strength: ",
    ),
    "two pictures": (openai.BadRequestError, lambda ai: ai.images.edit(model="shapes:live", image=[GREY, GREY], prompt=""), "at a time"),
    "opaque mask": (
        openai.BadRequestError,
        lambda ai: ai.images.edit(model="shapes:live", image=GREY, mask=GREY, prompt=""),
        "no transparency",
    ),
    "no speech": (openai.BadRequestError, lambda ai: ai.audio.speech.create(model="m", voice="v", input="x"), "no codec for sound"),
    "no ears": (openai.BadRequestError, lambda ai: ai.audio.transcriptions.create(model="m", file=b"x"), "no codec for sound"),
}


@pytest.mark.parametrize("name", list(REFUSED))
def test_what_cannot_be_is_refused_with_words(ai: openai.OpenAI, name: str) -> None:
    kind, call, words = REFUSED[name]
    with pytest.raises(kind, match=words) as told:
        call(ai)
    assert told.value.request_id
    assert isinstance(told.value.body, dict)
    assert {"message", "type", "param", "code"} == set(told.value.body)


def test_an_error_in_a_stream_is_raised(ai: openai.OpenAI) -> None:
    with pytest.raises(openai.APIError, match="tokens long"):
        list(ai.completions.create(model="plain:live", prompt="x" * 900, stream=True))


def test_what_openai_itself_gave_up_says_what_is_missing(web: httpx.Client) -> None:
    asked = [("POST", ""), ("GET", ""), ("GET", "/v"), ("GET", "/v/content"), ("DELETE", "/v")]
    assert all("no codec" in shape_of(web.request(method, f"/v1/videos{path}"))["message"].lower() for method, path in asked)


# Karat's own


def test_errors_have_one_shape(web: httpx.Client) -> None:
    assert shape_of(web.get("/nowhere"))["type"] == "not_found_error"
    assert web.delete("/v1/models").status_code == 405
    assert "cannot be asked" in shape_of(web.delete("/v1/models"))["message"]
    wrong = web.post("/v1/chat/completions", content=b"{", headers={"content-type": "application/json"})
    assert (wrong.status_code, bool(shape_of(wrong))) == (422, True)
    half = web.post(
        "/v1/completions", content=b'{"model": "plain:live", "prompt": "\\ud800"}', headers={"content-type": "application/json"}
    )
    assert (half.status_code, "half characters" in shape_of(half)["message"]) == (400, True)
    assert web.get("/api/jobs/nothing").status_code == 404


def test_uploads_become_data(web: httpx.Client, chain: Path) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for picture in sorted((chain / "pictures").rglob("*.png"))[::6]:
            archive.write(picture, str(picture.relative_to(chain / "pictures")))
    lot = web.post("/api/uploads", files=[("files", ("shapes.zip", packed.getvalue()))]).json()
    asked = {"kind": "import", "spec": {"upload": lot["id"], "options": {"licence": "CC0-1.0"}}}
    once = {"idempotency-key": "one"}
    first, second = (web.post("/api/jobs", json=asked, headers=once) for _ in range(2))
    assert (first.status_code, first.json()["job"]["id"]) == (202, second.json()["job"]["id"])
    other = web.post("/api/jobs", json={"kind": "check", "spec": {"refs": ["latest"]}}, headers=once)
    assert other.status_code == 409
    job = ended(web, first.json()["job"]["id"])
    assert job["state"] == "done", job["error"]
    record = web.get(f"/api/records/{job['result']['id']}").json()
    assert (record["kind"], record["facts"]["samples"]) == ("source", 20)
    with web.stream("GET", f"/api/jobs/{job['id']}/events") as events:
        lines = [line for line in events.iter_lines() if line.startswith("event")]
    assert lines == ["event: job", "event: ended"]
    assert web.delete(f"/api/uploads/{lot['id']}").status_code == 204


def test_jobs_are_checked_listed_and_cancelled(web: httpx.Client) -> None:
    wrong = web.post("/api/jobs", json={"kind": "train", "spec": {"snapshot": "shapes", "dials": {"stepz": 3}}})
    assert "Did you mean 'steps'" in shape_of(wrong)["message"]
    asked = {"release": "shapes:live", "request": {"sampling": {"steps": 100_000}}}
    job = web.post("/api/jobs", json={"kind": "generate", "spec": asked}).json()["job"]
    while web.get(f"/api/jobs/{job['id']}").json()["job"]["state"] == "queued":
        time.sleep(0.02)
    assert web.get(f"/api/jobs/{job['id']}").json()["seconds_left"] >= 0
    web.post(f"/api/jobs/{job['id']}/cancel")
    assert ended(web, job["id"])["state"] == "cancelled"
    assert web.post(f"/api/jobs/{job['id']}/cancel").json()["job"]["state"] == "cancelled"
    page = web.get("/api/jobs", params={"limit": 1}).json()
    after = web.get("/api/jobs", params={"limit": 1, "before": page["next"]}).json()
    assert page["data"][0]["number"] > after["data"][0]["number"]
    hers = key_for(web)
    assert web.get(f"/api/jobs/{job['id']}", headers=hers).status_code == 404, "another's job"
    assert web.get("/api/jobs", headers=hers).json()["data"] == []


def test_the_chain_is_walked_and_aliases_move(web: httpx.Client) -> None:
    asset = web.get("/api/records", params={"kind": "asset", "limit": 1}).json()["data"][0]["id"]
    kinds = {link["kind"] for link in web.get(f"/api/assets/{asset}/origin").json()["data"]}
    assert {"release"} <= kinds
    release = web.get("/v1/models/shapes:live").json()["release"]
    assert {"run", "snapshot", "source"} <= {link["kind"] for link in web.get(f"/api/records/{release}/ancestry").json()["data"]}
    assert web.get(f"/api/records/{release}/descendants").json()["count"] > 0
    assert web.get("/api/runs").json()["data"]
    assert web.get("/api/releases").json()["data"]
    other = web.get("/v1/models/talk:live").json()["release"]
    for record in (release, other):
        assert web.put("/api/aliases/test:live", json={"record": record}).status_code == 200
    assert web.post("/api/aliases/test:live/rollback").json()["record"] == release
    assert len(web.get("/api/aliases/test:live").json()["data"]) == 3


def test_assets_are_found(web: httpx.Client, ai: openai.OpenAI) -> None:
    ai.images.generate(model="shapes:live", prompt="standing", n=3, extra_body={"steps": 2, "seed": 77})
    page = web.get("/api/assets", params={"words": "stand", "release": "shapes:live", "limit": 2}).json()
    assert [line["request"]["given"] for line in page["data"]] == [{"label": "standing"}] * 2
    rest = web.get("/api/assets", params={"words": "stand", "before": page["next"]}).json()["data"]
    assert not {line["id"] for line in rest} & {line["id"] for line in page["data"]}
    assert web.get("/api/assets", params={"words": "stand unicorn"}).json()["data"] == []
    assert web.get("/api/assets", params={"until": 1}).json()["data"] == []
    file = web.get(f"/api/assets/{page['data'][0]['id']}/file")
    assert (file.headers["content-type"], file.headers["x-content-type-options"]) == ("image/png", "nosniff")


def test_the_api_is_documented(web: httpx.Client) -> None:
    told = web.get("/openapi.json").json()
    for path, methods in told["paths"].items():
        for method, about in methods.items():
            assert about.get("description"), f"{method} {path}"


# Keys, bounds, harm


def test_keys_end_are_followed_and_know_their_place(web: httpx.Client) -> None:
    made = web.post("/api/keys", json={"name": "ann", "scopes": ["generate"], "seconds": 0.2}).json()
    hers = {"authorization": f"Bearer {made['secret']}"}
    assert web.get("/api/me", headers=hers).json()["caller"]["name"] == "ann"
    time.sleep(0.25)
    assert web.get("/api/me", headers=hers).status_code == 401, "expired"
    made = web.post("/api/keys", json={"name": "bob", "scopes": ["generate"]}).json()
    followed = web.post(f"/api/keys/{made['key']['id']}/rotate", json={"grace": 0}).json()
    old, new = ({"authorization": f"Bearer {secret}"} for secret in (made["secret"], followed["secret"]))
    assert [web.get("/api/me", headers=each).status_code for each in (old, new)] == [401, 200]
    assert followed["key"]["owner"] == made["key"]["owner"]
    web.delete(f"/api/keys/{followed['key']['id']}")
    assert web.get("/api/me", headers=new).status_code == 401
    assert made["secret"] not in web.get("/api/keys").text
    forged = {"authorization": "Bearer kt_" + "A" * 43}
    assert shape_of(web.get("/v1/models", headers=forged))["code"] == "invalid_api_key"
    assert httpx.get(f"{web.base_url}/v1/models").status_code == 401


def test_scopes_hold(web: httpx.Client) -> None:
    mine = key_for(web, "generate")
    asked = [
        ("POST", "/api/keys", {"name": "x", "scopes": ["admin"]}),
        ("GET", "/api/audit", None),
        ("POST", "/api/people", {"name": "x", "password": "long enough", "role": "admin"}),
        ("PUT", "/api/aliases/shapes:live", {"record": "talk:live"}),
        ("POST", "/api/jobs", {"kind": "train", "spec": {"snapshot": "shapes"}}),
        ("GET", "/api/records?kind=run", None),
        ("GET", "/metrics", None),
    ]
    for method, path, body in asked:
        answer = web.request(method, path, json=body, headers=mine)
        assert (answer.status_code, shape_of(answer)["code"]) == (403, "scope"), path
    reviewer = key_for(web, "review")
    assert web.post("/v1/completions", json={"model": "plain:live"}, headers=reviewer).status_code == 403


def test_a_key_is_held_to_its_pace(web: httpx.Client, served: Served) -> None:
    mine = key_for(web, per_minute=3)
    answers = [web.get("/v1/models", headers=mine) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert 1 <= int(answers[-1].headers["retry-after"]) <= 120
    secret = mine["authorization"].removeprefix("Bearer ")
    with openai.OpenAI(api_key=secret, base_url=f"{served.url}/v1", max_retries=0) as client, pytest.raises(openai.RateLimitError):
        client.models.list()


def test_a_client_that_waits_as_told_gets_through(web: httpx.Client, served: Served) -> None:
    secret = key_for(web, per_minute=60)["authorization"].removeprefix("Bearer ")
    with openai.OpenAI(api_key=secret, base_url=f"{served.url}/v1", max_retries=2) as client:
        for _ in range(61):
            client.models.list()


def test_a_budget_is_reserved_and_settled(web: httpx.Client) -> None:
    mine = key_for(web, budget=10.0)
    asked = {"model": "shapes:live", "prompt": "", "steps": 2}
    assert web.post("/v1/images/generations", json=asked, headers=mine).status_code == 200
    account = web.get("/api/me", headers=mine).json()
    assert account["spent"] == pytest.approx(account["seconds"] * PRICE)
    assert 0 < account["spent"] < 10
    assert account["currency"] == "EUR"
    poor = key_for(web, budget=0.0)
    refused = web.post("/v1/images/generations", json=asked, headers=poor)
    assert (refused.status_code, shape_of(refused)["code"]) == (429, "insufficient_quota")
    assert refused.headers["x-should-retry"] == "false"


def test_who_asks_for_too_much_at_once_is_told_when_to_come_back(web: httpx.Client) -> None:
    mine = key_for(web)
    asked = {"kind": "generate", "spec": {"release": "shapes:live", "request": {"sampling": {"steps": 100_000}}}}
    answers = [web.post("/api/jobs", json=asked, headers=mine) for _ in range(40)]
    accepted = [answer.json()["job"]["id"] for answer in answers if answer.status_code == 202]
    refused = [answer for answer in answers if answer.status_code != 202]
    assert len(accepted) >= 32
    assert refused
    assert {(answer.status_code, answer.json()["error"]["code"]) for answer in refused} == {(429, "too-many")}
    assert all(1 <= int(answer.headers["retry-after"]) <= 120 for answer in refused)
    for id in accepted:
        web.post(f"/api/jobs/{id}/cancel", headers=mine)
    assert {ended(web, id)["state"] for id in accepted} == {"cancelled"}


def test_asking_again_makes_nothing_twice(web: httpx.Client, chain: Path) -> None:
    """With an idempotency key, whatever a POST makes; a secret is not told twice, and one key is for one request."""

    def post(path: str, once: str, **body: Any) -> httpx.Response:
        return web.post(path, headers={"idempotency-key": once}, **body)

    person = {"json": {"name": "Rae", "password": "correct horse", "role": "reviewer"}}
    assert [post("/api/people", "p1", **person).status_code for _ in range(2)] == [201, 201]
    other = post("/api/people", "p1", json={**person["json"], "name": "Ray"})
    assert (other.status_code, shape_of(other)["code"]) == (409, "busy")
    assert post("/api/people", "p2", json={"name": "Roy", "password": "short"}).status_code == 400
    assert post("/api/people", "p2", json={"name": "Roy", "password": "long enough"}).status_code == 201, "what failed may be asked again"
    made = [post("/api/keys", "k1", json={"name": "once", "scopes": ["generate"]}) for _ in range(2)]
    assert [each.status_code for each in made] == [201, 409]
    assert len([key for key in web.get("/api/keys").json()["data"] if key["name"] == "once"]) == 1
    turned = [post(f"/api/keys/{made[0].json()['key']['id']}/rotate", "k2", json={"grace": 60}) for _ in range(2)]
    assert [each.status_code for each in turned] == [201, 409]
    picture = next((chain / "pictures").rglob("*.png")).read_bytes()
    lots = [post("/api/uploads", "u1", files={"files": ("a.png", picture)}).json()["id"] for _ in range(2)]
    assert lots[0] == lots[1]
    asset = web.get("/api/assets").json()["data"][0]["id"]
    said = [post("/api/verdicts", "v1", json={"assets": [asset], "judgement": "accept"}).json()["id"] for _ in range(2)]
    assert said[0] == said[1]
    assert post("/api/verdicts", "v2", json={"assets": [asset], "judgement": "accept"}).json()["id"] != said[0]
    asked = {"json": {"model": "shapes:live", "prompt": "", "steps": 2}}
    pictures = [post("/v1/images/generations", "g1", **asked).json() for _ in range(2)]
    assert pictures[0]["job"] == pictures[1]["job"]
    assert pictures[0]["data"] == pictures[1]["data"], "though another seed is drawn each time otherwise"
    assert post("/v1/images/generations", "g2", **asked).json()["data"] != pictures[0]["data"]
    assert post("/v1/images/generations", "g1", json={**asked["json"], "n": 2}).status_code == 409
    for path, body in (("/v1/chat/completions", {"model": "talk:live", "messages": ASK}), ("/v1/completions", {"model": "plain:live"})):
        answers = [post(path, path, json={**body, "max_tokens": 8}).json() for _ in range(2)]
        assert answers[0]["id"] == answers[1]["id"]
        assert answers[0]["choices"] == answers[1]["choices"]
    vectors = [post("/v1/embeddings", "e1", json={"model": "plain:live", "input": "a red"}).json() for _ in range(2)]
    assert vectors[0] == vectors[1]


def test_the_house_keeps_to_its_policy(web: httpx.Client) -> None:
    asset = web.get("/api/assets").json()["data"][0]["id"]
    asked = {"model": "shapes:live", "prompt": "", "steps": 2}
    reviewer = key_for(web, "review")
    assert web.put("/api/policy", json={"reviewed": True}, headers=reviewer).status_code == 403
    assert web.put("/api/policy", json={"reviewed": True}).json()["reviewed"]
    try:
        for path, body in (
            ("/v1/images/generations", asked),
            ("/v1/completions", {"model": "plain:live"}),
            ("/v1/chat/completions", {"model": "talk:live", "messages": ASK}),
            ("/api/jobs", {"kind": "write", "spec": {"release": "plain:live", "prompts": [{"text": "a"}]}}),
            ("/api/jobs", {"kind": "generate", "spec": {"release": "shapes:live", "request": {}, "previews": 2}}),
        ):
            refused = web.post(path, json=body)
            assert (refused.status_code, shape_of(refused)["code"]) == (403, "policy"), path
        job = web.post("/api/jobs", json={"kind": "generate", "spec": {"release": "shapes:live", "request": {"sampling": {"steps": 2}}}})
        made = ended(web, job.json()["job"]["id"])["result"]["assets"][0]["asset"]
        assert web.get(f"/api/assets/{made}/file").status_code == 403
        assert web.get(f"/api/assets/{made}/file", headers=reviewer).status_code == 200, "who reviews must see it"
        assert web.post("/api/verdicts", json={"assets": [made], "judgement": "accept"}, headers=reviewer).status_code == 201
        assert web.get(f"/api/assets/{made}/file").status_code == 200
        assert web.put("/api/policy", json={"original": True}).status_code == 200
        assert web.post("/v1/images/generations", json={**asked, "stream": True, "partial_images": 1}).status_code == 403
        assert web.post("/v1/images/generations", json=asked).status_code == 200
    finally:
        web.put("/api/policy", json={})
    assert web.get(f"/api/assets/{asset}/file").status_code == 200
    assert web.get("/api/policy/history").json()["data"][0]["name"] == "original"


def test_reviewers_judge_over_the_network_and_do_not_see_what_is_gold(web: httpx.Client) -> None:
    assets = [line["id"] for line in web.get("/api/assets", params={"release": "shapes:live"}).json()["data"]]
    hers: dict[str, Any] = {"headers": key_for(web, "review")}
    assert web.post("/api/gold", json={"asset": assets[0], "expected": "reject"}, **hers).status_code == 403
    assert web.post("/api/gold", json={"asset": assets[0], "expected": "reject"}).status_code == 201
    assert assets[0] in web.get("/api/review", params={"limit": 200}, **hers).json()["data"]
    assert web.get("/api/records?kind=gold", **hers).status_code == 403
    assert "gold" not in web.get(f"/api/records/{assets[0]}/descendants", **hers).text
    assert "gold" in web.get(f"/api/records/{assets[0]}/descendants").text
    assert web.post("/api/verdicts", json={"assets": [assets[0]], "judgement": "reject", "seconds": 2}, **hers).status_code == 201
    assert assets[0] not in web.get("/api/review", params={"limit": 200}, **hers).json()["data"]
    assert web.get("/api/gold").json()["data"] == [{"by": "test", "right": 1, "judged": 1}]
    assert web.get(f"/api/assets/{assets[0]}/verdicts", **hers).json()["state"] == "rejected"
    both = {"assets": assets[1:3], "judgement": "prefer", "prefers": "first"}
    assert web.post("/api/verdicts", json=both, **hers).status_code == 201
    assert web.get("/api/review/together", **hers).json()["agreement_on_pairs"] is None
    assert web.get("/api/value", **hers).json()["reviewer_minutes"] > 0


def test_every_call_is_in_the_audit_log(web: httpx.Client) -> None:
    web.get("/v1/models", headers={"x-request-id": "my-own.id"})
    time.sleep(0.7)
    calls = web.get("/api/audit", params={"limit": 50}).json()["data"]
    mine = next(call for call in calls if call["request"] == "my-own.id")
    assert (mine["method"], mine["path"], mine["status"], bool(mine["who"])) == ("GET", "/v1/models", 200, True)
    assert "kt_" not in json.dumps(calls)
    assert web.delete("/api/audit").status_code == 405


def test_people_sign_in_by_role(web: httpx.Client) -> None:
    assert "shorter" in shape_of(web.post("/api/people", json={"name": "eve", "password": "short"}))["message"]
    assert web.post("/api/people", json={"name": "eve", "password": "correct horse", "role": "reviewer"}).status_code == 201
    assert web.post("/api/people", json={"name": "eve", "password": "correct horse"}).status_code == 400
    assert web.patch("/api/people/eve", json={"left": True}).json()["left"]
    assert "correct" not in web.get("/api/people").text


@pytest.mark.parametrize("name", ["../../evil.png", "/etc/evil.png", "a/../../evil.png", "..\\evil.png", "C:evil.png", "a\x00b.png"])
def test_no_upload_leads_elsewhere(web: httpx.Client, served: Served, name: str) -> None:
    web.post("/api/uploads", files=[("files", (name, b"x"))])
    assert not [path for path in served.store.parent.rglob("*evil*") if served.store / "lots" not in path.parents]
    assert not Path("/etc/evil.png").exists()


def test_no_job_names_a_place_of_this_machine(web: httpx.Client) -> None:
    spec = {"path": "/etc"}
    assert "of an upload" in shape_of(web.post("/api/jobs", json={"kind": "import", "spec": spec}))["message"]
    inside = {"upload": "../runs"}
    assert web.post("/api/jobs", json={"kind": "import", "spec": inside}).status_code == 404
    hook = {"kind": "check", "spec": {"refs": ["shapes"]}, "webhook": "https://169.254.169.254/"}
    assert "inside a network" in shape_of(web.post("/api/jobs", json=hook))["message"]


def test_long_bodies_are_refused(web: httpx.Client) -> None:
    asking = http.client.HTTPConnection(web.base_url.host, web.base_url.port or 80)
    asking.putrequest("POST", "/v1/completions")
    asking.putheader("content-length", str(1 << 40))
    asking.endheaders()
    assert asking.getresponse().status == 413
    asking.close()

    def endless() -> Iterator[bytes]:
        for _ in range(70):
            yield b" " * (1 << 20)

    try:
        answer = web.post("/v1/completions", content=endless(), headers={"content-type": "application/json"})
        assert answer.status_code == 413
    except httpx.TransportError:
        pass  # the server hung up in the middle, which is as good


def test_who_goes_away_is_not_worked_for(web: httpx.Client) -> None:
    mine = key_for(web)
    for stream in (False, True):
        with httpx.Client(base_url=web.base_url, headers=mine, timeout=1) as leaving, pytest.raises(httpx.TimeoutException):
            leaving.post("/v1/images/generations", json={"model": "shapes:live", "prompt": "", "steps": 9_999, "stream": stream})
        job = web.get("/api/jobs", headers=mine, params={"limit": 1}).json()["data"][0]
        assert ended(web, job["id"], seconds=5)["state"] == "cancelled"


def test_requests_together_are_as_alone(ai: openai.OpenAI) -> None:
    def made(seed: int) -> str:
        return ai.completions.create(model="plain:live", prompt="a red", max_tokens=10, seed=seed).choices[0].text

    alone, together = [made(seed) for seed in range(6)], [""] * 6
    threads = [threading.Thread(target=lambda seed=seed: together.__setitem__(seed, made(seed))) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert together == alone


@pytest.mark.slow
def test_what_was_accepted_outlives_the_server(served: Served, tmp_path: Path, chain: Path) -> None:
    shutil.copytree(chain / "store", tmp_path / "store", symlinks=True)
    first = serve(tmp_path / "store")
    header = {"authorization": f"Bearer {first.key}"}
    spec = {"release": "shapes:live", "request": {"count": 2, "sampling": {"steps": 3}}}
    ids = [
        httpx.post(f"{first.url}/api/jobs", json={"kind": "generate", "spec": spec}, headers=header).json()["job"]["id"] for _ in range(3)
    ]
    first.process.kill()
    first.waited()
    second = serve(tmp_path / "store")
    with httpx.Client(base_url=second.url, headers=header, timeout=30) as web:
        assert [ended(web, id)["state"] for id in ids] == ["done"] * 3
        long = {"release": "shapes:live", "request": {"sampling": {"steps": 100_000}}}
        held = web.post("/api/jobs", json={"kind": "generate", "spec": long}).json()["job"]["id"]
        with web.stream("GET", f"/api/jobs/{held}/events") as watching:
            lines = watching.iter_lines()
            while not next(lines).startswith("event: progress"):
                continue
            began = time.monotonic()
            second.process.terminate()
            assert "event: closing" in list(lines)
    assert second.waited() == 0
    assert time.monotonic() - began < 15, "who only watches is not waited for"
    from karat.app.chain import open_store

    given_back = open_store(tmp_path / "store").queue.get(held)
    assert (given_back.state, given_back.attempt) == ("queued", 1)


def test_an_open_server_answers_its_own_machine_alone(chain: Path, tmp_path: Path) -> None:
    shutil.copytree(chain / "store", tmp_path / "store", symlinks=True)
    server = serve(tmp_path / "store", "--open", "--workers", "0")
    with httpx.Client(base_url=server.url) as web:
        assert web.get("/v1/models").status_code == 200
        assert web.get("/v1/models", headers={"origin": "http://localhost:3000"}).status_code == 200
        assert web.get("/v1/models", headers={"origin": "https://evil.example"}).status_code == 401
        assert web.get("/v1/models", headers={"host": "evil.example"}).status_code == 401
    assert server.end() == 0


@pytest.mark.slow
def test_nothing_strange_makes_it_fail(served: Served, tmp_path: Path) -> None:
    command = [str(Path(sys.executable).parent / "st"), "run", f"{served.url}/openapi.json", "--checks", "not_a_server_error"]
    options = ["--max-examples", "15", "--phases", "coverage,fuzzing", "--exclude-path-regex", "health|events", "--seed", "1"]
    header = ["-H", f"Authorization: Bearer {served.key}"]
    ran = subprocess.run([*command, *options, *header], capture_output=True, text=True, check=False, cwd=tmp_path, timeout=250)
    assert ran.returncode == 0, ran.stdout[-4_000:]


def test_strangers_are_not_let_in_by_default(tmp_path: Path) -> None:
    from karat.faces.cli.entry import run

    assert run(["--store", str(tmp_path), "serve", "--open", "--host", "0.0.0.0"]) == 2
    assert run(["--store", str(tmp_path), "serve", "--certificate", "c.pem"]) == 2
