"""A QUIC client that is not ours: HOST:PORT DIRECTORY IDENTITY PROTOCOL WHAT."""

import asyncio
import sys

from aioquic.asyncio import QuicConnectionProtocol, connect
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ConnectionTerminated, HandshakeCompleted, StreamReset

# The writer of a stream that was stopped complains when it is collected.
sys.unraisablehook = lambda _: None

address, directory, identity, protocol, what = sys.argv[1:]
host, port = address.split(":")


class Told(QuicConnectionProtocol):
    """Prints what happens to the connection."""

    def quic_event_received(self, event):
        if isinstance(event, HandshakeCompleted):
            print("agreed", event.alpn_protocol, "resumed", event.session_resumed, flush=True)
        elif isinstance(event, ConnectionTerminated):
            print(f"ended {event.error_code:#x} {event.reason_phrase!r}", flush=True)
        elif isinstance(event, StreamReset):
            print(f"reset {event.error_code:#x}", flush=True)
        super().quic_event_received(event)


def configuration():
    made = QuicConfiguration(is_client=True, alpn_protocols=[protocol], server_name="server.test")
    made.load_verify_locations(directory + "ca.crt")
    if identity != "none":
        made.load_cert_chain(f"{directory}{identity}.crt", f"{directory}{identity}.key")
    return made


async def stream(client, first):
    reader, writer = await client.create_stream()
    writer.write(first)
    answer = await asyncio.wait_for(reader.readexactly(2), 40)
    print("answer", int.from_bytes(answer, "big"), flush=True)
    return reader, writer


async def main():
    try:
        async with connect(host, int(port), configuration=configuration(), create_protocol=Told) as client:
            if what == "stay":
                held = await stream(client, b"\x01")
                await client.wait_closed()
                del held
                return
            reader, writer = await stream(client, b"\x01")
            sent = bytes(range(256)) * 4096
            writer.write(sent)
            writer.write_eof()
            came = await asyncio.wait_for(reader.read(), 40)
            print("whole" if came == sent else f"{len(came)} other bytes", flush=True)
            # Streams of one connection stand on their own; one that begins with another byte is refused.
            await stream(client, b"\x07")
            for _ in range(20):
                reader, writer = await stream(client, b"\x01")
                writer.write(b"more")
                print("more", await asyncio.wait_for(reader.readexactly(4), 40), flush=True)
                writer.write_eof()
    except (ConnectionError, asyncio.IncompleteReadError) as error:
        print("failed", type(error).__name__, flush=True)


asyncio.run(main())
