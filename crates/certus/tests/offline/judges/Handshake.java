// Mutual TLS over loopback with the PKCS#12 files in each directory given, by Java's JSSE.

import java.io.IOException;
import java.net.InetAddress;
import java.net.Socket;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyStore;
import java.util.concurrent.CompletableFuture;
import javax.net.ssl.KeyManagerFactory;
import javax.net.ssl.SSLContext;
import javax.net.ssl.SSLServerSocket;
import javax.net.ssl.SSLSocket;
import javax.net.ssl.TrustManagerFactory;

public class Handshake {
    static final char[] PASSWORD = "secret word".toCharArray();
    static Path directory;

    static KeyStore load(String name) throws Exception {
        var store = KeyStore.getInstance("PKCS12");
        try (var in = Files.newInputStream(directory.resolve(name))) {
            store.load(in, PASSWORD);
        }
        return store;
    }

    static SSLContext context(String identity) throws Exception {
        var trusted = TrustManagerFactory.getInstance("PKIX");
        trusted.init(load("trust.p12"));
        KeyManagerFactory keys = null;
        if (identity != null) {
            keys = KeyManagerFactory.getInstance("PKIX");
            keys.init(load(identity + ".p12"), PASSWORD);
        }
        var context = SSLContext.getInstance("TLS");
        context.init(keys == null ? null : keys.getKeyManagers(), trusted.getTrustManagers(), null);
        return context;
    }

    // The client's subject as the server saw it, with the protocol.
    static String attempt(String server, String client, String name, String protocol) throws Exception {
        var local = InetAddress.getLoopbackAddress();
        var factory = context(server).getServerSocketFactory();
        try (var listener = (SSLServerSocket) factory.createServerSocket(0, 1, local)) {
            listener.setNeedClientAuth(true);
            listener.setEnabledProtocols(new String[] {protocol});
            var served = CompletableFuture.supplyAsync(() -> {
                try (var connection = (SSLSocket) listener.accept()) {
                    connection.setSoTimeout(20_000);
                    connection.startHandshake();
                    connection.getOutputStream().write('!');
                    return connection.getSession().getPeerPrincipal() + " " + connection.getSession().getProtocol();
                } catch (IOException error) {
                    return "refused: " + error;
                }
            });
            var plain = new Socket(local, listener.getLocalPort());
            plain.setSoTimeout(20_000);
            var dialing = context(client).getSocketFactory();
            try (var tls = (SSLSocket) dialing.createSocket(plain, name, listener.getLocalPort(), true)) {
                var parameters = tls.getSSLParameters();
                parameters.setEndpointIdentificationAlgorithm("HTTPS");
                tls.setSSLParameters(parameters);
                tls.startHandshake();
                if (tls.getInputStream().read() != '!') {
                    throw new IOException("refused by the server");
                }
            }
            return served.get();
        }
    }

    static void refused(String server, String client, String name) throws Exception {
        try {
            attempt(server, client, name, "TLSv1.3");
        } catch (IOException expected) {
            return;
        }
        throw new Exception("accepted: " + server + " " + client + " " + name);
    }

    public static void main(String[] words) throws Exception {
        for (var word : words) {
            directory = Path.of(word);
            for (var protocol : new String[] {"TLSv1.3", "TLSv1.2"}) {
                for (var name : new String[] {"host-a", "127.0.0.1"}) {
                    var saw = attempt("server", "client", name, protocol);
                    if (!saw.equals("CN=certus-client " + protocol)) {
                        throw new Exception("the server saw " + saw);
                    }
                }
            }
            refused("server", null, "host-a");
            refused("server", "client", "host-b");
            refused("server", "server", "host-a");
            refused("client", "client", "host-a");
        }
        System.out.println("handshakes Java " + System.getProperty("java.version"));
    }
}
