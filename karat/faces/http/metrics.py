"""Figures for Prometheus: what waits, how long, how long it took, what came out, what failed, what is held in memory."""

import asyncio
import os
from pathlib import Path

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from karat.app.serving.service import Job, Service
from karat.faces.http.auth import Administrator

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
router = APIRouter(include_in_schema=False)


class Metrics:
    """The figures of one server; each server has its own registry."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        known = self.registry
        self.requests = Counter("karat_requests", "Requests by route and status", ["route", "status"], registry=known)
        self.answering = Histogram("karat_request_seconds", "Seconds to an answer", ["route"], buckets=SECONDS, registry=known)
        self.errors = Counter("karat_errors", "Failed jobs by kind and code", ["kind", "code"], registry=known)
        self.waited = Histogram(
            "karat_wait_seconds", "Seconds from acceptance to a worker", ["kind", "release"], buckets=SECONDS, registry=known
        )
        self.served = Histogram("karat_service_seconds", "Device seconds of a job", ["kind", "release"], buckets=SECONDS, registry=known)
        self.together = Histogram(
            "karat_batch", "Jobs computed together", ["kind", "release"], buckets=(1, 2, 4, 8, 16, 32), registry=known
        )
        self.pictures = Counter("karat_pictures", "Pictures made", ["release"], registry=known)
        self.tokens = Counter("karat_tokens", "Tokens read and written", ["release", "direction"], registry=known)
        self.waiting = Gauge("karat_queue", "Jobs that wait", registry=known)
        self.workers = Gauge("karat_workers", "Workers that run", registry=known)
        self.restarts = Gauge("karat_worker_restarts", "Workers that died and were started again", registry=known)
        self.memory = Gauge("karat_memory_bytes", "Resident memory", ["process"], registry=known)

    def ended(self, job: Job) -> None:
        """Count a job that has ended."""
        release = str(job.spec.get("release", ""))[:12]
        if job.started is not None:
            self.waited.labels(job.kind, release).observe(max(0.0, job.started - job.submitted))
        self.served.labels(job.kind, release).observe(job.seconds)
        if job.error is not None:
            self.errors.labels(job.kind, str(job.error.get("code"))).inc()
        result = job.result or {}
        if together := result.get("together"):
            self.together.labels(job.kind, release).observe(together)
        self.pictures.labels(release).inc(len(result.get("assets", ())))
        for direction in ("read", "written"):
            self.tokens.labels(release, direction).inc(result.get(direction, 0))


@router.get("/metrics")
async def metrics(request: Request, caller: Administrator) -> Response:
    """Give all figures in Prometheus's text form."""
    service: Service = request.app.state.service
    figures: Metrics = request.app.state.metrics
    figures.waiting.set(sum((await asyncio.to_thread(service.store.queue.waiting)).values()))
    figures.workers.set(len(service.crew.running))
    figures.restarts.set(service.crew.restarts)
    figures.memory.labels("server").set(_resident(os.getpid()))
    for place, process in service.crew.running.items():
        figures.memory.labels(f"worker {place}").set(_resident(process.pid))
    return Response(generate_latest(figures.registry), media_type=CONTENT_TYPE_LATEST)


def _resident(process: int) -> int:
    """Give a process's resident bytes; 0 where the system does not say."""
    try:
        return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0
