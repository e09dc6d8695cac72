#!/usr/bin/env python3
"""The halves of scripts/interop_check.sh that need transformers, and its comparisons.

  interop_check.py transformers WORK      loads WORK/whole and WORK/shards, writes case, saved*
  interop_check.py parity PARITY.json     logits within tolerance?
  interop_check.py greedy WORK            the same continuation, token by token?
  interop_check.py same WHOLE FOLDER...   equal tensors, but for the prediction block?
"""
import json
import pathlib
import shutil
import sys

LOGITS = 2e-6  # relative L2 error of float32 logits, twice what either program is off by
TEXTS = ["", "In the beginning", " two  spaces\n\n\ttab ", "<bos> is five bytes, <eos> too", "<bos>",
         "ünïcödé, 日本語, e\u0301, 😀", "don't, we'll; 1,000.00!", "\u2028\u0000\ufeff\r\n", "a" * 5000]
PROMPT = "A run is one file, and "


def break_ties_downwards():
    """Of equal index scores (dead ReLUs give exact zeros) Shoal takes the lower entry, torch any."""
    import torch

    def topk(self, k, dim=-1, **_):
        values, indices = torch.sort(self, dim=dim, descending=True, stable=True)
        return torch.return_types.topk((values.narrow(dim, 0, k), indices.narrow(dim, 0, k)))

    torch.Tensor.topk = topk


def check_tokenizer(folder):
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    for kind in (AutoTokenizer, PreTrainedTokenizerFast):
        tokenizer = kind.from_pretrained(folder)
        assert (tokenizer.bos_token_id, tokenizer.eos_token_id, len(tokenizer)) == (0, 1, 258)
        padded = tokenizer(["a", "abc"], padding=True)
        assert padded["input_ids"] == [[0, 99, 1, 1], [0, 99, 100, 101]], padded
        assert padded["attention_mask"] == [[1, 1, 0, 0], [1, 1, 1, 1]], padded
        for text in TEXTS:
            ids = [2 + byte for byte in text.encode()]
            assert tokenizer(text)["input_ids"] == [0] + ids, text
            assert tokenizer(text, add_special_tokens=False)["input_ids"] == ids, text
            assert tokenizer.decode(ids) == text, text
            assert tokenizer.decode([0] + ids + [1], skip_special_tokens=True) == text, text
    print(f"tokenizer: {len(TEXTS)} texts, ids and back")


def load(folder):
    import torch
    from transformers import AutoModelForCausalLM

    model, info = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    problems = {kind: names for kind, names in info.items() if names}
    assert not problems, f"{folder}: {problems}"
    assert model.dtype == torch.float32, model.dtype
    return model.eval()


def transformers(work):
    import torch
    from safetensors.torch import save_file
    from transformers import AutoTokenizer

    check_tokenizer(work / "whole")
    break_ties_downwards()
    model = load(work / "whole")
    config = model.config
    length = min(200, config.max_position_embeddings)
    tokens = torch.randint(0, config.vocab_size, (2, length + 1),
                           generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        logits = model(tokens[:, :-1]).logits
        again = load(work / "shards")(tokens[:, :-1]).logits
    assert torch.equal(logits, again), "one file and shards differ"
    shutil.copytree(work / "whole", work / "case")
    save_file({"tokens": tokens, "logits": logits}, work / "case" / "golden.safetensors")

    tokenizer = AutoTokenizer.from_pretrained(work / "whole")
    (work / "prompt.txt").write_text(PROMPT)
    prompt = tokenizer(PROMPT, return_tensors="pt")
    made = model.generate(**prompt, max_new_tokens=40, do_sample=False)[0]
    text = tokenizer.decode(made[prompt["input_ids"].shape[1]:], skip_special_tokens=True)
    (work / "greedy.txt").write_text(text)

    # As it does by itself, in shards, and under the names that its modules have.
    for name, how in {"saved": {}, "saved-shards": {"max_shard_size": "300KB"},
                      "saved-inner": {"save_original_format": False}}.items():
        model.save_pretrained(work / name, **how)
        tokenizer.save_pretrained(work / name)
        print(f"{name}:", *sorted(path.name for path in (work / name).iterdir()))


def parity(path):
    case = json.loads(pathlib.Path(path).read_text())["cases"][0]
    error = case["errors"]["logits"]
    print(f"logits: relative L2 error {error:.2e} (at most {LOGITS:.0e})")
    assert error <= LOGITS


def greedy(work):
    want = (work / "greedy.txt").read_text()
    got = json.loads((work / "greedy.json").read_text())["text"]
    print(f"greedy: {want!r}")
    assert got == want, got


def tensors(folder):
    from safetensors import safe_open

    with safe_open(folder / "model.safetensors", "np") as file:
        return {name: file.get_tensor(name) for name in file.keys()}


def same(whole, folders):
    want = {name: t for name, t in tensors(whole).items() if not name.startswith("mtp.")}
    for folder in folders:
        got = tensors(folder)
        assert got.keys() == want.keys(), (folder, got.keys() ^ want.keys())
        for name, tensor in want.items():
            equal = (got[name].dtype == tensor.dtype and got[name].shape == tensor.shape
                     and got[name].tobytes() == tensor.tobytes())
            assert equal, f"{folder}: {name} differs"
        print(f"{folder.name}: {len(want)} tensors, equal bits")


if __name__ == "__main__":
    command, *paths = sys.argv[1:] or [""]
    paths = [pathlib.Path(path) for path in paths]
    if command == "transformers":
        transformers(*paths)
    elif command == "parity":
        parity(*paths)
    elif command == "greedy":
        greedy(*paths)
    elif command == "same":
        same(paths[0], paths[1:])
    else:
        raise SystemExit(__doc__)
