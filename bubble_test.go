package discoro_test

import (
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/discoro/discoro"
)

func TestBubbleCluster(t *testing.T) {
	for i := range 3 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				net := discoro.NewMemNetwork()
				log := slog.New(slog.DiscardHandler)
				secret := ""
				if i == 2 {
					secret = "a long enough secret"
				}
				sched, err := discoro.NewScheduler(discoro.SchedulerConfig{Config: discoro.Config{TestHost: net.Host("sched"), Logger: log, Secret: secret}})
				if err != nil {
					t.Fatal(err)
				}
				defer sched.Close()
				for n := range 3 {
					node, err := discoro.NewNode(discoro.NodeConfig{Config: discoro.Config{TestHost: net.Host(fmt.Sprint("node", n)), Logger: log, Secret: secret,
						Peers: []string{sched.Location().String()}}, Servers: 2})
					if err != nil {
						t.Fatal(err)
					}
					defer node.Close()
				}
				comp, err := discoro.NewComputation(sched.Runtime)
				if err != nil {
					t.Fatal(err)
				}
				rcs, err := discoro.NewRemoteCoroScheduler(comp)
				if err != nil {
					t.Fatal(err)
				}
				ns, err := discoro.MapResults(t.Context(), rcs, double, slices.Values([]int{1, 2, 3, 4, 5}))
				fmt.Println(ns, err, time.Now())
				<-time.After(time.Hour)
				ns, err = discoro.MapResults(t.Context(), rcs, double, slices.Values([]int{1, 2, 3, 4, 5}))
				fmt.Println(ns, err, time.Now())
				if err := rcs.Finish(t.Context(), true); err != nil {
					t.Error(err)
				}
			})
		})
	}
}
