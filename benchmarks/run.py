"""All benchmarks, one after the other, then the tables in the docs. Hours on two cores; each can be run by itself.

make bench                       # everything
python benchmarks/run.py --quick # digits for one minute each, and what takes seconds
"""

import argparse
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
QUICK = (
    ("loop.py",),
    ("finetune_overhead.py",),
    ("command_line.py",),
    ("quality.py", "digits", "--minutes", "1"),
    ("sampling.py", "digits"),
    ("text_generation.py",),
    ("import_speed.py", "--counts", "5000"),
    ("memory.py", "--counts", "2000"),
    ("personal_data.py",),
    ("near_duplicates.py", "--documents", "5000"),
    ("bits_per_byte.py", "topics", "--minutes", "2", "--seeds", "0"),
)
SERVING = tuple((f"serving/{name}.py",) for name in ("overhead", "texts", "pictures", "disconnects", "switches", "start", "gallery"))
FULL = (
    *QUICK,
    ("quality.py", "digits", "--minutes", "3"),
    ("quality.py", "emoji", "--minutes", "5", "20", "--only", "karat:diffusion", "karat:vae", "karat:gan", "pythae_vae", "mlp_gan"),
    ("quality.py", "emoji", "--minutes", "5", "20", "--only", "diffusers_unet", "lucidrains_ddpm", "--samples", "200"),
    ("sampling.py", "emoji", "--minutes", "5"),
    ("import_speed.py", "--counts", "20000"),
    ("memory.py", "--counts", "20000", "100000"),
    ("memory.py", "--demo"),
    ("near_duplicates.py", "--documents", "100000"),
    *SERVING,
    ("serving/overload.py",),
    ("serving/kills.py", "--kills", "200"),
    ("preferences.py",),
    ("compression.py", "--minutes", "5"),
    ("text_autoencoder.py",),
    *(("text_examples.py", task) for task in ("translate", "chat", "write")),
    *(("bits_per_byte.py", data, "--minutes", "2", "5") for data in ("topics", "quotes", "tang300")),
)


def main() -> int:
    """Run them; one that fails does not keep the others from running."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    failed = []
    if not (HERE / ".env-peers").exists():
        subprocess.run(["bash", str(HERE / "peers" / "setup.sh")], check=True)
    for program, *words in QUICK if parser.parse_args().quick else FULL:
        print(f"\n{program} {' '.join(words)}", flush=True)
        if subprocess.run([sys.executable, str(HERE / program), *words], check=False).returncode:
            failed.append(program)
    subprocess.run([sys.executable, str(HERE.parent / "docs" / "generate.py")], check=True)
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return len(failed)


if __name__ == "__main__":
    sys.exit(main())
