"""What is under way: a person's jobs that wait or run, with how far they are, until they end. They go on when the page is left."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from nicegui import ui

from karat.app.serving.service import ENDED, Job
from karat.faces.studio.parts import bare, block, careful, done, seconds, tag
from karat.faces.studio.visit import Visit

EVERY = 1.0
LOOKED_AT = 40
NAMES = {
    "import": "Import",
    "check": "Check",
    "snapshot": "Snapshot",
    "plan": "Plan",
    "run": "Training",
    "train": "Training",
    "evaluate": "Evaluation",
    "release": "Release",
}


class UnderWay:
    """Shows jobs of some kinds, and tells `ended` of each one that comes to its end while the page is open."""

    def __init__(self, visit: Visit, kinds: Sequence[str], ended: Callable[[Job], Awaitable[None]]) -> None:
        self.visit, self.kinds, self.ended = visit, tuple(kinds), ended
        self.shown: dict[str, Job] = {}
        self.box = block("stack").props('role="status" aria-live="polite"')
        self.timer = ui.timer(EVERY, self.look)

    async def look(self) -> None:
        """Look at the queue once."""
        owner, queue = self.visit.caller.owner, self.visit.service.store.queue
        latest = await asyncio.to_thread(queue.latest, owner=owner, limit=LOOKED_AT)
        open_jobs = {job.id: job for job in latest if job.kind in self.kinds and job.state not in ENDED}
        over = [await asyncio.to_thread(queue.get, id) for id in self.shown if id not in open_jobs]
        if open_jobs != self.shown:
            self.shown = open_jobs
            await self._draw()
        for job in over:
            self._tell(job)
            await self.ended(job)

    async def _draw(self) -> None:
        views = [await self.visit.service.view(job) for job in self.shown.values()]
        self.box.clear()
        with self.box:
            for view in views:
                job, visit = view.job, self.visit
                with block("card"):
                    with block("line"):
                        tag("h3", visit(NAMES[job.kind]))
                        waits = visit("waits, {n} ahead", n=view.position or 0)
                        left = (
                            ""
                            if view.seconds_left is None or not job.total
                            else visit("about {t} left", t=seconds(visit, view.seconds_left))
                        )
                        tag("span", waits if job.state == "queued" else visit("stopping") if job.cancelling else left, "soft small grow")
                        bare(visit("Stop"), careful(lambda job=job: self._stop(job)))
                    bar = ui.linear_progress(job.done / job.total if job.total else 0, show_value=False)
                    bar.props(f'aria-label="{visit(NAMES[job.kind])}"' + ("" if job.total else " indeterminate"))

    async def _stop(self, job: Job) -> None:
        await self.visit.service.desk.cancel(job.id)

    def _tell(self, job: Job) -> None:
        if job.state == "failed" and job.error:
            told = f"{job.error['problem']} {job.error['repair']}"
            ui.notify(told, type="negative", position="bottom", timeout=0, multi_line=True, close_button="×")
        elif job.state == "done":
            done(self.visit("{what}: done.", what=self.visit(NAMES[job.kind])))
