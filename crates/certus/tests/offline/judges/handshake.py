"""Mutual TLS over loopback with the files in the directory given, by Python's own ssl; and, where
the cryptography package has it, its path validation on the same files."""

import socket
import ssl
import sys
import threading

directory = sys.argv[1]


def context(side, identity):
    made = ssl.SSLContext(side)
    made.verify_flags |= ssl.VERIFY_X509_STRICT
    made.verify_mode = ssl.CERT_REQUIRED
    made.load_verify_locations(f"{directory}/ca.crt")
    if identity:
        made.load_cert_chain(f"{directory}/{identity}.crt", f"{directory}/{identity}.key")
    return made


def answer(listener, accepting, seen):
    """Serves one connection: says the client's name to it."""
    connection, _ = listener.accept()
    try:
        with accepting.wrap_socket(connection, server_side=True) as tls:
            seen.append(dict(pair[0] for pair in tls.getpeercert()["subject"])["commonName"])
            tls.sendall(b"hello")
    except (ssl.SSLError, OSError) as error:
        seen.append(error)


def attempt(server, client, name):
    """What the server saw, after a connection that may fail."""
    accepting = context(ssl.PROTOCOL_TLS_SERVER, server)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(20)
        seen = []
        thread = threading.Thread(target=answer, args=(listener, accepting, seen))
        thread.start()
        try:
            with socket.create_connection(listener.getsockname(), timeout=20) as plain:
                dialing = context(ssl.PROTOCOL_TLS_CLIENT, client)
                with dialing.wrap_socket(plain, server_hostname=name) as tls:
                    if tls.recv(5) != b"hello":
                        raise ssl.SSLError("refused by the server")
        finally:
            thread.join()
    return seen[0]


def refused(*arguments):
    try:
        attempt(*arguments)
    except (ssl.SSLError, OSError):
        return
    sys.exit(f"accepted: {arguments}")


for name in ("host-a", "127.0.0.1"):
    saw = attempt("host-a/server", "client/client", name)
    if saw != "certus-client":
        sys.exit(f"the server saw {saw!r}")
refused("host-a/server", None, "host-a")
refused("host-a/server", "client/client", "host-b")
refused("client/client", "client/client", "host-a")
refused("host-a/server", "host-a/server", "host-a")
print("handshakes", ssl.OPENSSL_VERSION)

try:
    import ipaddress

    import cryptography
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ed25519
    from cryptography.x509 import verification
except ImportError:
    sys.exit()


def load(name):
    with open(f"{directory}/{name}.crt", "rb") as file:
        return x509.load_pem_x509_certificates(file.read())


builder = verification.PolicyBuilder().store(verification.Store(load("ca")))
leaf, *between = load("host-a/server")
if isinstance(leaf.public_key(), ed25519.Ed25519PublicKey):
    # Its only profile is the web's, which has no Ed25519.
    sys.exit()
for subject in (x509.DNSName("host-a"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))):
    builder.build_server_verifier(subject).verify(leaf, between)
try:
    builder.build_server_verifier(x509.DNSName("host-b")).verify(leaf, between)
    sys.exit("cryptography accepted another name")
except verification.VerificationError:
    pass
print("paths", "cryptography", cryptography.__version__)
