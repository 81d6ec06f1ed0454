import com.auth0.jwt.JWT;
import com.auth0.jwt.algorithms.Algorithm;
import com.auth0.jwt.exceptions.JWTVerificationException;
import com.fasterxml.jackson.databind.ObjectMapper;
import io.javalin.Javalin;
import io.javalin.http.Context;
import io.javalin.http.NotFoundResponse;
import io.javalin.http.ServiceUnavailableResponse;
import io.javalin.http.UnauthorizedResponse;
import java.security.GeneralSecurityException;
import java.security.MessageDigest;
import java.time.Duration;
import java.time.Instant;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import javax.crypto.SecretKeyFactory;
import javax.crypto.spec.PBEKeySpec;

/** A shop's back end in Javalin: it lets users in, tells them over the gateway what happens, and hears who looks. */
public final class Shop {
    private static final Duration TOKEN_LIFE = Duration.ofHours(1);

    // What a database would have: users with their salt and hashed password, orders with their owner.
    private record User(String salt, String hash) {}

    private static final User NOBODY = new User("00", "");
    private static final Map<String, User> USERS = Map.of(
            "alice", new User("5a1f".repeat(8), "d4e95b42fe3418c801eadb20a34f7b8cfc5d02e73c224f187d9a5392b0b8defd"),
            "bob", new User("c07e".repeat(8), "7f0efe692faac33632bfc59d9ac489ce6340ee5731b3fb4cb93dc59b8d9b2511"));
    private static final Map<String, String> OWNERS = Map.of("7", "alice", "8", "bob");

    private final Algorithm tokens;
    private final Gateway gateway;
    private final Hooks hooks;
    private final Orders orders = new Orders();
    private final ObjectMapper json = new ObjectMapper();

    private Shop() {
        tokens = Algorithm.HMAC256(setting("TOKEN_SECRET")); // auth.secret of the gateway
        gateway = new Gateway(setting("REALTIME_URL"), setting("REALTIME_KEY"));
        hooks = new Hooks(setting("HOOK_SECRET"), orders);
    }

    public static void main(String[] args) {
        Shop shop = new Shop();
        Javalin.create(config -> {
            config.startup.showJavalinBanner = false;
            config.http.maxRequestSize = 2_000_000;
            config.routes.post("/login", shop::login);
            config.routes.post("/orders/{number}/pay", shop::pay);
            config.routes.get("/orders/{number}", shop::order);
            config.routes.post("/gateway-hook", shop::hook);
        }).start("127.0.0.1", Integer.parseInt(System.getenv().getOrDefault("PORT", "8000")));
    }

    private static String setting(String name) {
        String value = System.getenv(name);
        if (value == null || value.isEmpty()) {
            throw new IllegalStateException(name + " is not set");
        }
        return value;
    }

    private void login(Context context) throws Exception {
        var given = json.readTree(context.bodyAsBytes());
        String name = given.path("user").asText();
        User user = USERS.getOrDefault(name, NOBODY);
        byte[] actual = hash(given.path("password").asText(), HexFormat.of().parseHex(user.salt()));
        if (!MessageDigest.isEqual(actual, HexFormat.of().parseHex(user.hash()))) {
            throw new UnauthorizedResponse("wrong user or password");
        }
        List<String> rooms = OWNERS.entrySet().stream()
                .filter(order -> order.getValue().equals(name))
                .map(order -> roomOf(order.getKey()))
                .toList();
        Instant now = Instant.now();
        String token = JWT.create()
                .withSubject(name)
                .withIssuedAt(now)
                .withExpiresAt(now.plus(TOKEN_LIFE))
                // The rooms that the token opens; without it, it would be all.
                .withClaim("join", rooms)
                .withClaim("publish", List.of())
                .sign(tokens);
        answer(context, Map.of("token", token));
    }

    private void pay(Context context) throws Exception {
        String number = ownOrder(context);
        orders.pay(number);
        // The id says what happened, not which attempt to tell it this is: told twice, it is still heard once.
        var event = Map.of("event", "paid", "data", Map.of("number", number), "id", "paid-" + number);
        try {
            answer(context, Map.of("offset", gateway.publish(roomOf(number), event)));
        } catch (Gateway.NotTold error) {
            throw new ServiceUnavailableResponse(error.getMessage());
        }
    }

    private void order(Context context) throws Exception {
        String number = ownOrder(context);
        answer(context, orders.describe(number, roomOf(number)));
    }

    private void hook(Context context) throws Exception {
        byte[] body = context.bodyAsBytes();
        if (!hooks.isGenuine(context.header("X-Gateway-Signature"), body)) {
            throw new UnauthorizedResponse("the signature is not the gateway's");
        }
        hooks.hear(json.readTree(body));
        context.status(204);
    }

    /** The number of the order that a request is about, if it is its user's. */
    private String ownOrder(Context context) {
        String bearer = context.header("Authorization");
        String token = bearer != null && bearer.startsWith("Bearer ") ? bearer.substring("Bearer ".length()) : "";
        String user;
        try {
            user = JWT.require(tokens).withClaimPresence("exp").build().verify(token).getSubject();
        } catch (JWTVerificationException error) {
            throw new UnauthorizedResponse("log in first");
        }
        String number = context.pathParam("number");
        if (!user.equals(OWNERS.get(number))) {
            throw new NotFoundResponse("there is no such order of yours");
        }
        return number;
    }

    private void answer(Context context, Map<String, ?> body) throws Exception {
        context.contentType("application/json").result(json.writeValueAsString(body));
    }

    private static String roomOf(String number) {
        return "orders-" + number;
    }

    private static byte[] hash(String password, byte[] salt) throws GeneralSecurityException {
        var spec = new PBEKeySpec(password.isEmpty() ? new char[] {0} : password.toCharArray(), salt, 100_000, 256);
        return SecretKeyFactory.getInstance("PBKDF2WithHmacSHA256").generateSecret(spec).getEncoded();
    }
}
