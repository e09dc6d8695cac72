#!/usr/bin/env python3
"""Turns a replica's YAML into the config.json that transformers builds the same model from.

  config_json.py CONFIG.yaml [key=value ...] > config.json
  config_json.py --batch CONFIG.yaml [key=value ...]     prints SEQUENCES LENGTH of a step instead

Understands what the replicas use: `extends`, dotted overrides, the `model` section. The prediction
head for the token after the next does not exist in transformers and is left out.
"""
import json
import pathlib
import sys

import yaml

# Shoal's own defaults where they differ from transformers' (layers/config.h).
DEFAULTS = {
    "vocab_size": 258, "hidden_size": 256, "num_attention_heads": 4, "head_dim": 64,
    "qk_rope_head_dim": 32, "q_lora_rank": 128, "o_groups": 2, "o_lora_rank": 128,
    "sliding_window": 64, "index_n_heads": 4, "index_head_dim": 32, "index_topk": 64,
    "hc_mult": 4, "hc_sinkhorn_iters": 20, "hc_eps": 1e-6, "n_routed_experts": 16,
    "n_shared_experts": 1, "num_experts_per_tok": 2, "moe_intermediate_size": 128,
    "scoring_func": "sqrtsoftplus", "norm_topk_prob": True, "routed_scaling_factor": 1.5,
    "swiglu_limit": 10.0, "max_position_embeddings": 1048576, "rms_norm_eps": 1e-6,
    "rope_theta": 10000.0, "compress_rope_theta": 160000.0,
}
OURS = {"residual", "fp4", "init", "intermediate_size", "num_nextn_predict_layers"}


def merge(under, over):
    """Mappings merge key by key; anything else in `over` replaces what lies under it."""
    if not (isinstance(under, dict) and isinstance(over, dict)):
        return over
    return under | {key: merge(under.get(key), value) for key, value in over.items()}


def load(path, depth=0):
    if depth > 8:
        raise SystemExit(f"{path}: `extends` goes deeper than 8 files")
    text = yaml.safe_load(pathlib.Path(path).read_text()) or {}
    parent = text.pop("extends", None)
    if parent is None:
        return text
    return merge(load(pathlib.Path(path).parent / parent, depth + 1), text)


def override(config, argument):
    path, equals, value = argument.partition("=")
    if not equals:
        raise SystemExit(f"expected key=value, got {argument!r}")
    tree = yaml.safe_load(value)
    for key in reversed(path.split(".")):
        tree = {key: tree}
    return merge(config, tree)


def read(path, arguments):
    config = load(path)
    for argument in arguments:
        config = override(config, argument)
    return config


def batch(path, arguments):
    """Sequences of a step and their length: both programs run a step as one batch of them."""
    config = read(path, arguments)
    length = int(config.get("data", {}).get("sequence_length", 512))
    tokens = int(float(config.get("train", {}).get("batch_tokens", 8192)))
    return tokens // length, length


def config_json(path, arguments):
    model = read(path, arguments)["model"]
    if model.get("residual", "mhc") != "mhc":
        raise SystemExit(f"{path}: transformers has no residual other than mhc")
    layers = model.get("layer_types") or ["sliding_attention"] * model["num_hidden_layers"]
    feed_forward = model.get("mlp_layer_types") or ["moe"] * len(layers)
    known = {"sliding_attention", "compressed_sparse_attention", "heavily_compressed_attention",
             "hash_moe", "moe"}
    if unknown := set(layers + feed_forward) - known:
        raise SystemExit(f"{path}: transformers has no layer type {sorted(unknown)}")
    return DEFAULTS | {k: v for k, v in model.items() if k not in OURS} | {
        "architectures": ["DeepseekV4ForCausalLM"], "model_type": "deepseek_v4",
        "num_key_value_heads": 1, "num_hidden_layers": len(layers), "layer_types": layers,
        "mlp_layer_types": feed_forward, "num_nextn_predict_layers": 0, "use_cache": False,
    }


if __name__ == "__main__":
    words = [word for word in sys.argv[1:] if word != "--batch"]
    if not words:
        raise SystemExit(__doc__)
    if "--batch" in sys.argv[1:]:
        print(*batch(words[0], words[1:]))
    else:
        json.dump(config_json(words[0], words[1:]), sys.stdout, indent=1)
        print()
