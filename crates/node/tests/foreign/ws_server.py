"""A WebSocket server that is not ours, which echoes: HOST:PORT DIRECTORY."""

import asyncio
import ssl
import sys

import websockets
from websockets.asyncio.server import serve

address, directory = sys.argv[1:]
host, port = address.split(":")


async def echo(socket):
    names = dict(part[0] for part in socket.transport.get_extra_info("peercert")["subject"])
    print("caller", names["commonName"], socket.request.path, socket.subprotocol, flush=True)
    try:
        async for message in socket:
            if message == b"policy":
                await socket.close(1008, "not any more")
                return
            await socket.send(message)
        print("closed", socket.close_code, flush=True)
    except websockets.ConnectionClosed as closed:
        print("broke", closed, flush=True)


async def main():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory + "server.crt", directory + "server.key")
    context.load_verify_locations(directory + "ca.crt")
    context.verify_mode = ssl.CERT_REQUIRED
    async with serve(echo, host, int(port), ssl=context, subprotocols=["certus.v1"], compression="deflate") as server:
        print("serves", flush=True)
        await server.serve_forever()


asyncio.run(main())
