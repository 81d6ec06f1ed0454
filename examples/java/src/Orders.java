import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;

/** What is known of orders: a database, in a real shop. */
final class Orders {
    private final Set<String> paid = new HashSet<>();
    private final Map<String, TreeSet<String>> watching = new HashMap<>();
    private final Map<String, Integer> visits = new HashMap<>();

    synchronized void pay(String number) {
        paid.add(number);
    }

    synchronized void joined(String room, String user) {
        watching.computeIfAbsent(room, key -> new TreeSet<>()).add(user);
        visits.merge(room, 1, Integer::sum);
    }

    synchronized void left(String room, String user) {
        watching.getOrDefault(room, new TreeSet<>()).remove(user);
    }

    synchronized Map<String, ?> describe(String number, String room) {
        return Map.of(
                "paid", paid.contains(number),
                "watching", List.copyOf(watching.getOrDefault(room, new TreeSet<>())),
                "visits", visits.getOrDefault(room, 0));
    }
}
