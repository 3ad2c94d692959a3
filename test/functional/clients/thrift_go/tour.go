// A tour of the thrift port with two connections; what was seen goes to standard output as JSON.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"

	"github.com/apache/thrift/lib/go/thrift"
	"tour/kestrel"
)

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func connect(port string) *kestrel.KestrelClient {
	conf := &thrift.TConfiguration{}
	socket := thrift.NewTSocketConf("127.0.0.1:"+port, conf)
	transport := thrift.NewTFramedTransportConf(socket, conf)
	check(transport.Open())
	return kestrel.NewKestrelClientFactory(transport, thrift.NewTBinaryProtocolFactoryConf(conf))
}

func shown(items []*kestrel.Item) [][2]interface{} {
	found := [][2]interface{}{}
	for _, item := range items {
		found = append(found, [2]interface{}{string(item.Data), item.ID})
	}
	return found
}

func main() {
	ctx := context.Background()
	a, b := connect(os.Args[1]), connect(os.Args[1])
	queue := os.Args[2]
	seen := map[string]interface{}{}
	var err error
	seen["put"], err = a.Put(ctx, queue, [][]byte{[]byte("one"), []byte("two"), []byte("three")}, 0)
	check(err)
	items, err := a.Get(ctx, queue, 2, 0, 60000)
	check(err)
	seen["got"] = [2]string{string(items[0].Data), string(items[1].Data)}
	info, err := b.Peek(ctx, queue)
	check(err)
	seen["peek"] = []interface{}{string(info.HeadItem), info.Items, info.Bytes, info.OpenTransactions}
	seen["confirm"], err = b.Confirm(ctx, queue, []int64{items[0].ID})
	check(err)
	seen["abort"], err = b.Abort(ctx, queue, []int64{items[0].ID, items[1].ID})
	check(err)
	items, err = b.Get(ctx, queue, 10, 100, 0)
	check(err)
	seen["rest"] = shown(items)
	status, err := a.CurrentStatus(ctx)
	check(err)
	seen["status"] = int64(status)
	seen["version"], err = a.GetVersion(ctx)
	check(err)
	_, err = a.Put(ctx, "a.b", [][]byte{[]byte("x")}, 0)
	if refusal, is := err.(thrift.TApplicationException); is {
		seen["refused"] = []interface{}{refusal.TypeId(), refusal.Error()}
	}
	check(a.DeleteQueue(ctx, queue))
	line, err := json.Marshal(seen)
	check(err)
	fmt.Println(string(line))
}
