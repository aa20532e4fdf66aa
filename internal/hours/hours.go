package hours

import (
	"errors"
	"fmt"
	"time"
)

// Hours are the hours of service of a node, which repeat every day. The zero Hours is always open.
type Hours struct {
	limited bool  // whether there are hours; otherwise the node is always open
	start   clock // new computations are accepted from this time of day
	stop    clock // and no longer from here on, in minutes after start
	end     clock // what runs is terminated here, in minutes after start; 0: never
}

// A Phase is what a node does at some time of its day.
type Phase uint8

// The phases of a day of service.
const (
	Open     Phase = iota // new computations are accepted
	Stopping              // nothing new is accepted; what runs goes on
	Closed                // what was running has been terminated
)

// clock is a time of day in minutes since midnight, or a span of at most one day in minutes.
type clock int

const day clock = 24 * 60

// Parse reads the hours of service of a node that starts now. The times have the form HH:MM, or are
// empty; package discoro says at NodeConfig.ServiceStart what they mean. With an error it returns
// the field of NodeConfig that is wrong.
func Parse(start, stop, end string, now time.Time) (h Hours, field string, err error) {
	if start == "" && stop == "" && end == "" {
		return Hours{}, "", nil
	}
	h = Hours{limited: true, start: clockOf(now)}
	for _, f := range []struct {
		field, text string
		to          *clock
	}{{"ServiceStart", start, &h.start}, {"ServiceStop", stop, &h.stop}, {"ServiceEnd", end, &h.end}} {
		if f.text == "" {
			continue
		}
		t, err := time.Parse("15:04", f.text)
		if err != nil {
			return Hours{}, f.field, fmt.Errorf("%.20q is not a time of day: want HH:MM, from 00:00 to 23:59", f.text)
		}
		*f.to = clockOf(t)
	}
	switch {
	case stop == "" && end == "":
		return Hours{}, "ServiceStart", errors.New("ServiceStop or ServiceEnd must be set as well")
	case start != "" && stop != "" && h.start == h.stop:
		return Hours{}, "ServiceStop", fmt.Errorf("%s is ServiceStart too", stop)
	case start != "" && stop == "" && h.start == h.end:
		return Hours{}, "ServiceEnd", fmt.Errorf("%s is ServiceStart too", end)
	}
	stopAt, endAt := h.stop.after(h.start), h.end.after(h.start)
	switch {
	case stop == "":
		stopAt = endAt
	case end == "":
		endAt = 0
	case endAt < stopAt:
		return Hours{}, "ServiceEnd", fmt.Errorf("%s comes before ServiceStop, %s, in a day that starts at %v",
			end, stop, h.start)
	}
	h.stop, h.end = stopAt, endAt
	return h, "", nil
}

// Limited reports whether there are times at which the node is not open.
func (h Hours) Limited() bool { return h.limited }

// At returns the phase at t, by t's own time of day, and how long it lasts from t on. The duration
// is 0 when the hours are not limited.
func (h Hours) At(t time.Time) (Phase, time.Duration) {
	if !h.limited {
		return Open, 0
	}
	in := clockOf(t).after(h.start) % day // minutes since start
	p, until := Stopping, day
	switch {
	case in < h.stop:
		p, until = Open, h.stop
	case h.end > 0 && in < h.end:
		until = h.end
	case h.end > 0:
		p = Closed
	}
	left := time.Duration(until-in)*time.Minute - time.Duration(t.Second())*time.Second - time.Duration(t.Nanosecond())
	return p, left
}

// String says when new computations are accepted, such as "17:00 to 07:00".
func (h Hours) String() string { return fmt.Sprintf("%v to %v", h.start, h.start+h.stop) }

func clockOf(t time.Time) clock { return clock(t.Hour()*60 + t.Minute()) }

// after returns how long after start the next c is: from one minute to a day.
func (c clock) after(start clock) clock { return (c-start+day-1)%day + 1 }

// String formats a time of day as HH:MM.
func (c clock) String() string { return fmt.Sprintf("%02d:%02d", c%day/60, c%60) }
