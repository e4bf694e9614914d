// Mutual TLS over loopback with the files in the directory given, by Node's tls.

import { readFileSync } from "node:fs";
import tls from "node:tls";

const directory = process.argv[2];
const read = (name) => readFileSync(`${directory}/${name}`);
const identity = (name) => (name ? { cert: read(`${name}.crt`), key: read(`${name}.key`) } : {});

// What the server saw, and said to the client; rejects where either side refused the other.
function attempt(server, client, servername) {
  return new Promise((resolve, reject) => {
    const options = { ...identity(server), ca: read("ca.crt"), requestCert: true, rejectUnauthorized: true };
    const listener = tls.createServer(options, (connection) => {
      connection.on("error", () => {});
      connection.end(connection.getPeerCertificate().subject.CN);
    });
    listener.on("tlsClientError", () => {});
    listener.listen(0, "127.0.0.1", () => {
      const { port } = listener.address();
      const to = { host: "127.0.0.1", port, ca: read("ca.crt"), ...identity(client) };
      const connection = tls.connect(servername ? { ...to, servername } : to);
      let said = "";
      const end = (act) => { connection.destroy(); listener.close(); act(); };
      connection.setTimeout(20_000, () => end(() => reject(new Error("no answer"))));
      connection.on("data", (data) => { said += data; });
      connection.on("error", (error) => end(() => reject(error)));
      connection.on("end", () => end(() => (said ? resolve(said) : reject(new Error("refused")))));
    });
  });
}

async function refused(...words) {
  const accepted = await attempt(...words).then(() => true, () => false);
  if (accepted) throw new Error(`accepted: ${words}`);
}

// Without a name, the address that was dialed has to be in the certificate.
for (const name of ["host-a", undefined]) {
  const saw = await attempt("host-a/server", "client/client", name);
  if (saw !== "certus-client") throw new Error(`the server saw ${saw}`);
}
await refused("host-a/server", undefined, "host-a");
await refused("host-a/server", "client/client", "host-b");
await refused("client/client", "client/client", "host-a");
await refused("host-a/server", "host-a/server", "host-a");
console.log("handshakes", "Node", process.version, "OpenSSL", process.versions.openssl);
