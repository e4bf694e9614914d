// Node.js as either end of TLS: client|server HOST:PORT DIRECTORY IDENTITY VERSION.
"use strict";
const fs = require("fs");
const tls = require("tls");

const [what, address, directory, identity, version] = process.argv.slice(2);
const [host, port] = address.split(":");
const options = { minVersion: version, maxVersion: version, ca: fs.readFileSync(directory + "ca.crt") };
if (identity !== "none") {
  options.cert = fs.readFileSync(`${directory}${identity}.crt`);
  options.key = fs.readFileSync(`${directory}${identity}.key`);
}

if (what === "client") {
  const socket = tls.connect({ ...options, host, port, servername: "server.test" }, () => {
    console.log("agreed", socket.getProtocol(), socket.authorized);
    socket.end("there and back");
  });
  socket.setEncoding("utf8");
  socket.on("data", (came) => console.log("came", came));
  socket.on("end", () => console.log("ended"));
  socket.on("error", (error) => console.log("failed", error.code, error.message));
} else {
  const accepting = { ...options, requestCert: true, rejectUnauthorized: true };
  const server = tls.createServer(accepting, (socket) => {
    console.log("caller", socket.getPeerCertificate().subject.CN, socket.getProtocol());
    socket.on("error", (error) => console.log("broke", error.code));
    socket.pipe(socket);
  });
  server.on("tlsClientError", (error) => console.log("refused", error.code));
  server.listen(port, host, () => console.log("serves"));
}
