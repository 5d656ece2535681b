"""LitServe with a model that returns what it gets, in a worker process of its own.

    python litserve_identity.py --port PORT
"""

import argparse
from typing import Any

import litserve


class Identity(litserve.LitAPI):
    """Returns what it gets."""

    def setup(self, device: str) -> None:
        pass

    def decode_request(self, request: dict[str, Any]) -> dict[str, Any]:
        return request

    def predict(self, x: dict[str, Any]) -> dict[str, Any]:
        return x

    def encode_response(self, output: dict[str, Any]) -> dict[str, Any]:
        return output


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    server = litserve.LitServer(Identity(), accelerator="cpu", workers_per_device=1)
    server.run(host="127.0.0.1", port=parser.parse_args().port, log_level="warning", generate_client_file=False)
