"""Pages of lists: some things and where the next ones begin."""

from typing import Annotated

from fastapi import Query

Limit = Annotated[int, Query(ge=1, le=200, description="how many to give")]
Before = Annotated[int | None, Query(ge=0, lt=2**63, description="the `next` of the page before")]
