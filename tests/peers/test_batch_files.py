"""Batch files of `tercet synthesize` are requests of OpenAI's interface, and its answers are read back."""

import json

import pytest
import runs
from openai.types.chat import ChatCompletion
from openai.types.chat.completion_create_params import CompletionCreateParamsNonStreaming
from pydantic import TypeAdapter

RECIPE = """
[[documents]]
files = ["articles.jsonl"]
language = "en"
[lengths]
document = [100, 10_000]
paragraph = [50, 400]
[questions]
train = 5
dev = 2
test = 2
corpus = 12
[llm]
endpoint = "http://127.0.0.1:9/v1"
model = "gpt-4o-mini"
[llm.parameters]
{parameters}
"""
LINE = "The archive keeps letters about the river {n}, in which merchants describe bridges, harvests and prices."
PARAMETERS = ["temperature = 0.0\nmax_tokens = 64\nseed = 7", 'max_completion_tokens = 64\nreasoning_effort = "low"']


@pytest.mark.parametrize("parameters", PARAMETERS)
def test_requests_are_openais_and_its_answers_become_rows(tmp_path, parameters):
    (tmp_path / "synth.toml").write_text(RECIPE.format(parameters=parameters))
    texts = [{"title": f"River {n}", "text": "\n".join([LINE.format(n=n)] * 3)} for n in range(30)]
    runs.write_json_lines(tmp_path / "articles.jsonl", texts)
    synthesize = ["synthesize", tmp_path / "synth.toml", "--out", tmp_path / "out"]
    runs.tercet(*synthesize, "--batch-out", tmp_path / "requests.jsonl")

    # The interface's own type knows each key and its values; a key that it does not know is an error.
    body_type = TypeAdapter(CompletionCreateParamsNonStreaming)
    known = CompletionCreateParamsNonStreaming.__annotations__.keys()
    requests = [json.loads(line) for line in (tmp_path / "requests.jsonl").read_text().splitlines()]
    assert len({request["custom_id"] for request in requests}) == len(requests) == 9
    back = []
    for request in requests:
        assert request.keys() == {"custom_id", "method", "url", "body"}
        assert (request["method"], request["url"]) == ("POST", "/v1/chat/completions")
        # Messages are validated as they are taken.
        assert list(body_type.validate_python(request["body"])["messages"]) == request["body"]["messages"]
        assert request["body"].keys() <= known
        river = request["body"]["messages"][0]["content"].split("river ")[1].split(",")[0]
        answer = ChatCompletion.model_validate(
            {
                "id": "chatcmpl-1",
                "object": "chat.completion",
                "created": 1,
                "model": request["body"]["model"],
                "choices": [
                    {
                        "index": 0,
                        "finish_reason": "stop",
                        "logprobs": None,
                        "message": {
                            "role": "assistant",
                            "content": f"What do merchants of river {river} write about prices and harvests?",
                            "refusal": None,
                        },
                    }
                ],
                "usage": {"prompt_tokens": 100, "completion_tokens": 12, "total_tokens": 112},
            }
        )
        response = {"status_code": 200, "request_id": "req", "body": answer.model_dump(mode="json")}
        back.append({"id": "batch_req", "custom_id": request["custom_id"], "response": response, "error": None})
    runs.write_json_lines(tmp_path / "back.jsonl", back[::-1])
    runs.tercet(*synthesize, "--batch-in", tmp_path / "back.jsonl")
    report = json.loads((tmp_path / "out/report.json").read_text())
    assert report["complete"] and report["languages"]["en"]["questions"] == {"dev": 2, "test": 2, "train": 5}
    costs = json.loads((tmp_path / "out/costs.json").read_text())
    assert costs["used"] == {"requests": 9, "tokens_in": 900, "tokens_out": 108}
