import com.fasterxml.jackson.databind.JsonNode;
import java.nio.charset.StandardCharsets;
import java.security.GeneralSecurityException;
import java.security.MessageDigest;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Collections;
import java.util.HexFormat;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import javax.crypto.Mac;
import javax.crypto.spec.SecretKeySpec;

/** What the gateway tells this back end. */
final class Hooks {
    private static final Duration MAX_AGE = Duration.ofMinutes(5);
    private static final int IDS_KEPT = 10_000;

    private final byte[] secret;
    private final Orders orders;
    private final Set<String> ids = Collections.newSetFromMap(new LinkedHashMap<>() {
        @Override
        protected boolean removeEldestEntry(Map.Entry<String, Boolean> eldest) {
            return size() > IDS_KEPT;
        }
    });

    Hooks(String secret, Orders orders) {
        this.secret = secret.getBytes(StandardCharsets.UTF_8);
        this.orders = orders;
    }

    /** Whether a request is from the gateway, and not one of long ago that somebody sends again. */
    boolean isGenuine(String header, byte[] body) throws GeneralSecurityException {
        if (header == null) {
            return false;
        }
        String sent = "";
        List<String> signatures = new ArrayList<>();
        for (String part : header.split(",")) {
            if (part.startsWith("t=")) {
                sent = part.substring(2);
            } else if (part.startsWith("v1=")) {
                // There are several while the secret is changed.
                signatures.add(part.substring(3));
            }
        }
        Mac mac = Mac.getInstance("HmacSHA256");
        mac.init(new SecretKeySpec(secret, "HmacSHA256"));
        mac.update((sent + ".").getBytes(StandardCharsets.UTF_8));
        byte[] expected = HexFormat.of().formatHex(mac.doFinal(body)).getBytes(StandardCharsets.UTF_8);
        boolean isSigned = signatures.stream()
                .anyMatch(signature -> MessageDigest.isEqual(expected, signature.getBytes(StandardCharsets.UTF_8)));
        return isSigned && age(sent).compareTo(MAX_AGE) < 0;
    }

    private static Duration age(String sent) {
        return Duration.between(Instant.ofEpochSecond(Long.parseLong(sent)), Instant.now()).abs();
    }

    /** Takes events. They come at least once; their ids tell which came before. */
    synchronized void hear(JsonNode told) {
        for (JsonNode event : told.path("events")) {
            if (!ids.add(event.path("id").asText())) {
                continue;
            }
            String room = event.path("room").asText();
            String user = event.path("user").asText();
            switch (event.path("type").asText()) {
                case "room.joined" -> orders.joined(room, user);
                case "room.left" -> orders.left(room, user);
                default -> { } // There may be types that this back end does not know.
            }
        }
    }
}
