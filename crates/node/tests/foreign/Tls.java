// Java as either end of TLS: client|server HOST:PORT DIRECTORY IDENTITY VERSION.

import java.io.*;
import java.net.InetAddress;
import java.nio.charset.StandardCharsets;
import java.nio.file.*;
import java.security.*;
import java.security.cert.*;
import java.security.spec.PKCS8EncodedKeySpec;
import java.util.*;
import javax.net.ssl.*;

public class Tls {
    public static void main(String[] words) throws Exception {
        String[] address = words[1].split(":");
        int port = Integer.parseInt(address[1]);
        SSLContext context = context(words[2], words[3]);
        if (words[0].equals("client")) {
            call(context, address[0], port, words[4]);
        } else {
            serve(context, address[0], port, words[4]);
        }
    }

    static void call(SSLContext context, String host, int port, String version) throws Exception {
        try (SSLSocket socket = (SSLSocket) context.getSocketFactory().createSocket(host, port)) {
            socket.setEnabledProtocols(new String[] {version});
            SSLParameters parameters = socket.getSSLParameters();
            parameters.setServerNames(List.of(new SNIHostName("server.test")));
            parameters.setEndpointIdentificationAlgorithm("HTTPS");
            socket.setSSLParameters(parameters);
            socket.startHandshake();
            System.out.println("agreed " + socket.getSession().getProtocol());
            socket.getOutputStream().write("there and back".getBytes(StandardCharsets.UTF_8));
            socket.shutdownOutput();
            byte[] came = socket.getInputStream().readAllBytes();
            System.out.println("came " + new String(came, StandardCharsets.UTF_8));
        } catch (IOException error) {
            System.out.println("failed " + error);
        }
    }

    static void serve(SSLContext context, String host, int port, String version) throws Exception {
        SSLServerSocketFactory factory = context.getServerSocketFactory();
        InetAddress address = InetAddress.getByName(host);
        try (SSLServerSocket server = (SSLServerSocket) factory.createServerSocket(port, 50, address)) {
            server.setEnabledProtocols(new String[] {version});
            server.setNeedClientAuth(true);
            System.out.println("serves");
            while (true) {
                try (SSLSocket socket = (SSLSocket) server.accept()) {
                    String caller = socket.getSession().getPeerPrincipal().getName();
                    System.out.println("caller " + caller + " " + socket.getSession().getProtocol());
                    socket.getInputStream().transferTo(socket.getOutputStream());
                } catch (IOException error) {
                    System.out.println("refused " + error);
                }
            }
        }
    }

    static SSLContext context(String directory, String identity) throws Exception {
        KeyStore roots = KeyStore.getInstance("PKCS12");
        roots.load(null, null);
        roots.setCertificateEntry("root", chain(directory + "ca.crt")[0]);
        TrustManagerFactory trust = TrustManagerFactory.getInstance("PKIX");
        trust.init(roots);
        KeyManager[] keys = null;
        if (!identity.equals("none")) {
            String text = Files.readString(Path.of(directory + identity + ".key"));
            byte[] der = Base64.getMimeDecoder().decode(text.replaceAll("-----[A-Z ]+-----", ""));
            PrivateKey key = KeyFactory.getInstance("EC").generatePrivate(new PKCS8EncodedKeySpec(der));
            KeyStore own = KeyStore.getInstance("PKCS12");
            own.load(null, null);
            own.setKeyEntry("own", key, new char[0], chain(directory + identity + ".crt"));
            KeyManagerFactory factory = KeyManagerFactory.getInstance("PKIX");
            factory.init(own, new char[0]);
            keys = factory.getKeyManagers();
        }
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(keys, trust.getTrustManagers(), null);
        return context;
    }

    static X509Certificate[] chain(String path) throws Exception {
        try (InputStream in = Files.newInputStream(Path.of(path))) {
            Collection<?> read = CertificateFactory.getInstance("X.509").generateCertificates(in);
            return read.toArray(new X509Certificate[0]);
        }
    }
}
