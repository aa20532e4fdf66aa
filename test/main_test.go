package test

import (
	"testing"

	"github.com/discoro/discoro"
	"github.com/discoro/discoro/internal/testkit"
	"github.com/discoro/discoro/internal/testkit/live"
)

func TestMain(m *testing.M) {
	discoro.Init() // tests use Processes: a server process goes no further
	testkit.Main(m,
		testkit.Life{Env: mainEnv, Serve: serveMain},
		testkit.Life{Env: echoEnv, Serve: func(string) error { return serveEcho() }},
		testkit.Life{Env: linkPeerEnv, Serve: func(secret string) error { return serveLinkPeer(secret[1:]) }},
		testkit.Life{Env: roleEnv, Serve: serveRole},
		hostLife,
		live.PeerLife,
	)
}
