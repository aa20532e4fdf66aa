package discoro_test

import (
	"errors"
	"testing"

	"github.com/discoro/discoro"
	"github.com/discoro/discoro/internal/testkit"
	"github.com/discoro/discoro/internal/testkit/live"
)

func TestMain(m *testing.M) {
	discoro.Init() // tests use Processes: a server process goes no further
	testkit.Main(m, live.PeerLife)
}

var errBoom = errors.New("boom")

func init() { discoro.RegisterError("test.boom", errBoom) }
