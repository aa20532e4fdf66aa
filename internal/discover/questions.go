package discover

import (
	"maps"
	"net/netip"
	"sync"
	"time"

	"github.com/discoro/discoro/wire"
)

// Bounds of what is answered.
const (
	datagramAge  = time.Minute // a question that is older, or as much too new, is not answered
	maxAnswers1s = 100         // answers in a second
	maxAnswersTo = 20          // answers in a second to one address
)

// questions are the questions that were answered lately. Each is answered once, however often it comes,
// and only so many are answered in a second.
type questions struct {
	mu     sync.Mutex // guards following; leaf
	second int64
	total  int                   // in this second
	from   map[netip.Addr]int    // in this second
	seen   map[wire.ID]time.Time // when each was answered, for as long as its own time is good
	swept  time.Time             // when old ones were last removed
}

// add records a question. It returns false if the question is not to be answered.
func (q *questions) add(id wire.ID, from netip.Addr, now time.Time) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.seen == nil {
		q.from, q.seen = map[netip.Addr]int{}, map[wire.ID]time.Time{}
	}
	if s := now.Unix(); s != q.second {
		q.second, q.total = s, 0
		clear(q.from)
	}
	if now.Sub(q.swept) > datagramAge {
		q.swept = now
		maps.DeleteFunc(q.seen, func(_ wire.ID, at time.Time) bool { return now.Sub(at) > 2*datagramAge })
	}
	if _, known := q.seen[id]; known || q.total >= maxAnswers1s || q.from[from] >= maxAnswersTo {
		return false
	}
	q.total++
	q.from[from]++
	q.seen[id] = now
	return true
}
