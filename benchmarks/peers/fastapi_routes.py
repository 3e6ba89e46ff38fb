"""What one writes by hand with FastAPI, as its own documentation and those of aiokafka and asyncpg do it; one uvicorn process.

`/hello` is the floor that the edge is held against; `POST /awards` publishes with aiokafka and waits for the acknowledgement;
`/balance/{user_id}` asks Postgres. No token is checked, nothing is signed, retried or told apart. Run by the suite:
`python -m benchmarks.peers.fastapi_routes PORT SERVERS TOPIC DSN`.
"""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import uvicorn
from aiokafka import AIOKafkaProducer
from fastapi import FastAPI, HTTPException, Request
from pydantic import BaseModel


class Award(BaseModel):
    user_id: str
    amount: int


class Balance(BaseModel):
    user_id: str
    available: int
    held: int


def create(servers: str, topic: str, dsn: str) -> FastAPI:
    """The application; it connects when it is started."""

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        producer = AIOKafkaProducer(bootstrap_servers=servers, acks="all", enable_idempotence=True)
        await producer.start()
        app.state.producer = producer
        async with asyncpg.create_pool(dsn, min_size=12, max_size=12) as app.state.pool:
            yield
        await producer.stop()

    app = FastAPI(lifespan=life)

    @app.get("/hello")
    async def hello() -> dict[str, str]:
        return {"message": "hello"}

    @app.post("/awards", status_code=202)
    async def award(request: Request, body: Award) -> dict[str, int]:
        value = body.model_dump_json().encode()
        sent = await request.app.state.producer.send_and_wait(topic, value, key=body.user_id.encode())
        return {"partition": sent.partition, "offset": sent.offset}

    @app.get("/balance/{user_id}")
    async def balance(request: Request, user_id: str) -> Balance:
        query = "SELECT user_id, available, held FROM balance WHERE user_id = $1"
        row = await request.app.state.pool.fetchrow(query, user_id)
        if row is None:
            raise HTTPException(404)
        return Balance(**row)

    return app


if __name__ == "__main__":
    uvicorn.run(
        create(*sys.argv[2:]), port=int(sys.argv[1]), loop="uvloop", http="httptools", ws="none", access_log=False
    )
