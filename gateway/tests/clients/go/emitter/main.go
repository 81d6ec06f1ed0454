// Command emitter is a back end in Go that emits through Redis, told by lines of JSON what to do; emitters.test.mjs says what
// they mean.
package main

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"

	goredis "github.com/redis/go-redis/v9"
	"github.com/zishang520/socket.io/adapters/redis/v3"
	"github.com/zishang520/socket.io/adapters/redis/v3/emitter"
	"github.com/zishang520/socket.io/servers/socket/v3"
)

type order struct {
	Emit       string        `json:"emit"`
	Args       []any         `json:"args"`
	To         socket.Room   `json:"to"`
	Except     []socket.Room `json:"except"`
	Join       socket.Room   `json:"join"`
	Leave      socket.Room   `json:"leave"`
	Disconnect socket.Room   `json:"disconnect"`
}

func main() {
	options, err := goredis.ParseURL(os.Args[1])
	check(err)
	client := redis.NewRedisClient(context.Background(), goredis.NewClient(options))
	io := emitter.NewEmitter(client, nil)
	orders := bufio.NewScanner(os.Stdin)
	orders.Buffer(nil, 1<<20)
	for orders.Scan() {
		var next order
		check(json.Unmarshal(orders.Bytes(), &next))
		switch {
		case next.Emit != "" && next.To != "":
			check(io.To(next.To).Except(next.Except...).Emit(next.Emit, fromText(next.Args).([]any)...))
		case next.Emit != "":
			check(io.Except(next.Except...).Emit(next.Emit, fromText(next.Args).([]any)...))
		case next.Join != "":
			check(io.In(next.To).SocketsJoin(next.Join))
		case next.Leave != "":
			check(io.In(next.To).SocketsLeave(next.Leave))
		default:
			check(io.In(next.Disconnect).DisconnectSockets(false))
		}
		fmt.Println("{}")
	}
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

// Bytes are {"$bytes": base64} in the lines.
func fromText(value any) any {
	switch value := value.(type) {
	case map[string]any:
		if text, ok := value["$bytes"].(string); ok {
			bytes, err := base64.StdEncoding.DecodeString(text)
			check(err)
			return bytes
		}
		for key, inner := range value {
			value[key] = fromText(inner)
		}
	case []any:
		for index, inner := range value {
			value[index] = fromText(inner)
		}
	}
	return value
}
