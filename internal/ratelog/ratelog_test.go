package ratelog

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestDue(t *testing.T) {
	t.Parallel()
	var l Log
	now := time.Unix(1000, 0)
	for i, step := range []struct {
		key  string
		at   time.Duration
		more int
		due  bool
	}{
		{"a", 0, 0, true},
		{"a", time.Second, 0, false},
		{"b", time.Second, 0, true},
		{"a", Pause - 1, 0, false},
		{"a", Pause, 2, true},
		{"a", Pause + 1, 0, false},
		{"b", 3 * Pause, 0, true},
		{"a", 3 * Pause, 1, true},
	} {
		if more, due := l.Due(step.key, now.Add(step.at)); more != step.more || due != step.due {
			t.Errorf("step %d: %d, %v; want %d, %v", i, more, due, step.more, step.due)
		}
	}
	lines := 0
	for i := range 10 * maxKeys {
		if _, due := l.Due(fmt.Sprint(i), now.Add(4*Pause)); due {
			lines++
		}
	}
	if lines > maxKeys+1 || len(l.of) > maxKeys+1 {
		t.Errorf("%d lines, %d keys are remembered", lines, len(l.of))
	}
	if l.Due("later", now.Add(time.Hour)); len(l.of) > maxKeys+1 {
		t.Errorf("%d keys are remembered", len(l.of))
	}
}

// TestWarn logs more often than is allowed.
func TestWarn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		log := slog.New(slog.NewTextHandler(&out, nil))
		var l Log
		for range 3 {
			l.Warn(log, "a", "words", slog.Int("n", 1))
		}
		<-time.After(Pause)
		l.Warn(log, "a", "words", slog.Int("n", 2))
		got := strings.Split(strings.TrimSpace(out.String()), "\n")
		if len(got) != 2 || !strings.HasSuffix(got[0], "msg=words n=1") || !strings.HasSuffix(got[1], "msg=words n=2 more=2") {
			t.Errorf("logged:\n%s", &out)
		}
	})
}
