package discoro

import (
	"fmt"
	"time"
)

// hours are a node's hours of service: what it does at a time of day. They repeat every day.
type hours struct {
	limited bool  // there are hours; else it is always open
	start   clock // new computations are taken from here
	stop    clock // and no longer from here, in minutes after start
	end     clock // what runs is terminated here, in minutes after start; 0: never
}

// clock is a time of day in minutes since midnight, or a span of less than a day, or of one.
type clock int

const day clock = 24 * 60

// since returns how long after start c comes: from 1 minute to a day.
func (c clock) since(start clock) clock { return (c-start+day-1)%day + 1 }

func (c clock) String() string { return fmt.Sprintf("%02d:%02d", c%day/60, c%60) }

func clockOf(t time.Time) clock { return clock(t.Hour()*60 + t.Minute()) }

// phase is what a node does by its hours.
type phase uint8

const (
	hoursOpen     phase = iota
	hoursStopping       // nothing new; what runs goes on
	hoursClosed         // what runs has been terminated
)

// parseHours reads the hours of service of a node that starts now; see NodeConfig.ServiceStart.
func parseHours(start, stop, end string, now time.Time) (hours, error) {
	if start == "" && stop == "" && end == "" {
		return hours{}, nil
	}
	h := hours{limited: true, start: clockOf(now)}
	for _, f := range []struct {
		field, text string
		to          *clock
	}{{"ServiceStart", start, &h.start}, {"ServiceStop", stop, &h.stop}, {"ServiceEnd", end, &h.end}} {
		if f.text == "" {
			continue
		}
		t, err := time.Parse("15:04", f.text)
		if err != nil {
			return hours{}, badNode(f.field, "%.20q is not a time of day: want HH:MM, from 00:00 to 23:59", f.text)
		}
		*f.to = clockOf(t)
	}
	switch {
	case stop == "" && end == "":
		return hours{}, badNode("ServiceStart", "it needs a ServiceStop or a ServiceEnd")
	case start != "" && stop != "" && h.start == h.stop:
		return hours{}, badNode("ServiceStop", "%s is ServiceStart too", stop)
	case start != "" && stop == "" && h.start == h.end:
		return hours{}, badNode("ServiceEnd", "%s is ServiceStart too", end)
	}
	stopAt, endAt := h.stop.since(h.start), h.end.since(h.start)
	switch {
	case stop == "":
		stopAt = endAt
	case end == "":
		endAt = 0
	case endAt < stopAt:
		return hours{}, badNode("ServiceEnd", "%s comes before ServiceStop, %s, in a day that starts at %v", end, stop, h.start)
	}
	h.stop, h.end = stopAt, endAt
	return h, nil
}

// at returns what the node does at t, by t's own time of day, and how long until that may change.
func (h hours) at(t time.Time) (phase, time.Duration) {
	if !h.limited {
		return hoursOpen, 0
	}
	in := clockOf(t).since(h.start) % day // minutes since start
	p, until := hoursStopping, day
	switch {
	case in < h.stop:
		p, until = hoursOpen, h.stop
	case h.end > 0 && in < h.end:
		until = h.end
	case h.end > 0:
		p = hoursClosed
	}
	left := time.Duration(until-in)*time.Minute - time.Duration(t.Second())*time.Second - time.Duration(t.Nanosecond())
	return p, left
}

// String says when new computations are taken.
func (h hours) String() string { return fmt.Sprintf("%v to %v", h.start, h.start+h.stop) }
