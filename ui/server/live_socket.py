"""The door to Live: a WebSocket at /live, between a page or a program and the child that speaks.

    there    JSON in text messages, the first {"do": "start", ...} with the fields of `Start`: the voice, the
             rate of the samples, the delay, and by how much the pitch is moved (null: by itself); then
             {"do": "voice", "model_id"}, {"do": "pitch", "semitones"}, {"do": "bypass", "on"},
             {"do": "talk", "on"}, {"do": "stop"}; and sound in binary ones: 16-bit samples, little-endian,
             mono, at most a second in each, from "ready" on, as it is spoken
    back     sound in the same form, sample for sample, a little later; and "ready", "state" and "voice" of
             `pipelines/live/child.py`; at last {"event": "over"} with the "job_id" of the take, if there is
             one, and maybe a "message", or {"event": "refused", "message"}

What is asked at every door is asked here: the gate lets in this site's pages alone, the login who is known,
and this asks for the caller, how many doors are held open, and whose the voice is.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import anyio.to_thread
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from pipelines.jobs.live_seat import Sitting
from pipelines.live.wire import RATES_HZ, SOUND, Unpacker, packed, words
from pipelines.store.records import Caller, Row
from pipelines.users.limits import require_share
from rvc.checked import check_fields, read_settings
from rvc.errors import ConfigError, LimitError, RvcError, UnknownNameError
from ui.look.language import retold
from ui.server.gate import LIVE
from ui.server.services import Services, error_message

if TYPE_CHECKING:
    from pipelines.jobs.live_seat import LiveSeat

logger = logging.getLogger(__name__)
START_S = 10.0  # for the first message to come
READY_S = 120.0  # for the voice to be loaded
SILENT_S = 10.0  # without any sound
STOP_S = 10.0  # for the child to close its recordings
AHEAD_S = 2.0  # by which sound may come sooner than it is spoken
UNREAD_BYTES = 1 << 20  # that wait for a child that waits for a client that reads nothing
MOST_TEXT = 4_096
SEMITONES = (-36.0, 36.0)
NO_MESSAGE = (
    "What was sent is no message of Live; reload the page, or see docs/live.md for what a program may send."
)
TOO_FAST = "Sound came faster than it is spoken; send it as the microphone gives it."
SILENT = "No sound has come for 10 seconds, so Live has stopped; check the microphone and start again."
UNREAD = "What was spoken is not read, so Live has stopped; check the connection and start again."
FAULT = "Live has failed through a fault of the program; start it again."
TOO_LONG = (
    "Live has stopped, because a recording here has at most {minutes:.0f} minutes; start again to go on."
)


class LiveSocket:
    def __init__(self, services: Services) -> None:
        self._services = services
        self._open: list[tuple[Caller, int]] = []

    def routes(self) -> list[WebSocketRoute]:
        return [WebSocketRoute(LIVE, self.serve)]

    async def serve(self, socket: WebSocket) -> None:
        """Let one speaker in, until one of both goes; then say why, if it was not the speaker's wish."""
        await socket.accept()
        last: Row = {"event": "over"}
        try:
            caller = await anyio.to_thread.run_sync(self._services.caller, socket)
            with self._counted(caller):
                last |= await self._speak(socket, caller)
        except RvcError as error:
            last = {"event": "refused", "message": error_message(error)}
        except (WebSocketDisconnect, OSError):
            pass  # gone before anything was kept
        with suppress(RuntimeError, OSError, WebSocketDisconnect):
            if socket.application_state == WebSocketState.CONNECTED:
                await socket.send_json(last)
                await socket.close()

    @contextmanager
    def _counted(self, caller: Caller) -> Iterator[None]:
        require_share("streams", caller, self._open, self._services.settings.calls_at_once)
        mine = (caller, 1)
        self._open.append(mine)
        try:
            yield
        finally:
            self._open.remove(mine)

    async def _speak(self, socket: WebSocket, caller: Caller) -> Row:
        """Take the seat and give it back; return what is said at the end."""
        try:
            first = await asyncio.wait_for(socket.receive(), START_S)
        except TimeoutError as error:
            raise ConfigError("Nothing was asked for; start Live on its page.") from error
        said = told(first)
        if said.pop("do") != "start":
            raise ConfigError(NO_MESSAGE)
        start = read_settings(Start, said)
        seat: LiveSeat = self._services.jobs.live
        sitting = await anyio.to_thread.run_sync(seat.take, caller, start.model_id)
        kept: Row | None = None
        try:
            bridge = Bridge(socket, sitting, seat, self._services.settings.max_audio_seconds)
            kept, why = await bridge.run(start)
        finally:
            # Also when the server ends this: the seat is free and the child gone, whatever happens.
            row = await asyncio.shield(asyncio.to_thread(seat.leave, sitting, kept))
        return ({"job_id": row["id"]} if row else {}) | ({"message": retold(why)} if why else {})


@dataclass(frozen=True, kw_only=True)
class Start:
    """What the first message asks for."""

    model_id: str = ""
    rate_hz: int = 48_000
    delay: str = "default"
    semitones: float | None = None

    def __post_init__(self) -> None:
        choices = {"rate_hz": RATES_HZ, "delay": ("default", "low")}
        check_fields(self, {"semitones": SEMITONES}, choices)


def told(message: Any) -> Row:  # noqa: ANN401 -- whatever was sent
    """Read a text message; a ConfigError if it is none of ours."""
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code", 1000))
    text = message.get("text")
    try:
        said = json.loads(text) if text is not None and len(text) <= MOST_TEXT else None
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, dict) or not isinstance(said.get("do"), str):
        raise ConfigError(NO_MESSAGE)
    return said


def switch_of(said: Row) -> bool:
    if not isinstance(said.get("on"), bool):
        raise ConfigError(NO_MESSAGE)
    return bool(said["on"])


class Bridge:
    """One session between a socket and a child."""

    def __init__(self, socket: WebSocket, sitting: Sitting, seat: LiveSeat, most_s: float) -> None:
        self._socket, self._sitting, self._seat, self._most_s = socket, sitting, seat, most_s
        self._ready = asyncio.Event()
        self._ready_s = self._heard_s = 0.0
        self._rate_hz = self._samples = 0
        self._asked: Start
        self._child: asyncio.WriteTransport

    async def run(self, start: Start) -> tuple[Row | None, str]:
        """Carry sound to and fro; return what the child has kept, and why it ended if the speaker did not."""
        loop, child = asyncio.get_running_loop(), self._sitting.child
        reader = asyncio.StreamReader()
        back, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), child.stdout)
        self._child, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, child.stdin)
        self._asked, self._rate_hz = start, start.rate_hz
        folder = str(self._sitting.folder / "result")
        begun = asdict(start) | self._voice() | self._seat.marking()
        self._child.write(words(do="start", folder=folder, **begun))
        told = asyncio.create_task(self._tell(reader))
        asked = [asyncio.create_task(self._listen()), asyncio.create_task(self._watch())]
        try:
            await asyncio.wait([told, *asked], return_when=asyncio.FIRST_COMPLETED)
            if told.done():
                return told.result(), ""
            said = next(task for task in asked if task.done()).result()
            self._child.write(words(do="stop"))
            with suppress(TimeoutError):
                return await asyncio.wait_for(told, STOP_S), said
            return None, said
        finally:
            for task in (told, *asked):
                task.cancel()
            await asyncio.gather(told, *asked, return_exceptions=True)
            if not self._child.is_closing():  # as it does by itself when the child is gone
                self._child.abort()
            back.close()

    def _voice(self) -> Row:
        model = self._sitting.model
        folder = self._seat.folder_of(self._sitting)
        return {"model_folder": str(folder), "model_id": model["id"], "model_name": model["model_name"]}

    async def _listen(self) -> str:
        """Pass on what the speaker sends, until there is a stop or nobody any more."""
        while True:
            message = await self._socket.receive()
            if message["type"] == "websocket.disconnect":
                return ""
            if (sound := message.get("bytes")) is not None:
                self._hear(sound)
                continue
            said = told(message)
            if said["do"] == "stop":
                return ""
            try:
                self._child.write(words(**await self._order(said)))
            except UnknownNameError as error:  # of the voice that was to come; the one that is there goes on
                await self._socket.send_json({"event": "voice", "message": error_message(error)})

    def _hear(self, sound: bytes) -> None:
        if len(sound) % 2 or len(sound) > 2 * self._rate_hz:
            raise ConfigError(NO_MESSAGE)
        if not self._ready.is_set():
            return
        self._heard_s = time.monotonic()
        self._samples += len(sound) // 2
        if self._samples > (self._heard_s - self._ready_s + AHEAD_S) * self._rate_hz:
            raise LimitError(TOO_FAST)
        self._child.write(packed(SOUND, sound))

    async def _order(self, said: Row) -> Row:
        do = said["do"]
        if do == "pitch":
            moved = replace(self._asked, semitones=said.get("semitones"))
            return {"do": do, "semitones": moved.semitones}
        if do in ("bypass", "talk"):
            return {"do": do, "on": switch_of(said)}
        if do == "voice":
            await anyio.to_thread.run_sync(self._seat.change, self._sitting, str(said.get("model_id")))
            return {"do": do} | self._voice()
        raise ConfigError(NO_MESSAGE)

    async def _tell(self, reader: asyncio.StreamReader) -> Row | None:
        """Pass on what the child says; return what it has kept."""
        unpacker = Unpacker()
        while data := await reader.read(1 << 16):
            for kind, content in unpacker.push(data):
                if kind == SOUND:
                    with suppress(RuntimeError, WebSocketDisconnect):
                        await self._socket.send_bytes(content)
                    continue
                event: Row = json.loads(content)
                if event["event"] == "kept":
                    return event
                if event["event"] == "refused":
                    raise ConfigError(str(event["message"]))
                if event["event"] == "ready":
                    self._ready_s = self._heard_s = time.monotonic()
                    self._ready.set()
                if "message" in event:
                    event["message"] = retold(str(event["message"]))
                with suppress(RuntimeError, WebSocketDisconnect):
                    await self._socket.send_json(event)
        raise ConfigError(self._sitting.over or FAULT)

    async def _watch(self) -> str:
        """Wait for what ends a session beside its speaker."""
        try:
            await asyncio.wait_for(self._ready.wait(), READY_S)
        except TimeoutError as error:
            raise ConfigError(
                "The voice did not get ready in time; try again when less runs here."
            ) from error
        while True:
            await asyncio.sleep(0.5)
            if self._sitting.over:
                raise ConfigError(self._sitting.over)
            if self._child.get_write_buffer_size() > UNREAD_BYTES:
                raise LimitError(UNREAD)
            if time.monotonic() - self._heard_s > SILENT_S:
                return SILENT
            if time.monotonic() - self._ready_s > self._most_s:
                return TOO_LONG.format(minutes=self._most_s / 60)
