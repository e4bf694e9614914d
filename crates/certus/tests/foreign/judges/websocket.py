"""A WebSocket client with a certificate: websocket.py PORT CA [CERTIFICATE KEY].

Expects an echo behind the listener. An empty binary message ends a direction.
"""

import ssl
import sys

from websockets.sync.client import connect

port, authority, *own = sys.argv[1:]
context = ssl.create_default_context(cafile=authority)
if own:
    context.load_cert_chain(*own)
with connect(
    f"wss://127.0.0.1:{port}/certus",
    ssl=context,
    subprotocols=["certus.v1"],
    compression=None,
    open_timeout=60,
    close_timeout=60,
) as socket:
    assert socket.subprotocol == "certus.v1", socket.subprotocol
    sent = b"".join(bytes([n % 256]) * 50_000 for n in range(20))
    received = b""
    for at in range(0, len(sent), 50_000):
        socket.send(sent[at : at + 50_000])
        while len(received) < at + 50_000:
            message = socket.recv(timeout=60)
            assert message, "the other end has ended its direction"
            received += message
    assert received == sent
    socket.send(b"")
    last = socket.recv(timeout=60)
    assert last == b"", last
    socket.close()
    assert socket.close_code == 1000, socket.close_code
print("echoed", len(received))
