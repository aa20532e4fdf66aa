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

var (
	double = discoro.Register("test.double", func(_ *discoro.Coro, n int) (int, error) { return 2 * n, nil })
	panics = discoro.Register("test.panics", func(_ *discoro.Coro, msg string) (int, error) { panic(msg) })
)

var errBoom = errors.New("boom")

func init() { discoro.RegisterError("test.boom", errBoom) }
