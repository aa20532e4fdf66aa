package discoro

import (
	"strings"
	"testing"
	"time"
)

// TestNodeWithoutInit is not parallel: it undoes what Init has recorded in TestMain.
func TestNodeWithoutInit(t *testing.T) {
	initCalled.Store(false)
	defer initCalled.Store(true)
	if _, err := NewNode(NodeConfig{Processes: true}); err == nil || !strings.Contains(err.Error(), "discoro.Init") {
		t.Errorf("a node of processes without Init: %v", err)
	}
}

func TestServerProcessInput(t *testing.T) {
	t.Parallel()
	for input, says := range map[string]string{
		"":                             "EOF",
		"garbage":                      "instructions",
		`{"Node":"nowhere"}`:           "ServerConfig.Node",
		`{"Node":"127.0.0.1:1"}`:       "127.0.0.1:1",
		`{"Node":"a:1","TCPPort":"x"}`: "instructions",
	} {
		if err := serveProcess(strings.NewReader(input)); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v", input, err)
		}
	}
}

func TestRestartPause(t *testing.T) {
	t.Parallel()
	for fails, want := range map[int]time.Duration{
		0: 0, 1: 100 * time.Millisecond, 2: 200 * time.Millisecond, 5: 1600 * time.Millisecond, 9: 25600 * time.Millisecond,
		10: 30 * time.Second, 1000: 30 * time.Second,
	} {
		if got := restartPause(fails); got != want {
			t.Errorf("after %d failures %v, want %v", fails, got, want)
		}
	}
}
