"""What is under way: a person's jobs that wait or run, with how far they are, until they end. They go on when the page is left."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence

from nicegui import ui

from karat.app.serving.service import ENDED, Job, JobView
from karat.faces.studio.parts import bare, block, careful, done, seconds, tag
from karat.faces.studio.visit import Visit, is_chinese
from karat.faces.studio.words import wrong
from karat.words.errors import KaratError

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
        self.rows: dict[str, _Row] = {}
        self.told, self.opened = set[str](), time.time()
        self.box = block("stack").props('role="status" aria-live="polite"')
        self.timer = ui.timer(EVERY, self.look)

    async def look(self) -> None:
        """Look at the queue once."""
        owner, queue = self.visit.caller.owner, self.visit.service.store.queue
        latest = await asyncio.to_thread(queue.latest, owner=owner, limit=LOOKED_AT)
        own = [job for job in latest if job.kind in self.kinds]
        going = {job.id: job for job in own if job.state not in ENDED}
        for id in [id for id in self.rows if id not in going]:
            self.rows.pop(id).card.delete()
        for job in [job for job in own if (job.ended or 0.0) >= self.opened and job.id not in self.told]:
            self.told.add(job.id)  # some end between two looks and are never seen going
            self._tell(job)
            await self.ended(job)
        for id, job in going.items():
            if id not in self.rows:
                with self.box:
                    self.rows[id] = _Row(self.visit, job, careful(lambda job=job: self._stop(job)))
            self.rows[id].show(await self.visit.service.view(job))

    async def _stop(self, job: Job) -> None:
        await self.visit.service.desk.cancel(job.id)

    def _tell(self, job: Job) -> None:
        if job.state == "failed" and job.error:
            error = KaratError(job.error["problem"], repair=job.error["repair"])
            ui.notify(
                " ".join(wrong(error, chinese=is_chinese())),
                type="negative",
                position="bottom",
                timeout=0,
                multi_line=True,
                close_button="×",
            )
        elif job.state == "done":
            done(self.visit("{what}: done.", what=self.visit(NAMES[job.kind])))


class _Row:
    """One job: its name, how far it is, and the way to stop it."""

    def __init__(self, visit: Visit, job: Job, stop: Callable[[], Awaitable[None]]) -> None:
        self.visit = visit
        name = visit(NAMES[job.kind])
        with block("card") as self.card:
            with block("line"):
                tag("h3", name)
                self.words = tag("span", "", "soft small grow")
                bare(visit("Stop"), stop)
            self.bar = ui.linear_progress(0, show_value=False).props(f'aria-label="{name}"')

    def show(self, view: JobView) -> None:
        job, visit = view.job, self.visit
        left = "" if view.seconds_left is None or not job.total else visit("about {t} left", t=seconds(visit, view.seconds_left))
        waits = visit("waits, {n} ahead", n=view.position or 0)
        self.words.text = waits if job.state == "queued" else visit("stopping") if job.cancelling else left
        self.bar.value = job.done / job.total if job.total else 0
        self.bar.props(remove="indeterminate") if job.total else self.bar.props("indeterminate")
