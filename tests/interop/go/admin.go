package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"reflect"

	lksdk "github.com/livekit/server-sdk-go/v2"
	"github.com/twitchtv/twirp"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// Calls the server API by lines on its input, each with a method's name and its request (see peers.py).
func administrate(url, key, secret string) error {
	services := []reflect.Value{
		reflect.ValueOf(lksdk.NewRoomServiceClient(url, key, secret)),
		reflect.ValueOf(lksdk.NewAgentDispatchServiceClient(url, key, secret)),
	}
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var line struct {
			Arguments []json.RawMessage `json:"arguments"`
		}
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			return err
		}
		var name string
		if err := json.Unmarshal(line.Arguments[0], &name); err != nil {
			return err
		}
		answer := map[string]any{}
		if result, err := call(services, name, line.Arguments[1]); err != nil {
			answer["error"] = err.Error()
		} else {
			answer["result"] = result
		}
		text, err := json.Marshal(answer)
		if err != nil {
			return err
		}
		fmt.Println(string(text))
	}
	return lines.Err()
}

func call(services []reflect.Value, name string, given json.RawMessage) (map[string]any, error) {
	for _, service := range services {
		method := service.MethodByName(name)
		if !method.IsValid() {
			continue
		}
		request := reflect.New(method.Type().In(1).Elem())
		if err := protojson.Unmarshal(given, request.Interface().(proto.Message)); err != nil {
			return nil, err
		}
		results := method.Call([]reflect.Value{reflect.ValueOf(context.Background()), request})
		if err, failed := results[1].Interface().(error); failed {
			var refusal twirp.Error
			if !errors.As(err, &refusal) {
				return nil, err
			}
			return map[string]any{"code": string(refusal.Code()), "text": refusal.Msg()}, nil
		}
		text, err := protojson.Marshal(results[0].Interface().(proto.Message))
		if err != nil {
			return nil, err
		}
		return map[string]any{"answer": json.RawMessage(text)}, nil
	}
	return nil, fmt.Errorf("no method %s", name)
}
