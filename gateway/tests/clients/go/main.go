// Command client is a Go client of Socket.IO, told by lines of JSON what to do; languages.test.mjs says what they mean.
package main

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"io"
	"os"
	"sync"

	"github.com/zishang520/socket.io/clients/socket/v3"
	"github.com/zishang520/socket.io/v3/pkg/types"
)

type order struct {
	Emit string `json:"emit"`
	Body any    `json:"body"`
	Ack  *int   `json:"ack"`
}

func main() {
	options := socket.DefaultOptions()
	options.SetForceNew(true)
	options.SetReconnectionDelay(50)
	options.SetReconnectionDelayMax(200)
	switch os.Args[2] {
	case "polling":
		options.SetTransports(types.NewSet(socket.Polling))
	case "websocket":
		options.SetTransports(types.NewSet(socket.WebSocket))
	}
	options.SetAutoConnect(false)
	client, err := socket.Connect(os.Args[1], options)
	if err != nil {
		panic(err)
	}
	client.On("connect", func(...any) { say(map[string]any{"connected": client.Id()}) })
	client.On("disconnect", func(reason ...any) { say(map[string]any{"disconnected": reason[0]}) })
	client.OnAny(func(event ...any) { say(map[string]any{"heard": event[0], "args": toText(event[1:])}) })
	client.Connect()

	orders := bufio.NewScanner(os.Stdin)
	orders.Buffer(nil, 1<<20)
	for orders.Scan() {
		var next order
		if err := json.Unmarshal(orders.Bytes(), &next); err != nil {
			panic(err)
		}
		arguments := []any{fromText(next.Body)}
		if next.Ack != nil {
			number := *next.Ack
			arguments = append(arguments, func(answer []any, err error) {
				if err == nil {
					say(map[string]any{"ack": number, "args": toText(answer)})
				}
			})
		}
		if err := client.Emit(next.Emit, arguments...); err != nil {
			panic(err)
		}
	}
	client.Disconnect()
}

var saying sync.Mutex

func say(line map[string]any) {
	saying.Lock()
	defer saying.Unlock()
	if err := json.NewEncoder(os.Stdout).Encode(line); err != nil {
		panic(err)
	}
}

// Bytes are {"$bytes": base64} in the lines.
func fromText(value any) any {
	switch value := value.(type) {
	case map[string]any:
		if text, ok := value["$bytes"].(string); ok {
			bytes, err := base64.StdEncoding.DecodeString(text)
			if err != nil {
				panic(err)
			}
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

func toText(value any) any {
	switch value := value.(type) {
	case []byte:
		return map[string]any{"$bytes": base64.StdEncoding.EncodeToString(value)}
	case io.Reader:
		bytes, err := io.ReadAll(value)
		if err != nil {
			panic(err)
		}
		return toText(bytes)
	case map[string]any:
		result := map[string]any{}
		for key, inner := range value {
			result[key] = toText(inner)
		}
		return result
	case []any:
		result := make([]any, len(value))
		for index, inner := range value {
			result[index] = toText(inner)
		}
		return result
	}
	return value
}
