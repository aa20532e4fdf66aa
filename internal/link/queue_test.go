package link

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"testing"

	"pgregory.net/rapid"

	"github.com/discoro/discoro/internal/call"
	"github.com/discoro/discoro/wire"
)

// TestLinkQueueOrder adds frames of all sizes and takes them as the writer does. Each comes once and
// whole. Frames with one key come in order, those of a job behind those of the roles, and the last one
// last.
func TestLinkQueueOrder(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var q queue
		var stream []byte
		var added []wire.Frame
		var jobs []uint64
		add := func(f wire.Frame) {
			head, body, err := wire.AppendHead(nil, f)
			if err != nil {
				t.Fatal(err)
			}
			q.add(keyOf(f), head, body, nil)
			added = append(added, f)
		}
		take := func() {
			stream = append(stream, taken(&q)...)
		}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			if rapid.Bool().Draw(t, "take") {
				take()
				continue
			}
			n := rapid.SampledFrom([]int{
				0, 1, 1, 1, smallChunk / 3, smallChunk, LargeFrame - 1, LargeFrame,
				wire.PartSize - 20, wire.PartSize, wire.PartSize + 1, 5 * wire.PartSize,
			}).Draw(t, "size")
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

// taken returns what the writer writes next.
func taken(q *queue) (b []byte) {
	small, p := q.take(nil)
	if p.size() > 0 {
		small = append(small, p.chunk())
	}
	for _, c := range small {
		b = append(b, c.b...)
		c.free()
	}
	return b
}

// TestSmallChunks checks how much memory a few frames hold until they are written, and that many frames
// are written at once.
func TestSmallChunks(t *testing.T) {
	t.Parallel()
	var q queue
	frame := bytes.Repeat([]byte{7}, 100)
	for n, want := range map[int]int{1: smallChunk, 10: smallChunk, 11: chunkSize, 700: chunkSize} {
		for range n {
			q.add(laneKey{kind: laneCoro}, frame[:10], frame[10:], nil)
		}
		small, _ := q.take(nil)
		if len(small) != 1 || cap(small[0].b) != want || !bytes.Equal(small[0].b, bytes.Repeat(frame, n)) {
			t.Errorf("%d frames take %d chunks, the first with %d of %d bytes, want one of %d",
				n, len(small), len(small[0].b), cap(small[0].b), want)
		}
		small[0].free()
	}
}

// checkArrival reads the stream and compares the frames in it with those that were added.
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
		case laneCoro, laneChannel, laneCall, lanePulse:
		}
	}
	if _, _, err := r.Next(); !errors.Is(err, io.EOF) {
		t.Fatalf("behind the last frame: %v", err)
	}
}

// textOf returns a text that only f has.
func textOf(t *rapid.T, f wire.Frame) string {
	b, err := wire.AppendFrame(nil, f)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", sha256.Sum256(b))
}

// TestLinkQueueOvertakes checks which frames a large one does not hold up.
func TestLinkQueueOvertakes(t *testing.T) {
	t.Parallel()
	var q queue
	for _, f := range []wire.Frame{
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
		q.add(keyOf(f), head, body, nil)
	}
	r := wire.NewReader(bytes.NewReader(taken(&q)), 1<<30)
	for _, want := range []wire.Kind{wire.KindMessage, wire.KindPulse, wire.KindDone} {
		if f, _, err := r.Next(); err != nil || f.Kind() != want {
			t.Errorf("%T, %v, want kind %d", f, err, want)
		}
	}
	if q.bulk < 19*wire.PartSize || q.bulk >= 20*wire.PartSize {
		t.Errorf("one part should have left; %d bytes are in the lane", q.bulk)
	}
}

// tell finishes the calls of the senders that get room.
func (r *roomCalls) tell(q *queue) {
	turns, _ := r.next(q)
	for _, k := range turns {
		k.Finish(call.Outcome{})
	}
}

// TestRoomTakesTurns checks that a sender that always has more does not keep another out, whether they
// leave their frames or come back with them.
func TestRoomTakesTurns(t *testing.T) {
	t.Parallel()
	for _, leave := range []bool{false, true} {
		var q queue
		var room roomCalls
		greedy := roomWaiter{key: laneKey{kind: laneCoro, num: 1}, size: LargeFrame - 1}
		modest := roomWaiter{key: laneKey{kind: laneCoro, num: 2}, size: 10}
		if leave {
			greedy.frame, modest.frame = make([]byte, greedy.size), make([]byte, modest.size)
		}
		var turn *call.Call // of the greedy one
		fill := func() {
			for {
				if turn != nil {
					if _, came := turn.Result(); !came {
						return
					}
					if leave {
						turn = nil
					}
				}
				if turn = room.admit(&q, greedy, turn); turn != nil {
					return
				}
				q.add(greedy.key, nil, make([]byte, greedy.size), nil)
			}
		}
		fill()
		wait := room.admit(&q, modest, nil)
		if wait == nil {
			t.Fatal("a full queue took one more")
		}
		q.take(nil)
		room.tell(&q)
		if leave && q.bytes != greedy.size+modest.size {
			t.Errorf("%d bytes are in the queue, want what both have left", q.bytes)
		}
		fill() // it comes first, and fills the queue again
		if _, came := wait.Result(); !came || !leave && room.admit(&q, modest, wait) != nil {
			t.Error("the second sender was kept out")
		}
		if q.bytes > MaxQueue+greedy.size || turn == nil {
			t.Errorf("%d bytes wait, the greedy one waits: %v", q.bytes, turn != nil)
		}
		if !room.drop(turn) || room.drop(wait) {
			t.Error("what waits was not dropped, or what does not was")
		}
		if n := room.waiting(); n != 0 {
			t.Errorf("%d wait still", n)
		}
	}
}

// TestRoomGivenUp checks that room that is given up goes to the next sender, and that newcomers do not
// overtake.
func TestRoomGivenUp(t *testing.T) {
	t.Parallel()
	var q queue
	var room roomCalls
	large := roomWaiter{key: laneKey{kind: laneCoro, num: 1}, size: MaxQueue}
	q.add(large.key, nil, make([]byte, MaxQueue), nil) // in a lane
	var waits []*call.Call
	for range 3 {
		waits = append(waits, room.admit(&q, large, nil))
	}
	if room.admit(&q, roomWaiter{key: laneKey{kind: laneCoro, num: 2}, size: 10}, nil) != nil {
		t.Error("a small frame waits behind large ones to somebody else")
	}
	for q.size() > 0 {
		q.take(nil)
	}
	first, _ := room.next(&q)
	if len(first) != 1 || first[0] != waits[0] {
		t.Fatalf("%d have their turn, want the first", len(first))
	}
	if room.admit(&q, roomWaiter{key: large.key, size: LargeFrame}, nil) == nil {
		t.Error("a newcomer has overtaken")
	}
	room.drop(waits[1]) // waits
	room.drop(waits[0]) // has its turn
	if next, _ := room.next(&q); len(next) != 1 || next[0] != waits[2] {
		t.Errorf("%d have their turn, want the third", len(next))
	}
	if all := room.end(); len(all) != 1 {
		t.Errorf("%d waited at the end, want the newcomer", len(all))
	}
}
