"""llama.cpp on a GGUF file: the likeliest token each time, all prompts of a request at once.

python llama_writing.py --model model.gguf --threads 2 --most 400

Reads requests from its input, a line of JSON each ({"prompts": [[ids]], "most": 128}), and prints the ids as a line for each.
"""

import argparse
import ctypes
import json
import sys

import llama_cpp
import numpy as np

SEQUENCES = 16
FLOAT32 = 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--most", type=int, default=256, help="ids of a prompt and its text together")
    asked = parser.parse_args()
    llama_cpp.llama_log_set(silent, ctypes.c_void_p(0))
    model = llama_cpp.llama_model_load_from_file(asked.model.encode(), llama_cpp.llama_model_default_params())
    settings = llama_cpp.llama_context_default_params()
    settings.n_ctx = settings.n_batch = SEQUENCES * asked.most
    settings.n_seq_max = SEQUENCES
    settings.n_threads = settings.n_threads_batch = asked.threads
    settings.type_k = settings.type_v = FLOAT32
    context = llama_cpp.llama_init_from_model(model, settings)
    vocabulary = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(model))
    batch = llama_cpp.llama_batch_init(settings.n_batch, 0, 1)
    print("ready", flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        print(json.dumps(write(context, batch, vocabulary, request["prompts"], request["most"])), flush=True)


@llama_cpp.llama_log_callback
def silent(level, text, data):
    pass


def write(context, batch, vocabulary, prompts, most):
    """Read all prompts, then step all rows by an id each."""
    llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(context), True)
    made = [[] for _ in prompts]
    fill(batch, [(row, place, id, place == len(prompt) - 1) for row, prompt in enumerate(prompts) for place, id in enumerate(prompt)])
    while True:
        if llama_cpp.llama_decode(context, batch):
            raise RuntimeError("llama.cpp has no room for these rows")
        ends = [place for place in range(batch.n_tokens) if batch.logits[place]]
        for row, place in enumerate(ends):
            logits = np.ctypeslib.as_array(llama_cpp.llama_get_logits_ith(context, place), shape=(vocabulary,))
            made[row].append(int(logits.argmax()))
        if len(made[0]) == most:
            return made
        fill(batch, [(row, len(prompts[row]) + len(ids) - 1, ids[-1], True) for row, ids in enumerate(made)])


def fill(batch, tokens):
    batch.n_tokens = len(tokens)
    for place, (row, position, id, wanted) in enumerate(tokens):
        batch.token[place], batch.pos[place], batch.logits[place] = id, position, wanted
        batch.n_seq_id[place], batch.seq_id[place][0] = 1, row


if __name__ == "__main__":
    main()
