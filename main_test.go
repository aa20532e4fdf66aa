package discoro_test

import (
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/discoro/discoro"
)

func TestMain(m *testing.M) {
	discoro.Init() // tests use Processes: a server process goes no further
	switch os.Getenv(mainEnv) {
	case "node":
		discoro.NodeMain()
	case "scheduler":
		discoro.SchedulerMain()
	}
	if os.Getenv(echoEnv) != "" {
		if err := serveEcho(); err != nil {
			os.Stderr.WriteString(err.Error() + "\n")
			os.Exit(1)
		}
		os.Exit(0)
	}
	if secret := os.Getenv(linkPeerEnv); secret != "" {
		if err := serveLinkPeer(secret[1:]); err != nil {
			os.Stderr.WriteString(err.Error() + "\n")
			os.Exit(1)
		}
		os.Exit(0)
	}
	if role := os.Getenv(roleEnv); role != "" {
		_ = os.Unsetenv(roleEnv) // its server processes have none
		if err := serveRole(role); err != nil {
			os.Stderr.WriteString(err.Error() + "\n")
			os.Exit(1)
		}
		os.Exit(0)
	}
	if isHost, err := discoro.ServeHost(); isHost {
		if err != nil {
			os.Stderr.WriteString(err.Error() + "\n")
			os.Exit(1)
		}
		os.Exit(0)
	}
	if isPeer, err := discoro.ServePeer(); isPeer {
		if err != nil {
			os.Stderr.WriteString(err.Error() + "\n")
			os.Exit(1)
		}
		os.Exit(0)
	}
	if code := m.Run(); code != 0 {
		os.Exit(code)
	}
	if err := goleak.Find(); err != nil {
		os.Stderr.WriteString(err.Error() + "\n")
		os.Exit(1)
	}
}
