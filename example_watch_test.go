package discoro_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/discoro/discoro"
)

// Who is connected, and who is no longer?
func ExampleRuntime_WatchPeers() {
	rt, err := discoro.NewRuntime()
	if err != nil {
		log.Fatal(err)
	}
	other, err := discoro.NewRuntime(discoro.Config{Name: "other"})
	if err != nil {
		log.Fatal(err)
	}
	watcher := rt.Spawn("watcher", func(c *discoro.Coro) (any, error) {
		for {
			s, err := discoro.ReceiveAs[discoro.PeerStatus](c)
			if err != nil {
				return nil, err
			}
			fmt.Println(s.Name, s.Online, errors.Is(s.Err, discoro.ErrDisconnected))
			if !s.Online {
				return nil, nil
			}
		}
	})
	rt.WatchPeers(watcher)

	ctx := context.Background()
	if _, err := rt.Connect(ctx, other.Location().String()); err != nil {
		log.Fatal(err)
	}
	if err := other.Close(); err != nil {
		log.Fatal(err)
	}
	if err := watcher.Wait(ctx); err != nil {
		log.Fatal(err)
	}
	if err := rt.Close(); err != nil {
		log.Fatal(err)
	}
	// Output:
	// other true false
	// other false true
}
