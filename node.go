package discoro

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/discoro/discoro/internal/call"
	"github.com/discoro/discoro/internal/fault"
	"github.com/discoro/discoro/internal/files"
)

// Node offers its servers to schedulers: those among its Peers, and those that dial it. It serves one computation at a
// time; each gets fresh servers. In asyncoro: discoronode. Its methods are safe for concurrent use.
type Node struct {
	rt    *Runtime      // immutable
	loop  *nodeLoop     // immutable; its fields belong to its goroutine
	ended chan struct{} // closed by Close when everything has ended
	close sync.Once
}

// NewNode returns a running node whose servers are starting; it does not wait for them. Close ends it. The errors are those of
// [NewRuntime], for the fields of NodeConfig as well; with Processes also that main has not called [Init].
func NewNode(cfg ...NodeConfig) (*Node, error) {
	c, err := one(cfg)
	if err != nil {
		return nil, err
	}
	s, err := c.settle()
	if err != nil {
		return nil, err
	}
	rt, err := newRuntime(c.Config, roleNode)
	if err != nil {
		return nil, err
	}
	folder, err := privateFolder(c.DestPath)
	if err != nil {
		return nil, errors.Join(fault.Because(err, "node: no folder for its servers"), rt.Close())
	}
	n := &Node{rt: rt, ended: make(chan struct{})}
	n.loop = newNodeLoop(rt, s, folder)
	rt.addRole(roleNode, n.loop)
	rt.start(n.loop.run)
	rt.start(n.loop.watchAvail)
	return n, nil
}

// privateFolder makes a folder that is the node's own, below dest or among the temporary ones.
func privateFolder(dest string) (string, error) {
	if dest == "" {
		return os.MkdirTemp("", "discoro-")
	}
	if err := os.MkdirAll(dest, 0o700); err != nil {
		return "", err
	}
	folder, err := os.MkdirTemp(dest, "discoro-")
	if err != nil {
		return "", err
	}
	return filepath.Abs(folder)
}

// Location returns where the node can be reached: its name in statuses and for RunAt.
func (n *Node) Location() Location { return n.rt.Location() }

// Name returns the node's name.
func (n *Node) Name() string { return n.rt.Name() }

// Servers returns the locations of the node's servers that are up, sorted.
func (n *Node) Servers() []Location {
	locs := []Location{}
	n.loop.do(func(l *nodeLoop) {
		for _, s := range l.slots {
			if s.isUsable() {
				locs = append(locs, peerLocation(s.info.Peer))
			}
		}
	})
	slices.SortFunc(locs, compareLocations)
	return locs
}

func compareLocations(a, b Location) int {
	return cmp.Or(cmp.Compare(a.Addr, b.Addr), cmp.Compare(a.Port, b.Port))
}

// killServer is seam.KillServer.
func (n *Node) killServer(loc Location) error {
	err := fmt.Errorf("discoro: kill the server at %v: node %v has none there: %w", loc, n.Location(), ErrNotFound)
	n.loop.do(func(l *nodeLoop) {
		i := slices.IndexFunc(l.slots, func(s *serverSlot) bool { return s.isUp() && s.host != nil && peerLocation(s.info.Peer) == loc })
		if i >= 0 {
			l.slots[i].host.kill()
			err = nil
		}
	})
	return err
}

// CloseComputation ends the computation that the node serves, if any, as far as this node is concerned: what runs here
// is terminated, the computation goes on without this node, and the node is free for the next. It blocks until its servers
// have closed, or ctx ends. Where none is served it does nothing.
func (n *Node) CloseComputation(ctx context.Context) error {
	return n.loop.await(ctx, waitClose, func(l *nodeLoop, done func()) {
		l.onFree(done)
		l.release("closed at the node", true)
	})
}

// Drain takes no new computation, and no new jobs of the one that is served; it waits until those that run here have
// ended, leaves the computation to other nodes, and closes the node. What jobs spawned here and left running is terminated. The client
// has the results before the servers close, unless its link to them has ended, or it has answered nothing for five of the computation's pulses
// and a minute; runs of which it has then not heard end with a [ServerLostError].
// In asyncoro: discoronode's quit. It blocks until then, or until ctx ends: the node then goes on draining, and [Node.Wait]
// closes it.
func (n *Node) Drain(ctx context.Context) error {
	if err := n.mayClose(); err != nil {
		return err
	}
	err := n.loop.await(ctx, waitDrain, func(l *nodeLoop, done func()) {
		l.leave()
		l.onFree(done)
	})
	if err != nil {
		return fault.Because(err, "drain")
	}
	return n.Close()
}

// Close ends the node at once: what its servers run is terminated, given the grace period to end, and its server
// processes and folders are gone when Close returns. Called by a coroutine of its own runtime, or of a server of its that is in
// this process, it is ErrRejected, as is Drain. In asyncoro: discoronode's terminate.
func (n *Node) Close() error {
	err := n.mayClose()
	if err != nil {
		return err
	}
	n.close.Do(func() {
		defer close(n.ended)
		ctx, cancel := context.WithTimeout(context.Background(), n.rt.grace+closeGrace)
		defer cancel()
		if e := n.loop.await(ctx, waitClose, func(l *nodeLoop, done func()) { l.shutdown(done) }); e != nil {
			n.rt.log.Warn("servers did not close in time", slog.Any("err", e))
		}
		err = errors.Join(n.rt.Close(), files.RemoveAll(n.loop.folder))
	})
	<-n.ended
	return err
}

// mayClose returns an error when a coroutine of the node's calls, for which closing it would wait.
func (n *Node) mayClose() error {
	for _, rt := range append(n.loop.hosted.all(), n.rt) {
		if err := rt.mayClose("the node"); err != nil {
			return err
		}
	}
	return nil
}

// closeGrace is how long server processes have to end after their coroutines did.
const closeGrace = 3 * time.Second

// Wait blocks until the node is closed, or has drained: because NodeConfig.Serve computations were served, or after a Drain
// whose context ended. Then it closes the node. ErrRejected: see Close.
func (n *Node) Wait() error {
	select {
	case <-n.loop.over:
		return n.Close()
	case <-n.ended:
		return nil
	}
}

// await runs f in the loop, and waits until f's done is called, or ctx ends. why says what is waited for.
func (l *nodeLoop) await(ctx context.Context, why string, f func(l *nodeLoop, done func())) error {
	k := call.New(why, nil)
	l.do(func(l *nodeLoop) { f(l, func() { k.Finish(call.Outcome{}) }) })
	_, err := l.rt.wait(ctx, k)
	return err
}
