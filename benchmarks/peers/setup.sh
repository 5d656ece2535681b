#!/bin/sh
# Makes benchmarks/.env-peers, the environment of the peers alone: PYTHON=python3.11 benchmarks/peers/setup.sh
# denoising-diffusion-pytorch and imagededup go in without what they ask for, because that is torchvision; stand-ins take its place.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
env="$here/../.env-peers"
"${PYTHON:-python3}" -m venv "$env"
"$env/bin/pip" install --quiet --requirement "$here/requirements.txt"
"$env/bin/pip" install --quiet --no-deps --requirement "$here/requirements-bare.txt"
"$env/bin/pip" install --quiet llama-cpp-python==0.3.36 || echo "llama.cpp was not built; the benchmark of writing leaves it out" >&2
if "$env/bin/pip" freeze | grep -qi '^torchvision'; then
    echo "torchvision was installed: a build other than the CPU's may have replaced torch; remove $env and look at the pins" >&2
    exit 1
fi
"$env/bin/python" -c 'import torch, diffusers, pythae; print("peers ready: torch", torch.__version__)'
