package discoro

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"testing"

	"pgregory.net/rapid"

	"github.com/discoro/discoro/wire"
)

// TestLinkQueueOrder adds frames of all sizes and takes them as the writer does. Whatever happens, each comes once and
// whole, those with one key in order, those of a job behind those of the roles, and the last one last.
func TestLinkQueueOrder(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var q linkQueue
		var stream []byte
		var added []wire.Frame
		var jobs []uint64
		add := func(f wire.Frame) {
			head, body, err := wire.AppendHead(nil, f)
			if err != nil {
				t.Fatal(err)
			}
			q.add(keyOf(f), head, body)
			added = append(added, f)
		}
		take := func() {
			buf, p := q.take(nil)
			stream = p.appendTo(append(stream, buf...))
		}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			if rapid.Bool().Draw(t, "take") {
				take()
				continue
			}
			n := rapid.SampledFrom([]int{0, 1, 1, 1, wire.PartSize - 1, wire.PartSize, wire.PartSize + 1, 5 * wire.PartSize}).Draw(t, "size")
			body := bytes.Repeat([]byte{byte(len(added))}, n)
			who := rapid.Uint64Range(0, 5).Draw(t, "who")
			switch rapid.IntRange(0, 3).Draw(t, "kind") {
			case 0:
				add(&wire.Message{To: who, Body: body})
			case 1:
				job := uint64(len(added))
				jobs = append(jobs, job)
				add(&wire.Run{Job: wire.JobID{Seq: job}, Call: wire.FuncCall{Arg: body}})
			case 2:
				add(&wire.Submit{Call: uint64(len(added)), Name: string(body)})
			case 3:
				if len(jobs) > 0 {
					add(&wire.Unrun{Job: wire.JobID{Seq: rapid.SampledFrom(jobs).Draw(t, "job")}})
				}
			}
		}
		add(&wire.Bye{})
		for q.size() > 0 {
			take()
		}
		if len(q.lanes) > 0 || q.bulk != 0 {
			t.Fatalf("%d lanes and %d bytes are left", len(q.lanes), q.bulk)
		}
		checkArrival(t, added, stream)
	})
}

// checkArrival reads the stream and compares what comes with what was added.
func checkArrival(t *rapid.T, added []wire.Frame, stream []byte) {
	byKey, roles := map[laneKey][]string{}, map[string]int{}
	for _, f := range added {
		key := keyOf(f)
		byKey[key] = append(byKey[key], textOf(t, f))
		if key.kind == laneJob { // how many frames of the roles come before it
			roles[textOf(t, f)] = len(byKey[laneKey{}])
		}
	}
	seenRoles := 0
	r := wire.NewReader(bytes.NewReader(stream), 1<<30)
	for i := range added {
		f, _, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		key, text := keyOf(f), textOf(t, f)
		if len(byKey[key]) == 0 || byKey[key][0] != text {
			t.Fatalf("frame %d, a %T with key %v, came out of order", i, f, key)
		}
		byKey[key] = byKey[key][1:]
		switch key.kind {
		case laneRoles:
			seenRoles++
		case laneJob:
			if _, isRun := f.(*wire.Run); isRun && seenRoles < roles[text] {
				t.Fatalf("a run came behind %d frames of the roles, not %d", seenRoles, roles[text])
			}
		case laneLast:
			if i != len(added)-1 {
				t.Fatalf("the last frame came as number %d of %d", i, len(added))
			}
		case laneCoro, laneCall, lanePulse:
		}
	}
	if _, _, err := r.Next(); !errors.Is(err, io.EOF) {
		t.Fatalf("behind the last frame: %v", err)
	}
}

// textOf returns what only f is.
func textOf(t *rapid.T, f wire.Frame) string {
	b, err := wire.AppendFrame(nil, f)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", sha256.Sum256(b))
}

// TestLinkQueueOvertakes shows what a large frame does not hold back.
func TestLinkQueueOvertakes(t *testing.T) {
	t.Parallel()
	var q linkQueue
	for i, f := range []wire.Frame{
		&wire.Message{To: 1, Body: make([]byte, 20*wire.PartSize)},
		&wire.Message{To: 1},
		&wire.Message{To: 2},
		&wire.Pulse{},
		&wire.Done{},
	} {
		head, body, err := wire.AppendHead(nil, f)
		if err != nil {
			t.Fatal(err)
		}
		q.add(keyOf(f), head, body)
		if full := q.full(keyOf(&wire.Message{To: 1}), 1); full != (i >= 0 && q.bulk >= maxQueue) {
			t.Errorf("after frame %d: full is %v", i, full)
		}
	}
	buf, p := q.take(nil)
	r := wire.NewReader(bytes.NewReader(p.appendTo(buf)), 1<<30)
	for _, want := range []wire.Kind{wire.KindMessage, wire.KindPulse, wire.KindDone} {
		if f, _, err := r.Next(); err != nil || f.Kind() != want {
			t.Errorf("%T, %v, want kind %d", f, err, want)
		}
	}
	if p.number == 0 || q.bulk < 19*wire.PartSize {
		t.Errorf("one part should have left; number %d, %d bytes are in the lane", p.number, q.bulk)
	}
}
