package test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/discoro/discoro"
	"github.com/discoro/discoro/internal/seam"
	"github.com/discoro/discoro/internal/stopwatch"
	"github.com/discoro/discoro/internal/testkit"
)

// These tests have faults between hosts: five network namespaces on one switch, each with an
// address of its own. The scheduler and its client are on the first, where TestHosts runs itself
// again. Nodes with server processes are on the others, and the scheduler finds them by discovery.

const (
	hostsEnv    = "DISCORO_TEST_HOSTS" // set in the first namespace: the prefix of their names
	hostNodeEnv = "DISCORO_TEST_NODE"  // the name of the node in a process
	hostsUDP    = 51_999
	hostsNet    = "10.98.76."
	hostsPulse  = time.Second     // even a busy host is silent for less than five
	hostsTime   = 4 * time.Minute // for the whole test, which takes about 12 s on an idle machine
	hostNapTime = 5 * time.Millisecond
)

// hostLife is a node with two server processes, which TestHosts starts. It ends with its standard
// input.
var hostLife = testkit.Life{Env: hostNodeEnv, Serve: func(name string) error {
	node, err := discoro.NewNode(discoro.NodeConfig{
		Config: discoro.Config{Name: name, Insecure: true, UDPPort: hostsUDP}, Servers: 2, Processes: true, MinPulseInterval: hostsPulse,
	})
	if err != nil {
		return err
	}
	fmt.Println(node.Location())
	_, err = io.Copy(io.Discard, os.Stdin)
	return errors.Join(err, node.Close())
}}

// Functions that run at the hosts.
var (
	hostEcho = discoro.Register("hosts.echo", func(c *discoro.Coro, _ discoro.None) (discoro.None, error) {
		for {
			r, err := discoro.ReceiveAs[*discoro.Request](c)
			if err == nil {
				err = r.Reply(r.Msg)
			}
			if err != nil {
				return discoro.None{}, err
			}
		}
	})
	// hostNap returns an item when the gate answers, or after a nap if the item has no gate.
	hostNap = discoro.Register("hosts.nap", func(c *discoro.Coro, it hostItem) (int, error) {
		if it.Gate == nil {
			return it.N, c.Sleep(hostNapTime)
		}
		_, err := discoro.Ask[discoro.None](c, it.Gate, c.Location().Addr)
		return it.N, err
	})
)

type hostItem struct {
	N    int
	Gate *discoro.Coro
}

// hosts are the network namespaces. Their switch is one, too.
type hosts struct {
	*testing.T
	prefix string
}

func (h *hosts) name(i int) string { return h.prefix + "-h" + strconv.Itoa(i) }
func (h *hosts) sw() string        { return h.prefix + "-sw" }

// ip runs ip with that command.
func (h *hosts) ip(args string) {
	h.Helper()
	if out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput(); err != nil {
		h.Fatalf("ip %s: %v: %s", args, err, out)
	}
}

// up makes that many hosts. They are removed when the test ends.
func (h *hosts) up(count int) {
	h.Helper()
	h.Cleanup(func() { h.down(count) })
	h.ip("netns add " + h.sw())
	h.ip(fmt.Sprintf("-n %s link add br0 type bridge forward_delay 0 stp_state 0", h.sw()))
	h.ip(fmt.Sprintf("-n %s link set br0 up", h.sw()))
	for i := 1; i <= count; i++ {
		h.ip("netns add " + h.name(i))
		h.ip(fmt.Sprintf("-n %s link add p%d type veth peer name eth0 netns %s", h.sw(), i, h.name(i)))
		h.ip(fmt.Sprintf("-n %s link set p%d master br0 up", h.sw(), i))
		h.ip(fmt.Sprintf("-n %s link set lo up", h.name(i)))
		h.ip(fmt.Sprintf("-n %s addr add %s%d/24 brd + dev eth0", h.name(i), hostsNet, i))
		h.ip(fmt.Sprintf("-n %s link set eth0 up", h.name(i)))
	}
}

// down kills the processes in the hosts, and removes them.
func (h *hosts) down(count int) {
	for i := 1; i <= count; i++ {
		for _, pid := range h.pids(i) {
			if p, err := os.FindProcess(pid); err == nil {
				_ = p.Kill()
			}
		}
	}
	names := []string{h.sw()}
	for i := 1; i <= count; i++ {
		names = append(names, h.name(i))
	}
	for _, name := range names {
		_ = exec.Command("ip", "netns", "delete", name).Run() // it may not exist
	}
}

// pids returns the processes of a host.
func (h *hosts) pids(i int) []int {
	out, _ := exec.Command("ip", "netns", "pids", h.name(i)).Output()
	var pids []int
	for f := range strings.FieldsSeq(string(out)) {
		if pid, err := strconv.Atoi(f); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// cut takes a host off the switch: its packets are lost in both directions, and its interface stays
// up. heal puts it back.
func (h *hosts) cut(i int) {
	h.Helper()
	h.ip(fmt.Sprintf("-n %s link set p%d nomaster", h.sw(), i))
}

func (h *hosts) heal(i int) {
	h.Helper()
	h.ip(fmt.Sprintf("-n %s link set p%d master br0", h.sw(), i))
}

// hostNode is a node in a process at a host.
type hostNode struct {
	cmd   *exec.Cmd
	stdin io.Closer
	out   io.Reader
	loc   discoro.Location
	once  sync.Once
}

// node starts a node at a host; says returns when it is there.
func (h *hosts) node(i int) *hostNode {
	h.Helper()
	exe, err := os.Executable()
	if err != nil {
		h.Fatal(err)
	}
	n := &hostNode{cmd: exec.Command("ip", "netns", "exec", h.name(i), exe)}
	n.cmd.Env = append(os.Environ(), hostNodeEnv+"=node"+strconv.Itoa(i))
	n.cmd.Stderr = os.Stderr
	n.stdin, err = n.cmd.StdinPipe()
	if err != nil {
		h.Fatal(err)
	}
	n.out, err = n.cmd.StdoutPipe()
	if err != nil {
		h.Fatal(err)
	}
	if err := n.cmd.Start(); err != nil {
		h.Fatal(err)
	}
	h.Cleanup(n.end)
	return n
}

// says waits until node i has printed its location.
func (n *hostNode) says(h *hosts, i int) {
	h.Helper()
	line, err := bufio.NewReader(n.out).ReadString('\n')
	if err != nil {
		h.Fatalf("node %d did not say where it is: %v", i, err)
	}
	if n.loc, err = discoro.ParseLocation(strings.TrimSpace(line)); err != nil || n.loc.Addr != hostsNet+strconv.Itoa(i) {
		h.Fatalf("node %d says that it is at %q: %v", i, line, err)
	}
}

// end closes the node in order. kill ends it at once.
func (n *hostNode) end() {
	n.once.Do(func() {
		_ = n.stdin.Close()
		_ = n.cmd.Wait()
	})
}

func (n *hostNode) kill() {
	_ = n.cmd.Process.Kill()
	n.end()
}

// TestHosts needs root and the command ip of iproute2. It makes hosts, and runs itself in the first
// of them. It is not parallel, because the pulses of many processes need their time.
func TestHosts(t *testing.T) {
	if prefix := os.Getenv(hostsEnv); prefix != "" {
		faultsBetweenHosts(&hosts{T: t, prefix: prefix})
		return
	}
	if runtime.GOOS != "linux" || os.Geteuid() != 0 {
		t.Skip("network namespaces need root on Linux")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("ip of iproute2 is missing")
	}
	h := &hosts{T: t, prefix: fmt.Sprintf("discoro-%d-%04x", os.Getpid(), rand.N(1<<16))}
	if out, err := exec.Command("ip", "netns", "add", h.prefix).CombinedOutput(); err != nil {
		t.Skipf("no network namespace can be made here: %v: %s", err, out)
	}
	h.ip("netns delete " + h.prefix)
	h.up(5)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), hostsTime+20*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "ip", "netns", "exec", h.name(1), exe, "-test.run=^TestHosts$", "-test.v", fmt.Sprintf("-test.timeout=%v", hostsTime+10*time.Second))
	cmd.Env = append(os.Environ(), hostsEnv+"="+h.prefix)
	cmd.WaitDelay = 10 * time.Second
	out, err := cmd.CombinedOutput()
	if t.Logf("%s", out); err != nil || !bytes.Contains(out, []byte("--- PASS: TestHosts")) {
		t.Errorf("in the first host: %v", err)
	}
	for i := 1; i <= 5; i++ {
		if pids := h.pids(i); len(pids) > 0 {
			t.Errorf("processes are left at host %d: %v", i, pids)
		}
	}
}

// hostCluster is a scheduler and a computation at the first host, and nodes at the others.
type hostCluster struct {
	*hosts
	sched *discoro.Scheduler
	comp  *discoro.Computation
	nodes map[int]*hostNode
	ctx   context.Context
}

func faultsBetweenHosts(h *hosts) {
	ctx, cancel := context.WithTimeout(h.Context(), hostsTime)
	defer cancel()
	c := &hostCluster{hosts: h, nodes: map[int]*hostNode{}, ctx: ctx}
	for i := 2; i <= 5; i++ {
		c.nodes[i] = h.node(i)
	}
	for i, n := range c.nodes {
		n.says(h, i)
	}
	log := &testkit.Log{}
	cfg := discoro.SchedulerConfig{
		Config:       discoro.Config{Name: "scheduler", Insecure: true, UDPPort: hostsUDP, Logger: log.Logger()},
		PingInterval: time.Second,
	}
	seam.Tune(&cfg.Config, seam.Tuning{LeastPing: time.Second})
	sched, err := discoro.NewScheduler(cfg)
	if err != nil {
		h.Fatal(err)
	}
	c.sched = sched
	h.Cleanup(func() {
		if err := sched.Close(); err != nil {
			h.Error(err)
		}
		if h.Failed() {
			h.Logf("the scheduler said:\n%s", log)
		}
	})
	c.comp, err = discoro.NewComputation(sched.Runtime, discoro.ComputationConfig{PulseInterval: hostsPulse})
	if err == nil {
		err = c.comp.Schedule(ctx)
	}
	if err != nil {
		h.Fatal(err)
	}
	c.whole()
	h.Log("whole")
	c.shortCut(2)
	c.longCut(3)
	c.killNode(4)
	c.killHalf()
}

// whole waits until the servers of all nodes can be used.
func (c *hostCluster) whole() {
	c.Helper()
	if err := c.comp.WaitServers(c.ctx, 8); err != nil {
		c.Fatal(err)
	}
}

// echo starts a coroutine at a host's node.
func (c *hostCluster) echo(host int) *discoro.Coro {
	c.Helper()
	co, err := c.comp.RunAt(c.ctx, discoro.NodeAddr(c.nodes[host].loc.String()), hostEcho.With(discoro.None{}))
	if err != nil {
		c.Fatal(err)
	}
	return co
}

func (c *hostCluster) ask(co *discoro.Coro, question string) {
	c.Helper()
	if answer, err := discoro.Ask[string](c.ctx, co, question); answer != question || err != nil {
		c.Errorf("%s: %q, %v", question, answer, err)
	}
}

// shortCut cuts a host off for less than five pulses. Nothing is lost.
func (c *hostCluster) shortCut(host int) {
	co := c.echo(host)
	c.ask(co, "before a short cut")
	c.cut(host)
	during := make(chan struct{})
	go func() {
		defer close(during)
		c.ask(co, "during it")
	}()
	<-time.After(hostsPulse / 2) // TCP sends again what was lost, after one or two times as long
	c.heal(host)
	<-during
	c.ask(co, "after it")
	if err := co.Terminate(); err != nil {
		c.Error(err)
	}
	if err := co.Wait(c.ctx); !errors.Is(err, discoro.ErrTerminated) {
		c.Errorf("after a cut of less than five pulses it ended with %v", err)
	}
}

// lost waits until a coroutine is lost, because its host is cut off or down.
func (c *hostCluster) lost(co *discoro.Coro, watch *stopwatch.Stopwatch) {
	c.Helper()
	var lost *discoro.ServerLostError
	if err := co.Wait(c.ctx); !errors.As(err, &lost) {
		c.Errorf("it ended with %v", err)
	}
	c.Logf("noticed after %v", watch.Within("noticing it", 5*hostsPulse+time.Second))
}

// longCut cuts a host off for more than five pulses. What ran there is lost, and the host comes
// back.
func (c *hostCluster) longCut(host int) {
	co := c.echo(host)
	c.ask(co, "before a long cut")
	cut, watch := time.Now(), stopwatch.Start(c)
	c.cut(host)
	c.lost(co, watch)
	c.ask(c.echo(2), "elsewhere")
	c.heal(host)
	c.whole()
	c.Logf("whole %v after the cut", time.Since(cut))
	c.ask(c.echo(host), "after it")
}

// killNode kills a node. Its servers end, too, and another node takes its place.
func (c *hostCluster) killNode(host int) {
	co := c.echo(host)
	killed, watch := time.Now(), stopwatch.Start(c)
	c.nodes[host].kill()
	c.lost(co, watch)
	c.poll(func() error {
		if pids := c.pids(host); len(pids) > 0 {
			return fmt.Errorf("the servers of the node that was killed live on: %v", pids)
		}
		return nil
	})
	c.nodes[host] = c.node(host)
	c.nodes[host].says(c.hosts, host)
	c.whole()
	c.Logf("whole %v after the kill", time.Since(killed))
	c.ask(c.echo(host), "the next node")
}

// poll waits until f returns no error.
func (c *hostCluster) poll(look func() error) {
	c.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for err := look(); err != nil; err = look() {
		select {
		case <-tick.C:
		case <-c.ctx.Done():
			c.Fatal(err)
		}
	}
}

// killHalf kills half the nodes while a thousand items run. Eight of the items are held until each
// server has one of them. Then the two nodes are killed while their servers run theirs, and the
// others go on.
func (c *hostCluster) killHalf() {
	const items, first, held = 1000, 250, 8
	rcs, err := discoro.NewRemoteCoroScheduler(c.comp, discoro.RCSConfig{Retries: 3})
	if err != nil {
		c.Fatal(err)
	}
	victims := map[string]int{hostsNet + "2": 2, hostsNet + "5": 5}
	var kills sync.WaitGroup
	defer kills.Wait()
	gate := c.sched.Spawn("gate", func(co *discoro.Coro) (any, error) {
		var waiting []*discoro.Request
		for began := 0; ; {
			r, err := discoro.ReceiveAs[*discoro.Request](co)
			if err != nil {
				return nil, err
			}
			if waiting, began = append(waiting, r), began+1; began < held {
				continue
			}
			for _, r := range waiting {
				if victims[r.Msg.(string)] == 0 {
					_ = r.Reply(discoro.None{}) // the node of the one that asked may have been killed
				}
			}
			if waiting = nil; began == held {
				for _, host := range victims {
					kills.Go(c.nodes[host].kill)
				}
			}
		}
	})
	seen := make([]int, items)
	done, attempts := 0, 0
	for out := range discoro.AsCompleted(c.ctx, rcs, hostNap, func(yield func(hostItem) bool) {
		for i := range items {
			it := hostItem{N: i}
			if first <= i && i < first+held {
				it.Gate = gate
			}
			if !yield(it) {
				return
			}
		}
	}) {
		if out.Err != nil || out.Value != out.Index {
			c.Fatalf("item %d: %d, %v", out.Index, out.Value, out.Err)
		}
		seen[out.Index]++
		attempts += out.Attempts
		done++
	}
	if i := slices.IndexFunc(seen, func(n int) bool { return n != 1 }); i >= 0 {
		c.Errorf("item %d came %d times", i, seen[i])
	}
	if c.Logf("%d items in %d attempts", done, attempts); attempts < items+held/2 { // more if some had been sent ahead
		c.Errorf("%d items ran again, of %d that were lost", attempts-items, held/2)
	}
	c.poll(func() error { // the loss of an idle server may be noticed later
		servers, err := c.comp.Servers(c.ctx)
		if err == nil && len(servers) != 4 {
			err = fmt.Errorf("after half the nodes were killed the servers are %v", servers)
		}
		return err
	})
	if err := gate.Terminate(); err != nil {
		c.Error(err)
	}
	if err := rcs.Finish(c.ctx, true); err != nil {
		c.Error(err)
	}
}
