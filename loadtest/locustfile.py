"""Users of every door for locust: a socket, an event stream, a plain request.

    make load HOST=http://127.0.0.1:3006        (or: locust -f loadtest/locustfile.py --host … --headless)

The stages are 2 minutes up to 10 users, 5 minutes at 50, 2 minutes down; STAGE_SECONDS_SCALE=0.1 makes
them a tenth as long. A user signs in by `POST /demo/token` (a development server), or with TOKEN. What is
reported: the time to the first token and to the whole answer, by door; an answer fails where it is not its
message, where it has no end, and where it takes over LONGEST_SECONDS (5; the stand-in model of a bare machine
reads aloud and needs 15).
"""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Iterator
from typing import Any

import websocket
from locust import HttpUser, LoadTestShape, between, task

QUESTIONS = (
    "What career paths would suit someone with high creativity?",
    "Apa arti skor RIASEC saya?",
    "How do I find out whether a job is for me?",
)
SCALE = float(os.environ.get("STAGE_SECONDS_SCALE", "1"))
LONGEST_MS = float(os.environ.get("LONGEST_SECONDS", "5")) * 1000


class Stages(LoadTestShape):
    """Up, hold, down."""

    stages = ((120 * SCALE, 10), (420 * SCALE, 50), (540 * SCALE, 1))

    def tick(self) -> tuple[int, float] | None:
        """Users and spawn rate now, `None` at the end."""
        for until, users in self.stages:
            if self.get_run_time() < until:
                return users, max(1.0, users / 10)
        return None


class ChatUser(HttpUser):
    """Signs in, and asks now and then."""

    abstract = True
    wait_time = between(1, 5)

    def on_start(self) -> None:
        """Get a token and a conversation."""
        self.token = os.environ.get("TOKEN") or self.client.post("/demo/token").json()["token"]
        self.client.headers["Authorization"] = f"Bearer {self.token}"
        self.conversation = self.client.post("/api/chat/conversations", json={}).json()["id"]
        self.asked = 0

    def question(self) -> dict[str, str]:
        """The next question, with an id of its own."""
        self.asked += 1
        return {"content": QUESTIONS[self.asked % len(QUESTIONS)], "client_message_id": str(uuid.uuid4())}

    def report(self, door: str, name: str, began: float, *, size: int = 0, wrong: str = "") -> None:
        """One measurement; `wrong` makes it a failure."""
        took = (time.perf_counter() - began) * 1000
        if not wrong and took > LONGEST_MS:
            wrong = f"over {LONGEST_MS:.0f} ms"
        self.environment.events.request.fire(
            request_type=door,
            name=name,
            response_time=took,
            response_length=size,
            exception=RuntimeError(wrong) if wrong else None,
            context={},
        )

    def follow(self, door: str, frames: Iterator[dict[str, Any]], began: float) -> None:
        """Apply the client's rule to frames, and report the first token and the end."""
        text, first = "", True
        for frame in frames:
            if frame["type"] == "delta" and frame.get("kind") is None:
                text = text[: frame["at"]] + frame["text"]
                if first:
                    self.report(door, "first token", began)
                    first = False
            elif frame["type"] == "generation.finished":
                content = (frame["message"] or {}).get("content")
                wrong = (
                    "" if content and content == text else f"{frame['status']}: the text is not the message"
                )
                self.report(door, "answer", began, size=len(text), wrong=wrong)
                return
            elif frame["type"] == "error":
                self.report(door, "answer", began, wrong=frame["code"])
                return
        self.report(door, "answer", began, wrong="the stream ended without an end")


class SocketUser(ChatUser):
    """Keeps one WebSocket."""

    def on_start(self) -> None:
        """Sign in, open the socket, say hello."""
        super().on_start()
        url = self.host.replace("http", "ws", 1) + "/api/chat/ws"
        self.socket = websocket.create_connection(url, subprotocols=["atma.chat.v1"], timeout=60)
        self.socket.send(json.dumps({"type": "hello", "token": self.token}))
        while json.loads(self.socket.recv())["type"] != "synced":
            pass

    def on_stop(self) -> None:
        """Close it."""
        self.socket.close()

    @task
    def ask(self) -> None:
        """Send a message and follow its answer."""
        began = time.perf_counter()
        command = {"type": "message.send", "id": "1", "conversation": self.conversation, **self.question()}
        self.socket.send(json.dumps(command))
        self.follow("socket", iter(lambda: json.loads(self.socket.recv()), None), began)


class StreamUser(ChatUser):
    """Posts, and reads the turn as server-sent events."""

    @task
    def ask(self) -> None:
        """Send a message and follow its answer."""
        began = time.perf_counter()
        with self.client.post(
            f"/api/chat/conversations/{self.conversation}/messages",
            json=self.question(),
            headers={"Accept": "text/event-stream"},
            stream=True,
            catch_response=True,
            name="POST messages (stream)",
        ) as response:
            lines = (line for line in response.iter_lines() if line.startswith(b"data: "))
            self.follow("stream", (json.loads(line[6:]) for line in lines), began)


class RestUser(ChatUser):
    """Posts, and waits for the whole answer."""

    @task
    def ask(self) -> None:
        """Send a message and check the answer."""
        with self.client.post(
            f"/api/chat/conversations/{self.conversation}/messages",
            json=self.question(),
            name="POST messages (wait)",
            catch_response=True,
        ) as response:
            if response.status_code != 200:
                response.failure(f"status {response.status_code}")
            elif not (response.json().get("assistant_message") or {}).get("content"):
                response.failure("no answer")
            elif response.elapsed.total_seconds() * 1000 > LONGEST_MS:
                response.failure(f"over {LONGEST_MS:.0f} ms")
