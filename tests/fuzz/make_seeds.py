"""Writes the files that fuzzing starts from: make_seeds.py FOLDER [READER...].

Every reader gets a folder of files that it accepts, made from the golden files and here, and of
files that are hostile in one way. With the standard library only.
"""

import sys
from pathlib import Path

from seeds_gguf import gguf_seeds
from seeds_model import config_seeds, tokenizer_seeds
from seeds_run import interventions_seeds, prompts_seeds, yaml_seeds
from seeds_safetensors import index_seeds, safetensors_seeds

SEEDS = {
    "safetensors": safetensors_seeds,
    "index": index_seeds,
    "gguf": gguf_seeds,
    "config": config_seeds,
    "tokenizer": tokenizer_seeds,
    "prompts": prompts_seeds,
    "interventions": interventions_seeds,
    "yaml": yaml_seeds,
}


def main():
    folder = Path(sys.argv[1])
    for reader in sys.argv[2:] or SEEDS:
        (folder / reader).mkdir(parents=True, exist_ok=True)
        for name, content in SEEDS[reader]():
            (folder / reader / name).write_bytes(content)


if __name__ == "__main__":
    main()
