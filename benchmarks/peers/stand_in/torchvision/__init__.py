"""Stands in for torchvision, which denoising-diffusion-pytorch imports at its first line.

The package wants `transforms` and `utils` for the folder reader and the picture writer of its own `Trainer`. The benchmark
hands it tensors and writes the pictures itself, so nothing of the two is ever called: they are empty here, and a call
would fail loudly instead of measuring something else. torchvision itself is left out because the builds that fit the
CPU build of torch cannot be relied on (they install, and then fail at import), and others bring gigabytes of CUDA.
"""
