"""A CA and server certificates with keys in files, as `certus tls init` makes them, with `cryptography`."""

import datetime
import ipaddress
import os
import sys

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

PEM = serialization.Encoding.PEM


def write(path, data, mode):
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(data)


def write_key(path, key):
    plain = serialization.NoEncryption()
    write(path, key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, plain), 0o600)


def named(text):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def usage(is_ca):
    return x509.KeyUsage(not is_ca, False, False, False, False, is_ca, is_ca, False, False)


def begun(subject, issuer, key, now, days, is_ca):
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.BasicConstraints(is_ca, None), True)
        .add_extension(usage(is_ca), True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
    )


def main(out, hosts):
    os.mkdir(out, 0o700)
    now = datetime.datetime.now(datetime.timezone.utc)
    ca_key, ca_name = ec.generate_private_key(ec.SECP256R1()), named("Bench CA")
    ca = begun(ca_name, ca_name, ca_key, now, 3650, True).sign(ca_key, hashes.SHA256())
    write_key(f"{out}/ca.key", ca_key)
    write(f"{out}/ca.crt", ca.public_bytes(PEM), 0o644)
    authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key())
    server = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
    for line in open(hosts, encoding="utf-8").read().split():
        host, address = line.split("=")
        key = ec.generate_private_key(ec.SECP256R1())
        names = [x509.DNSName(host), x509.IPAddress(ipaddress.ip_address(address))]
        made = (
            begun(named(host), ca_name, key, now, 365, False)
            .add_extension(server, False)
            .add_extension(x509.SubjectAlternativeName(names), False)
            .add_extension(authority, False)
            .sign(ca_key, hashes.SHA256())
        )
        os.mkdir(f"{out}/{host}", 0o700)
        write_key(f"{out}/{host}/server.key", key)
        write(f"{out}/{host}/server.crt", made.public_bytes(PEM), 0o644)


main(sys.argv[1], sys.argv[2])
