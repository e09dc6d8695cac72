#!/usr/bin/env python3
"""Times training steps of transformers' DeepseekV4ForCausalLM on random tokens: float32, forward,
backward, global-norm clip, torch's AdamW. Prints one JSON object; medians over the timed steps.

  step.py config.json --sequences 1 --length 2048 --threads 2
"""
import argparse
import json
import os
import statistics
import sys
import time


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("config", help="config.json, or - for stdin")
    parser.add_argument("--sequences", type=int, default=1, help="in one step")
    parser.add_argument("--length", type=int, default=2048, help="tokens of a sequence")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--warmup", type=int, default=2)
    parser.add_argument("--compile", action="store_true", help="through torch.compile")
    # None: what transformers itself chooses, the fastest that this torch has (grouped_mm).
    parser.add_argument("--experts", help="transformers' experts implementation")
    return parser.parse_args()


def build(config, experts):
    import torch
    from transformers import DeepseekV4Config, DeepseekV4ForCausalLM

    torch.manual_seed(1)
    config = DeepseekV4Config(**config)
    config._attn_implementation = "eager"  # the only one that the model supports
    config._experts_implementation = experts
    model = DeepseekV4ForCausalLM(config).float().train()
    # A fresh hash table sends every token to expert 0; a replica's spreads them evenly.
    for name, table in model.named_buffers():
        if name.endswith("tid2eid"):
            vocab, chosen = table.shape
            first = torch.arange(vocab).unsqueeze(1) * chosen
            table.copy_((first + torch.arange(chosen)) % config.n_routed_experts)
    return model


def main():
    args = arguments()
    os.environ["OMP_NUM_THREADS"] = str(args.threads)  # read when torch is imported
    with (sys.stdin if args.config == "-" else open(args.config, encoding="utf-8")) as source:
        config = json.load(source)
    import torch

    torch.set_num_threads(args.threads)
    model = build(config, args.experts)
    run = torch.compile(model) if args.compile else model
    # Fused is the fastest of torch's AdamW implementations on a CPU.
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.1, fused=True)
    random = torch.Generator().manual_seed(2)
    seconds = []
    for _ in range(args.warmup + args.steps):
        shape = (args.sequences, args.length + 1)
        tokens = torch.randint(0, config["vocab_size"], shape, generator=random)
        begin = time.perf_counter()
        logits = run(input_ids=tokens[:, :-1], use_cache=False).logits
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        seconds.append(time.perf_counter() - begin)
    median = statistics.median(seconds[args.warmup:])
    print(json.dumps({
        "tokens_per_second": args.sequences * args.length / median,
        "step_seconds": median,
        "threads": args.threads,
        "parameters": sum(p.numel() for p in model.parameters()),
        "loss": loss.item(),
        "compiled": args.compile,
        "experts": model.config._experts_implementation,
        "torch": torch.__version__,
    }))


if __name__ == "__main__":
    main()
