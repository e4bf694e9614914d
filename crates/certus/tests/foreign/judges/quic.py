"""A QUIC client with a certificate: quic.py PORT CA [CERTIFICATE KEY].

Expects an echo behind the listener. A stream begins with the byte 1, and is answered with two zeros.
"""

import asyncio
import sys

from aioquic.asyncio import connect
from aioquic.quic.configuration import QuicConfiguration

port, authority, *own = sys.argv[1:]


async def stream(client, sent):
    reader, writer = await client.create_stream()
    writer.write(b"\x01")
    answer = await reader.readexactly(2)
    assert answer == b"\0\0", answer
    writer.write(sent)
    writer.write_eof()
    received = await reader.read()
    assert received == sent, (len(received), len(sent))
    return len(received)


async def main():
    configuration = QuicConfiguration(is_client=True, alpn_protocols=["certus/1"], server_name="node.test")
    configuration.load_verify_locations(authority)
    if own:
        configuration.load_cert_chain(*own)
    async with connect("127.0.0.1", int(port), configuration=configuration) as client:
        # A refusal of the certificate comes after the client's own end of the handshake.
        await client.ping()
        lengths = await asyncio.gather(*(stream(client, bytes([n]) * 200_000) for n in range(5)))
        print("echoed", sum(lengths))


asyncio.run(asyncio.wait_for(main(), 60))
