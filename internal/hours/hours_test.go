package hours

import (
	"strings"
	"testing"
	"time"
)

func TestHours(t *testing.T) {
	t.Parallel()
	started := time.Date(2026, 3, 1, 9, 30, 20, 0, time.UTC)
	const open, stopping, closed = Open, Stopping, Closed
	type row struct {
		at   string
		want Phase
		left time.Duration
	}
	for name, c := range map[string]struct {
		start, stop, end string
		rows             []row
	}{
		"across midnight": {"17:00", "07:00", "08:00", []row{
			{"17:00:00", open, 14 * time.Hour},
			{"23:59:59", open, 7*time.Hour + time.Second},
			{"00:00:00", open, 7 * time.Hour},
			{"06:59:59", open, time.Second},
			{"07:00:00", stopping, time.Hour},
			{"07:59:30", stopping, 30 * time.Second},
			{"08:00:00", closed, 9 * time.Hour},
			{"16:59:59", closed, time.Second},
		}},
		"within a day, stop only": {"08:00", "18:00", "", []row{
			{"08:00:00", open, 10 * time.Hour},
			{"18:00:00", stopping, 14 * time.Hour},
			{"07:59:59", stopping, time.Second},
		}},
		"end only": {"08:00", "", "18:00", []row{
			{"12:00:00", open, 6 * time.Hour},
			{"18:00:00", closed, 14 * time.Hour},
		}},
		"from now": {"", "12:00", "13:00", []row{
			{"09:30:20", open, 2*time.Hour + 29*time.Minute + 40*time.Second},
			{"12:30:00", stopping, 30 * time.Minute},
			{"13:00:00", closed, 20*time.Hour + 30*time.Minute},
			{"09:29:00", closed, time.Minute},
		}},
		"from now for a day": {"", "09:30", "", []row{
			{"09:30:20", open, 24*time.Hour - 20*time.Second},
			{"09:29:59", open, time.Second},
		}},
		"the end is the next start": {"08:00", "07:00", "08:00", []row{
			{"07:30:00", stopping, 30 * time.Minute},
			{"08:00:00", open, 23 * time.Hour},
		}},
		"none": {"", "", "", []row{{"03:00:00", open, 0}}},
	} {
		h, _, err := Parse(c.start, c.stop, c.end, started)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for _, r := range c.rows {
			at, err := time.Parse(time.TimeOnly, r.at)
			if err != nil {
				t.Fatal(err)
			}
			if p, left := h.At(at); p != r.want || left != r.left {
				t.Errorf("%s, at %s: %v for %v; want %v for %v", name, r.at, p, left, r.want, r.left)
			}
		}
	}
}

func TestBadHours(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ start, stop, end, says string }{
		{"17:00", "", "", "ServiceStart: ServiceStop or ServiceEnd must"},
		{"17:00", "17:00", "", "ServiceStop"},
		{"17:00", "", "17:00", "ServiceEnd"},
		{"17:00", "08:00", "07:00", "ServiceEnd"},
		{"25:00", "08:00", "", `ServiceStart: "25:00"`},
		{"17:00", "8", "", `ServiceStop: "8"`},
		{"17:00", "08:00", "08:60", `ServiceEnd: "08:60"`},
		{"", "-1:00", "", "ServiceStop"},
	} {
		h, field, err := Parse(c.start, c.stop, c.end, time.Now())
		if err == nil || !strings.HasPrefix(field+": "+err.Error(), c.says) {
			t.Errorf("%+v: %v, %s, %v", c, h, field, err)
		}
	}
}
