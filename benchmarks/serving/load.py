"""Load: requests over HTTP, sent by a process of its own so that what it takes is not the server's, and what became of each.

`drive(plan)` starts that process, `python load.py` is it: a plan as JSON on stdin, a list of answers on stdout. In a closed plan each of
`clients` asks again as soon as it is answered; in an open one requests are due at random times of a mean `rate`, whoever was answered, and
an answer's seconds count from when its request was due.
"""

import asyncio
import random
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Any

from pydantic import BaseModel


class Ask(BaseModel):
    """A request. `{n}` in its body, or in `once`, its idempotency key, is the number of the request."""

    method: str = "POST"
    path: str = "/"
    key: str = ""
    body: str = ""
    once: str = ""

    def written(self, number: int) -> bytes:
        body = self.body.replace("{n}", str(number)).encode()
        lines = [f"{self.method} {self.path} HTTP/1.1", "host: karat", f"content-length: {len(body)}", "content-type: application/json"]
        lines += [f"authorization: Bearer {self.key}"] if self.key else []
        lines += [f"idempotency-key: {self.once.replace('{n}', str(number))}"] if self.once else []
        return "\r\n".join([*lines, "", ""]).encode() + body


class Plan(BaseModel):
    """What to ask, in turn, for how many seconds: by so many `clients`, or at a `rate`. `first` is the number of the first request."""

    host: str
    port: int
    asks: tuple[Ask, ...]
    seconds: float
    clients: int | None = None
    rate: float | None = None
    first: int = 0
    keeps: bool = False


class Answer(BaseModel):
    """What became of a request; status 0 where the connection broke. Times are of the monotonic clock, which all processes share."""

    number: int
    ask: int
    due: float
    ended: float
    status: int
    retry_after: float | None = None
    body: str = ""

    @property
    def seconds(self) -> float:
        return self.ended - self.due


def drive(plan: Plan) -> list[Answer]:
    """Send the requests of a plan and give the answers, in the order in which they came."""
    done = subprocess.run([sys.executable, __file__], input=plan.model_dump_json(), stdout=subprocess.PIPE, text=True, check=True)
    return [Answer.model_validate_json(line) for line in done.stdout.splitlines()]


def quantile(values: Sequence[float], share: float) -> float:
    """Give the value that a share of some values do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def rate(answers: Sequence[Answer]) -> float:
    """Give how many requests were answered a second. Raises RuntimeError unless all were."""
    if refused := [answer for answer in answers if answer.status != 200]:
        raise RuntimeError(f"Not all was answered: {refused[:2]}")
    return len(answers) / (max(answer.ended for answer in answers) - min(answer.due for answer in answers))


def in_rounds(
    plans: Mapping[str, Plan], clients: Sequence[int], rounds: int, spent: Mapping[str, Callable[[], float]]
) -> dict[tuple[str, int], dict[str, float]]:
    """Let all contenders answer each number of clients, round after round; give the medians of answers a second, p95 and CPU time of each.

    What else the machine does then hits all of them alike, though one with more threads gets more of a machine that is busy: hence the CPU
    time, which `spent` gives of each, in seconds so far.
    """
    found: dict[tuple[str, int], list[dict[str, float]]] = {}
    for plan in plans.values():
        drive(plan.model_copy(update={"clients": 1}))  # warms up
    for number in range(1, rounds + 1):
        for each in clients:
            for name, plan in plans.items():
                before = spent[name]()
                answers = drive(plan.model_copy(update={"clients": each, "first": number << 16}))
                slowest = quantile([answer.seconds for answer in answers], 0.95)
                figures = {"a second": rate(answers), "p95 s": slowest, "CPU s": (spent[name]() - before) / len(answers)}
                found.setdefault((name, each), []).append(figures)
    return {key: {name: median(each[name] for each in some) for name in some[0]} for key, some in found.items()}


class Connections:
    """Connections to one server that are kept for the next request."""

    def __init__(self, plan: Plan) -> None:
        self.plan, self.idle = plan, list[tuple[asyncio.StreamReader, asyncio.StreamWriter]]()

    async def ask(self, number: int, due: float) -> Answer:
        place = number % len(self.plan.asks)
        told: dict[str, Any] = {"number": number, "ask": place, "due": due, "status": 0}
        try:
            self.idle = [each for each in self.idle if not each[0].at_eof()]  # servers close what is idle for long
            reader, writer = self.idle.pop() if self.idle else await asyncio.open_connection(self.plan.host, self.plan.port)
            writer.write(self.plan.asks[place].written(number))
            status, headers, body = await read_answer(reader)
            told |= {"status": status, "retry_after": headers.get("retry-after")}
            told |= {"body": body.decode()} if self.plan.keeps else {}
            if headers.get("connection") == "close":
                writer.close()
            else:
                self.idle.append((reader, writer))
        except (OSError, asyncio.IncompleteReadError):
            pass
        return Answer(ended=time.monotonic(), **told)


async def read_answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    """Read a whole answer of a known length."""
    head, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")[:-2]
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return int(head.split()[1]), headers, await reader.readexactly(int(headers.get("content-length", 0)))


async def sent(plan: Plan) -> list[Answer]:
    """Send all and give what became of it."""
    connections, answers, began = Connections(plan), list[Answer](), time.monotonic()
    numbers = iter(range(plan.first, sys.maxsize))

    async def client() -> None:
        while (now := time.monotonic()) < began + plan.seconds:
            answers.append(await connections.ask(next(numbers), now))
            if answers[-1].status == 0:
                await asyncio.sleep(0.05)

    async def one(number: int, due: float) -> None:
        answers.append(await connections.ask(number, due))

    if plan.clients is not None:
        await asyncio.gather(*(client() for _ in range(plan.clients)))
        return answers
    assert plan.rate is not None
    chance, due, running = random.Random(plan.first), began, set[asyncio.Task[None]]()
    while (due := due + chance.expovariate(plan.rate)) < began + plan.seconds:
        await asyncio.sleep(due - time.monotonic())
        task = asyncio.create_task(one(next(numbers), due))
        running.add(task)
        task.add_done_callback(running.discard)
    await asyncio.gather(*running)
    return answers


if __name__ == "__main__":
    for answer in asyncio.run(sent(Plan.model_validate_json(sys.stdin.read()))):
        print(answer.model_dump_json())
