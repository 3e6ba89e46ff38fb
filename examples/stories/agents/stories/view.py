"""What may be asked about stories."""

from datetime import datetime

from pydantic import BaseModel

from streams.view import Db, Page, Paging, view

SHOWN = "SELECT story_id, author_id, title, text, revision, changed_at FROM story WHERE shown AND NOT EXISTS (SELECT FROM author WHERE user_id = author_id AND hidden)"


class StoryView(BaseModel):
    """A story as everybody reads it; what is wrong with it is reported of this revision of `stories:<story_id>`."""

    story_id: str
    author_id: str
    title: str
    text: str
    revision: int
    changed_at: datetime


@view(roles=("Guest",))
async def story(db: Db, story_id: str) -> StoryView | None:
    """One story."""
    row = await db.fetchrow(f"{SHOWN} AND story_id = $1", story_id)
    return StoryView(**row) if row else None


@view(roles=("Guest",))
async def stories(db: Db, paging: Paging) -> Page[StoryView]:
    """The stories that there are to read, by their ids."""
    found = await db.fetch(
        f"{SHOWN} AND story_id > $1 ORDER BY story_id LIMIT $2", paging.after or "", paging.limit + 1
    )
    return paging.page([StoryView(**row) for row in found], lambda one: one.story_id)
