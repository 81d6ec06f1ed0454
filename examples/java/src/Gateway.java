import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.net.URI;
import java.net.URLEncoder;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.Map;
import java.util.concurrent.ThreadLocalRandom;

/** What this back end says by way of the gateway. */
final class Gateway {
    private static final int ATTEMPTS = 5;
    private static final Duration TIMEOUT = Duration.ofSeconds(5);

    private final HttpClient client =
            HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).connectTimeout(TIMEOUT).build();
    private final ObjectMapper json = new ObjectMapper();
    private final String url;
    private final String key;

    Gateway(String url, String key) {
        this.url = url;
        this.key = key;
    }

    /** The gateway could not be told, or does not want to be. */
    static final class NotTold extends Exception {
        NotTold(String failure) {
            super("the gateway was not told: " + failure);
        }
    }

    /** Says something to everybody in a room. It is in the log when this returns; the event's id makes trying again safe. */
    String publish(String room, Map<String, ?> event) throws NotTold, IOException, InterruptedException {
        String name = URLEncoder.encode(room, StandardCharsets.UTF_8).replace("+", "%20");
        HttpRequest request = HttpRequest.newBuilder(URI.create(url).resolve("/api/v1/rooms/" + name + "/events"))
                .timeout(TIMEOUT)
                .header("Authorization", "Bearer " + key)
                .header("Content-Type", "application/json")
                .POST(BodyPublishers.ofByteArray(json.writeValueAsBytes(event)))
                .build();
        for (int attempt = 1; ; attempt++) {
            long waitMs = (long) (100 * (1 << attempt) * ThreadLocalRandom.current().nextDouble(0.5, 1));
            String failure;
            try {
                HttpResponse<String> answer = client.send(request, BodyHandlers.ofString());
                if (answer.statusCode() == 201) {
                    return json.readTree(answer.body()).get("offset").asText();
                }
                failure = answer.body();
                // Whatever else is wrong would be wrong again.
                if (answer.statusCode() != 429 && answer.statusCode() < 500) {
                    throw new NotTold(failure);
                }
                long seconds = answer.headers().firstValueAsLong("Retry-After").orElse(0);
                waitMs = Math.max(waitMs, 1_000 * seconds);
            } catch (IOException error) {
                // It may have been done: the answer, not the request, may be what was lost.
                failure = error.toString();
            }
            if (attempt == ATTEMPTS) {
                throw new NotTold(failure);
            }
            Thread.sleep(waitMs);
        }
    }
}
