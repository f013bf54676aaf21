"""What make_reference.py chooses and refuses before a model runs; needs no torch."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
sys.path.insert(0, str(SCRIPTS))

import make_reference  # noqa: E402
import reference_inputs as inputs  # noqa: E402


def config(**given):
    keys = {"vocab_size": 61, "max_position_embeddings": 64, "bos_token_id": 0, "eos_token_id": 1}
    return SimpleNamespace(**(keys | given))


def dynamic(factor):
    return {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 500.0, "factor": factor}}


LOCAL_AND_GLOBAL = {
    "sliding_attention": {"rope_type": "default", "rope_theta": 50.0},
    "full_attention": {"rope_type": "dynamic", "rope_theta": 500.0, "factor": 3.0},
}
LONGROPE = {"rope_type": "longrope", "original_max_position_embeddings": 300}


@pytest.mark.parametrize(
    ("given", "lengths", "left_out"),
    [
        ({}, [8, 13, 20], []),
        ({"max_position_embeddings": None}, [8, 13, 20], []),
        ({"max_position_embeddings": 10}, [8, 10], []),
        ({"sliding_window": 3}, [8, 13, 20], []),
        ({"sliding_window": 20}, [8, 13, 20, 28], []),
        ({"sliding_window": 62}, [8, 13, 20, 64], []),
        ({"sliding_window": 64}, [8, 13, 20], []),  # as long as the context: it never acts
        ({"sliding_window": 30, "layer_types": ["full_attention"]}, [8, 13, 20], []),
        ({"max_position_embeddings": 12} | dynamic(2.0), [8, 13, 20], []),
        ({"max_position_embeddings": 30} | dynamic(1.1), [8, 13, 20, 33], []),
        ({"max_position_embeddings": 30, "rope_parameters": LOCAL_AND_GLOBAL}, [8, 13, 20, 38], []),
        ({"max_position_embeddings": 999, "rope_parameters": LONGROPE}, [8, 13, 20, 308], []),
        (
            {"max_position_embeddings": 9000, "sliding_window": 4096},
            [8, 13, 20],
            ["sliding window of 4096"],
        ),
        (
            {"max_position_embeddings": 2048, "sliding_window": 100} | dynamic(4.0),
            [8, 13, 20, 108],
            ["dynamic scaling of rotary positions above 2048 tokens"],
        ),
        ({"max_position_embeddings": 9000, "sliding_window": 1058}, [8, 13, 20, 1059], []),
    ],
)
def test_prompts_cross_what_they_can_afford_to_cross(given, lengths, left_out):
    prompts = inputs.random_prompts(config(**given), seed=0)
    assert [len(prompt) for prompt in prompts] == lengths
    assert sum(lengths) <= inputs.MOST_RANDOM
    assert inputs.not_exercised(inputs.boundaries_of(config(**given)), lengths) == left_out


def test_random_prompts_begin_with_the_first_token_and_have_no_other_special_one():
    for prompt in inputs.random_prompts(config(vocab_size=4, eos_token_id=[1, 2]), seed=0):
        assert (prompt[0], set(prompt[1:])) == (0, {3})


def test_special_ids_serve_where_there_are_no_others():
    prompts = inputs.random_prompts(config(vocab_size=2), seed=0)
    assert {token for prompt in prompts for token in prompt} == {0, 1}


def test_a_first_token_outside_the_vocabulary_is_left_out():
    prompts = inputs.random_prompts(config(vocab_size=4, bos_token_id=50256), seed=0)
    assert all(token < 4 for prompt in prompts for token in prompt)


def test_a_context_of_one_token_is_refused():
    with pytest.raises(inputs.Refusal, match="no token follows"):
        inputs.random_prompts(config(max_position_embeddings=1), seed=0)


def test_heads_are_zeroed_in_the_shortest_prompt_and_two_in_the_longest():
    shape = SimpleNamespace(num_hidden_layers=3, num_attention_heads=4)
    chosen = make_reference.chosen_heads(shape, 6, [[1] * 9, [1] * 5, [1] * 30])
    assert [one[0] for one in chosen] == [1] * 6 + [2] * 2
    assert [one[1] for one in chosen] == [0, 0, 1, 1, 2, 2, 0, 2]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", ": has no prompts"),
        ("\n \n", ": has no prompts"),
        ('{"tokens": [3, 4]}\n{"text": "hello"}\n', ":2: has no list `tokens` of ids"),
        ('"tokens"', ":1: has no list `tokens` of ids"),
        ("{", ":1: is no JSON: "),
        ('\n{"tokens": [3, 61]}', ":2: 61 is no id from 0 to 60"),
        ('{"tokens": [3, -1]}', ":1: -1 is no id"),
        ('{"tokens": [3, true]}', ":1: true is no id"),
        ('{"tokens": [3, 1.0]}', ":1: 1.0 is no id"),
        ('{"tokens": [3]}', ":1: a prompt needs two tokens"),
        (json.dumps({"tokens": [3] * 65}), ":1: has 65 tokens, but the context is 64 tokens long"),
    ],
)
def test_prompts_that_cannot_be_used_are_named(tmp_path, text, message):
    path = tmp_path / "p.jsonl"
    path.write_text(text)
    with pytest.raises(inputs.Refusal) as refusal:
        inputs.given_prompts(path, config())
    assert str(refusal.value).startswith(f"{path}{message}")


def test_dynamic_scaling_allows_prompts_beyond_the_named_context(tmp_path):
    path = tmp_path / "p.jsonl"
    path.write_text(json.dumps({"tokens": [3] * 24}))
    small = config(max_position_embeddings=12, **dynamic(2.0))
    assert inputs.given_prompts(path, small) == [[3] * 24]


def test_the_files_of_a_reference_have_those_that_it_stands_for(tmp_path):
    for name in ("config.json", "model.safetensors", "other.gguf", "tokenizer.json"):
        (tmp_path / name).write_text(name)
    found = inputs.files_of(tmp_path, [tmp_path / "other.gguf"])
    names = ["model.safetensors", "config.json", "other.gguf"]
    assert [one["name"] for one in found] == names
    assert found[-1]["sha256"] == hashlib.sha256(b"other.gguf").hexdigest()
    with pytest.raises(inputs.Refusal, match="none.gguf: no such file"):
        inputs.files_of(tmp_path, [tmp_path / "none.gguf"])


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ({"token_embd.weight", "rope_freqs.weight"}, "transformers ignores.*--stands-for m.gguf"),
        ({"a_matrix"}, "no language model"),
    ],
)
def test_gguf_files_that_transformers_misreads_are_refused(tmp_path, monkeypatch, names, message):
    path = tmp_path / "m.gguf"
    path.write_bytes(b"GGUF")
    monkeypatch.setattr(inputs, "gguf_tensors", lambda _: names)
    with pytest.raises(inputs.Refusal, match=message):
        inputs.check_model(path)


def test_a_file_that_fails_to_be_written_leaves_nothing(tmp_path):
    out = tmp_path / "o.json"
    with pytest.raises(UnicodeEncodeError):
        inputs.write_whole(out, "\ud800")
    assert list(tmp_path.iterdir()) == []
    inputs.write_whole(out, "{}\n")
    assert out.read_text() == "{}\n"


def test_the_script_says_in_a_sentence_what_is_wrong(tmp_path):
    def run(*words):
        words = [sys.executable, str(SCRIPTS / "make_reference.py"), *map(str, words)]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        return done.returncode, done.stderr

    missing, out = tmp_path / "none", tmp_path / "o.json"
    assert run(missing, out) == (3, f"make_reference.py: {missing}: no such file or folder\n")
    status, said = run(tmp_path, out)
    assert (status, said) == (3, f"make_reference.py: {tmp_path}: has no config.json\n")
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "m.safetensors").write_text("")
    status, said = run(tmp_path, tmp_path / "no/o.json")
    assert status == 3 and said.endswith("no does not exist\n") and "Traceback" not in said
    assert run(tmp_path, out, "--heads", "0")[0] == 2
    assert not out.exists()
