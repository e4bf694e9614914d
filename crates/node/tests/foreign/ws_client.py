"""A WebSocket client that is not ours: HOST:PORT DIRECTORY IDENTITY WHAT."""

import asyncio
import ssl
import sys

import websockets
from websockets.asyncio.client import connect

address, directory, identity, what = sys.argv[1:]
host, port = address.split(":")


def context():
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.load_verify_locations(directory + "ca.crt")
    if identity != "none":
        made.load_cert_chain(f"{directory}{identity}.crt", f"{directory}{identity}.key")
    return made


def opened(path="/certus", subprotocols=("certus.v1",)):
    return connect(
        f"wss://server.test:{port}{path}",
        host=host,
        port=int(port),
        ssl=context(),
        subprotocols=subprotocols,
        proxy=None,
        open_timeout=50,
    )


async def closing(socket):
    """What the other end closed with."""
    try:
        while True:
            await socket.recv()
    except websockets.ConnectionClosed as closed:
        received = closed.rcvd
        print("closed", received.code if received else None, received.reason if received else None, flush=True)


async def echo():
    async with opened() as socket:
        print("speaks", socket.subprotocol, flush=True)
        # Borders of messages mean nothing: what comes back may be cut elsewhere.
        sent = bytes(range(256)) * 1024
        for at in range(0, len(sent), 10_000):
            await socket.send(sent[at : at + 10_000])
        # An empty message ends our direction.
        await socket.send(b"")
        came = b""
        while message := await socket.recv():
            came += message
        print("whole" if came == sent else "other bytes", flush=True)
        await closing(socket)


async def stay():
    async with opened() as socket:
        await socket.send(b"here")
        print("came", await socket.recv(), flush=True)
        await closing(socket)


async def text():
    async with opened() as socket:
        await socket.send("words")
        await closing(socket)


async def refused(**how):
    try:
        async with opened(**how) as socket:
            await closing(socket)
    except websockets.InvalidStatus as refusal:
        print("status", refusal.response.status_code, refusal.response.body, flush=True)
    except (ssl.SSLError, OSError, websockets.InvalidMessage) as error:
        cause = error.__cause__ or error
        print("failed", type(error).__name__, error, cause, flush=True)


asyncio.run(
    {
        "echo": echo,
        "stay": stay,
        "text": text,
        "refused": refused,
        "elsewhere": lambda: refused(path="/elsewhere"),
        "other-protocol": lambda: refused(subprotocols=("mqtt",)),
    }[what]()
)
