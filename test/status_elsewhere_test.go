package test

import (
	"testing"

	"github.com/discoro/discoro"
)

// TestStatusElsewhere has a status coroutine in another runtime than the client, where mailboxes
// hold one message. It receives everything, and in order.
func TestStatusElsewhere(t *testing.T) {
	t.Parallel()
	c := newCluster(t, discoro.NodeConfig{Servers: 1})
	far, err := discoro.NewRuntime(discoro.Config{MaxMailbox: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeIn(t, "far", far.Close) })
	told := statusLog(far)
	if err := told.Register("told"); err != nil {
		t.Fatal(err)
	}
	status, err := c.sched.Locate(c.ctx, "told", far.Location())
	if err != nil {
		t.Fatal(err)
	}
	over := make(chan struct{})
	hog := far.Spawn("hog", func(*discoro.Coro) (any, error) { <-over; return nil, nil }) // so that the mailbox fills
	comp := c.computation(1, discoro.ComputationConfig{Status: status})
	for i := range 20 {
		job, err := comp.Run(c.ctx, double.With(i))
		if err != nil {
			t.Fatal(err)
		}
		if err := job.Wait(c.ctx); err != nil {
			t.Fatal(err)
		}
	}
	close(over)
	if err := hog.Wait(c.ctx); err != nil {
		t.Fatal(err)
	}
	if err := comp.Close(c.ctx); err != nil {
		t.Fatal(err)
	}
	log, err := discoro.Result[[]any](c.ctx, told)
	if err != nil {
		t.Fatal(err)
	}
	checkStatusOrder(t, log)
	created := 0
	for _, msg := range log {
		if st, ok := msg.(discoro.Status); ok && st.Kind == discoro.CoroCreated {
			created++
		}
	}
	if created != 20 {
		t.Errorf("%d runs were told of: %v", created, statusKinds(log))
	}
}
