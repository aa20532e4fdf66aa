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

// Node offers its servers to schedulers: to those among its Peers, and to those that connect to it.
// It serves one computation at a time, each with fresh servers. Its methods are safe for concurrent
// use. In asyncoro: discoronode.
type Node struct {
	rt    *Runtime      // immutable
	loop  *nodeLoop     // immutable
	ended chan struct{} // closed by Close when everything has ended
	close sync.Once     // of Close
}

// NewNode returns a running node. Its servers are starting; NewNode does not wait for them. Close
// ends the node. Errors are as with [NewRuntime], and may name a field of NodeConfig. With
// NodeConfig.Processes it is an error if main has not called [Init].
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

// privateFolder makes a folder for the node alone, below dest or among the temporary ones.
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

// Location returns where the node can be reached. Statuses and [NodeAddr] name the node so.
func (n *Node) Location() Location { return n.rt.Location() }

// Name returns the node's name.
func (n *Node) Name() string { return n.rt.Name() }

// Servers returns the locations of the node's servers that are up, sorted. It does not wait for
// those that are starting.
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
		i := slices.IndexFunc(l.slots, func(s *serverSlot) bool {
			return s.isUp() && s.host != nil && peerLocation(s.info.Peer) == loc
		})
		if i >= 0 {
			l.slots[i].host.kill()
			err = nil
		}
	})
	return err
}

// CloseComputation makes the node leave the computation that it serves. What runs here is
// terminated, the computation goes on without this node, and the node is free for the next one. It
// blocks until the node's servers have closed, or ctx ends. A node that serves no computation does
// nothing.
func (n *Node) CloseComputation(ctx context.Context) error {
	return n.loop.await(ctx, waitClose, func(l *nodeLoop, done func()) {
		l.onFree(done)
		l.release("closed at the node", true)
	})
}

// Drain makes the node take no new computation, and no new run of the one that it serves. It waits
// until the runs here have ended, leaves the computation to other nodes, and closes the node.
// Coroutines that runs have spawned here are terminated then. In asyncoro: discoronode's quit.
//
// Drain blocks until the node has closed, or ctx ends. When ctx ends, the node goes on draining,
// and [Node.Wait] closes it. A coroutine of the node, or of its servers in this process, cannot
// call it: ErrRejected.
//
// The client receives all results before the servers close. A server gives up on that when its link
// to the client has ended, or when the client has not answered for five intervals of the
// computation's pulse and a minute. Then the runs whose end the client does not know end at the
// client with a [ServerLostError].
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

// Close ends the node at once. What its servers run is terminated, and has the grace period to end.
// When Close returns, the server processes have exited and the node's folders are removed. A
// coroutine of the node, or of its servers in this process, cannot call it: ErrRejected. In
// asyncoro: discoronode's terminate.
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

// mayClose returns an error when the caller is a coroutine of the node or of its servers, which
// Close would wait for.
func (n *Node) mayClose() error {
	for _, rt := range append(n.loop.hosted.all(), n.rt) {
		if err := rt.mayClose("the node"); err != nil {
			return err
		}
	}
	return nil
}

// closeGrace is how long a server process has to exit after its coroutines have ended.
const closeGrace = 3 * time.Second

// Wait blocks until the node is closed, or has drained: because it has served NodeConfig.Serve
// computations, or after a Drain whose context ended. Then Wait closes the node. ErrRejected: see
// [Node.Close].
func (n *Node) Wait() error {
	select {
	case <-n.loop.left:
		return n.Close()
	case <-n.ended:
		return nil
	}
}

// await runs f in the loop, and waits until f has called done, or ctx ends. why says what it waits
// for.
func (l *nodeLoop) await(ctx context.Context, why string, f func(l *nodeLoop, done func())) error {
	k := call.New(why, nil)
	l.do(func(l *nodeLoop) { f(l, func() { k.Finish(call.Outcome{}) }) })
	_, err := l.rt.wait(ctx, k)
	return err
}
