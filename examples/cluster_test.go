package examples

import (
	"regexp"
	"strings"
	"testing"

	"github.com/discoro/discoro"
)

var atLocation = regexp.MustCompile(` at (127\.0\.0\.1:\d+),`)

// TestCluster is a client of a cluster: a scheduler, a node, and this process, all programs of their own.
func TestCluster(t *testing.T) {
	t.Parallel()
	scheduler := start(t, "scheduler", "--udp_port", "-1")
	at := scheduler.says(t, &scheduler.out, atLocation)
	node := start(t, "node", "-c", "2", "-n", t.Name()+at, "--peer", at, "--udp_port", "-1")

	rt, err := discoro.NewRuntime(discoro.Config{UDPPort: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := rt.Close(); err != nil {
			t.Error(err)
		}
	}()
	loc, err := discoro.ParseLocation(at)
	if err != nil {
		t.Fatal(err)
	}
	comp, err := discoro.NewComputation(rt)
	if err != nil {
		t.Fatal(err)
	}
	if err := comp.Schedule(t.Context(), loc); err != nil {
		t.Fatal(err)
	}
	coro, err := comp.Run(t.Context(), discoro.Named("example.hello", "tester"))
	if err != nil {
		t.Fatal(err)
	}
	if text, err := discoro.Result[string](t.Context(), coro); err != nil || !strings.HasPrefix(text, "hello tester, from process ") {
		t.Errorf("%q, %v", text, err)
	}
	if err := comp.Close(t.Context()); err != nil {
		t.Error(err)
	}
	node.interrupt()
	scheduler.interrupt()
}

// TestCloudNode has the two halves of the example cloud in processes of their own.
func TestCloudNode(t *testing.T) {
	t.Parallel()
	node := start(t, "cloud", "node", "-c", "2", "-n", t.Name(), "--udp_port", "-1")
	at := node.says(t, &node.out, atLocation)
	out := start(t, "cloud", "-listen", "127.0.0.1:0", "-peers", at).end()
	if want := "the sum of 1/n² is 1.644934, after 100000000 terms, and pi 3.141593\n"; out != want {
		t.Errorf("printed %q, want %q", out, want)
	}
	node.interrupt()

	if err := start(t, "cloud", "node", "--nonsense").wait(); err == nil || !strings.Contains(err.Error(), "exit status 2") {
		t.Errorf("an unknown option: %v", err)
	}
}
