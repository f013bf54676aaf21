"""Loads a model with transformers and prints how long that took; loading.py runs this.

.deps/references/bin/python benchmarks/transformers_loading.py MODEL THREADS
"""

import json
import sys
import time
from pathlib import Path

import torch
import transformers
from transformers import AutoModelForCausalLM


def main():
    model, threads = Path(sys.argv[1]), int(sys.argv[2])
    torch.set_num_threads(threads)
    transformers.utils.logging.disable_progress_bar()
    place = {"gguf_file": model.name} if model.is_file() else {}
    folder = model.parent if model.is_file() else model
    start = time.perf_counter()
    AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, **place)
    taken = time.perf_counter() - start
    versions = {"transformers": transformers.__version__, "torch": torch.__version__}
    print(json.dumps({"load_s": taken, "versions": versions}))


if __name__ == "__main__":
    main()
