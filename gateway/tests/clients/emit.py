"""A back end in Python that emits through Redis, told by lines of JSON what to do; emitters.test.mjs says what they mean."""

import base64
import json
import sys

import socketio


def from_text(value):
    """Bytes are {"$bytes": base64} in the lines."""
    if isinstance(value, dict):
        if isinstance(value.get("$bytes"), str):
            return base64.b64decode(value["$bytes"])
        return {key: from_text(inner) for key, inner in value.items()}
    return [from_text(inner) for inner in value] if isinstance(value, list) else value


def main():
    manager = socketio.RedisManager(sys.argv[1], write_only=True)
    for line in sys.stdin:
        order = json.loads(line)
        if "emit" in order:
            arguments = tuple(from_text(order["args"]))
            manager.emit(order["emit"], arguments, room=order.get("to"), skip_sid=order.get("except"))
        elif "join" in order:
            manager.enter_room(order["to"], "/", order["join"])
        else:
            manager.leave_room(order["to"], "/", order["leave"])
        print("{}", flush=True)


main()
