// The official Java client, told by lines of JSON what to do; languages.test.mjs says what they mean.

import io.socket.client.Ack;
import io.socket.client.IO;
import io.socket.client.Manager;
import io.socket.client.Socket;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.Base64;
import java.util.Iterator;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import okhttp3.OkHttpClient;
import org.json.JSONArray;
import org.json.JSONException;
import org.json.JSONObject;

public final class RemoteClient {
  private static final PrintStream OUT = new PrintStream(System.out, true, StandardCharsets.UTF_8);

  public static void main(String[] arguments) throws Exception {
    OkHttpClient http = new OkHttpClient.Builder().readTimeout(1, TimeUnit.MINUTES).build();
    IO.Options options = new IO.Options();
    options.callFactory = http;
    options.webSocketFactory = http;
    options.forceNew = true;
    options.reconnectionDelay = 50;
    options.reconnectionDelayMax = 200;
    if (!arguments[1].equals("default")) options.transports = new String[] {arguments[1]};
    Socket socket = IO.socket(arguments[0], options);
    socket.on(Socket.EVENT_CONNECT, unused -> say(new JSONObject(), "connected", socket.id()));
    socket.on(Socket.EVENT_DISCONNECT, reason -> say(new JSONObject(), "disconnected", reason[0]));
    socket.onAnyIncoming(RemoteClient::heard);
    socket.connect();

    BufferedReader orders = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    for (String line = orders.readLine(); line != null; line = orders.readLine()) {
      JSONObject order = new JSONObject(line);
      Object number = order.opt("ack");
      Object[] body = {fromText(order.get("body"))};
      Ack ack = answer -> say(with("args", answer), "ack", number);
      if (number == null) socket.emit(order.getString("emit"), body);
      else socket.emit(order.getString("emit"), body, ack);
    }
    // Its threads would live on for a minute, and without them the node would not hear that it goes.
    CountDownLatch closed = new CountDownLatch(1);
    socket.io().on(Manager.EVENT_CLOSE, unused -> closed.countDown());
    socket.disconnect();
    closed.await(2, TimeUnit.SECONDS);
    http.dispatcher().executorService().shutdown();
    http.dispatcher().executorService().awaitTermination(2, TimeUnit.SECONDS);
    System.exit(0);
  }

  private static void heard(Object[] event) {
    Object[] args = new Object[event.length - 1];
    System.arraycopy(event, 1, args, 0, args.length);
    say(with("args", args), "heard", event[0]);
  }

  private static JSONObject with(String field, Object[] values) {
    try {
      JSONArray array = new JSONArray();
      for (Object value : values) array.put(toText(value));
      return new JSONObject().put(field, array);
    } catch (JSONException error) {
      throw new IllegalStateException(error);
    }
  }

  private static synchronized void say(JSONObject line, String field, Object value) {
    try {
      OUT.println(line.put(field, value));
    } catch (JSONException error) {
      throw new IllegalStateException(error);
    }
  }

  // Bytes are {"$bytes": base64} in the lines.
  private static Object fromText(Object value) throws JSONException {
    if (value instanceof JSONObject) {
      JSONObject object = (JSONObject) value;
      if (object.has("$bytes")) return Base64.getDecoder().decode(object.getString("$bytes"));
      JSONObject result = new JSONObject();
      for (Iterator<?> keys = object.keys(); keys.hasNext(); ) {
        String key = (String) keys.next();
        result.put(key, fromText(object.get(key)));
      }
      return result;
    }
    if (value instanceof JSONArray) {
      JSONArray result = new JSONArray();
      for (int index = 0; index < ((JSONArray) value).length(); index++) {
        result.put(fromText(((JSONArray) value).get(index)));
      }
      return result;
    }
    return value;
  }

  private static Object toText(Object value) throws JSONException {
    if (value instanceof byte[]) {
      return new JSONObject().put("$bytes", Base64.getEncoder().encodeToString((byte[]) value));
    }
    if (value instanceof JSONObject) {
      JSONObject result = new JSONObject();
      for (Iterator<?> keys = ((JSONObject) value).keys(); keys.hasNext(); ) {
        String key = (String) keys.next();
        result.put(key, toText(((JSONObject) value).get(key)));
      }
      return result;
    }
    if (value instanceof JSONArray) {
      JSONArray result = new JSONArray();
      for (int index = 0; index < ((JSONArray) value).length(); index++) {
        result.put(toText(((JSONArray) value).get(index)));
      }
      return result;
    }
    return value == null ? JSONObject.NULL : value;
  }
}
