package link

import "github.com/discoro/discoro/wire"

// laneKey groups the frames that stay in order: all frames with the same key. Frames of jobs also
// stay behind those with laneRoles.
type laneKey struct {
	kind laneKind
	num  uint64
	id   wire.ID
}

type laneKind uint8

const (
	laneRoles   laneKind = iota // between roles, except what concerns one job
	laneJob                     // one job
	laneCoro                    // one coroutine of the peer
	laneChannel                 // one channel of the peer
	laneCall                    // the answer to one call
	lanePulse                   // never waits in a lane
	laneLast                    // leaves after everything else
)

// keyOf returns the key of a frame.
func keyOf(f wire.Frame) laneKey {
	switch f := f.(type) {
	case *wire.Message:
		return laneKey{kind: laneCoro, num: f.To}
	case *wire.Deliver:
		return laneKey{kind: laneCoro, num: f.To}
	case *wire.Ask:
		return laneKey{kind: laneCoro, num: f.To}
	case *wire.Exit:
		return laneKey{kind: laneCoro, num: f.To}
	case *wire.Wait:
		return laneKey{kind: laneCoro, num: f.Of}
	case *wire.Terminate:
		return laneKey{kind: laneCoro, num: f.Of}
	case *wire.Reply:
		return laneKey{kind: laneCall, num: f.Call}
	case *wire.Run:
		return jobKey(f.Job)
	case *wire.Unrun:
		return jobKey(f.Job)
	case *wire.Start:
		return jobKey(f.Job)
	case *wire.Unstart:
		return jobKey(f.Job)
	case *wire.Started:
		return jobKey(f.Job)
	case *wire.Done:
		return jobKey(f.Job)
	case *wire.Freed:
		return jobKey(f.Job)
	case *wire.Unheard:
		return jobKey(f.Job)
	case *wire.Subscribe:
		return laneKey{kind: laneChannel, num: f.Channel}
	case *wire.Unsubscribe:
		return laneKey{kind: laneChannel, num: f.Channel}
	case *wire.Publish:
		return laneKey{kind: laneChannel, num: f.Channel}
	case *wire.PublishDeliver:
		return laneKey{kind: laneChannel, num: f.Channel}
	case *wire.CloseChannel:
		return laneKey{kind: laneChannel, num: f.Channel}
	case *wire.Enroll:
		return laneKey{kind: laneCoro, num: f.Coro}
	case *wire.Dropped:
		return laneKey{kind: laneCoro, num: f.Coro}
	case *wire.Pulse:
		return laneKey{kind: lanePulse}
	case *wire.Bye:
		return laneKey{kind: laneLast}
	}
	return laneKey{kind: laneRoles}
}

func jobKey(j wire.JobID) laneKey { return laneKey{kind: laneJob, num: j.Seq, id: j.Client} }
