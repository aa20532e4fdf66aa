package discoro

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"reflect"
	"runtime"
	"runtime/pprof"
	"slices"
	"strings"
	"sync"
	"time"
)

// CoroState is what a coroutine does at one moment. [Runtime.Coros] returns one for each coroutine.
type CoroState struct {
	// Coro is the coroutine's handle. It can be sent to, monitored, terminated, or given to
	// [Runtime.Stack].
	Coro *Coro
	// Name is the name that the coroutine was spawned with.
	Name string
	// Func is the name of the function that the coroutine runs: the registered name if it runs for
	// a computation, and otherwise Go's name of the spawned function.
	Func string
	// State is what the coroutine does:
	//
	//   - "running": one coroutine at most.
	//   - "ready": it waits for its turn.
	//   - "Receive", "Sleep", "Blocking": it is in the method of that name.
	//   - "Send": it waits for room in the queue of a link, or in the mailbox of On.
	//   - "Deliver", "Ask", "Wait": it waits for On.
	//   - "Run", "Schedule", "WaitServers", "Close", "Finish", "Drain", "Locate", "Discover",
	//     "Connect", "Disconnect", "Subscribe", "Unsubscribe": it waits in the method of that name.
	//   - "Results": it is in MapResults or AsCompleted.
	//   - "Report": it waits for the scheduler to say why there are no servers.
	State string
	// On is the coroutine that this one waits for; nil if it waits for none.
	On *Coro
	// Since is when the coroutine entered its State, exact to about 10 ms.
	Since time.Time
	// Terminated reports whether the coroutine was terminated and has not ended yet.
	Terminated bool
	// Mailbox is how many messages the coroutine can receive, and HighWater the largest number so
	// far. While the coroutine runs, Mailbox may still count up to 128 messages that it has
	// received since it last gave up the turn, unless Config.MaxMailbox is set.
	Mailbox, HighWater int
	// Refused is how many messages of other runtimes found no room in the mailbox; see
	// Config.MaxMailbox.
	Refused uint64
	// In is how many messages were put into the coroutine's mailbox. Out is how many messages the
	// coroutine had sent by Send, Deliver and Ask when it last gave up the turn. Out does not count
	// messages that it sent inside Blocking.
	In, Out uint64
}

// What a coroutine waits for, as CoroState.State names it.
const (
	waitSend     = "Send"
	waitDeliver  = "Deliver"
	waitAsk      = "Ask"
	waitEnd      = "Wait"
	waitRun      = "Run"
	waitSchedule = "Schedule"
	waitClose    = "Close"
	waitLocate   = "Locate"
	waitConnect  = "Connect"
	waitDiscover = "Discover"
	waitSendFile = "SendFile"
	waitDelFile  = "DeleteFile"

	waitServers     = "WaitServers"
	waitReport      = "Report"
	waitFinish      = "Finish"
	waitResults     = "Results"
	waitDrain       = "Drain"
	waitTally       = "Status"
	waitDisconnect  = "Disconnect"
	waitSubscribe   = "Subscribe"
	waitUnsubscribe = "Unsubscribe"
)

// Coros returns what the coroutines of the runtime do, in the order in which they were spawned. It
// stops nothing: the states of different coroutines are of slightly different moments, and a
// coroutine may have ended meanwhile. It takes about a microsecond for each coroutine. For a small
// part of that time no other coroutine can be spawned.
func (rt *Runtime) Coros() []CoroState {
	all := rt.allCoros()
	slices.SortFunc(all, func(a, b *localCoro) int { return cmp.Compare(a.Coro.seq, b.Coro.seq) })
	states := make([]CoroState, len(all))
	for i, l := range all {
		states[i] = l.state()
	}
	return states
}

// Mailbox returns how many messages the coroutine can receive, and the largest number so far.
// [CoroState] says more. Both are 0 for a coroutine of another runtime; only that runtime knows
// them. Mailbox does not block.
func (c *Coro) Mailbox() (length, highWater int) {
	l := c.local
	if l == nil {
		return 0, 0
	}
	itself := l.isCaller()
	l.mu.Lock()
	defer l.mu.Unlock()
	if itself {
		l.box.countLocked()
	}
	return l.mailboxLocked()
}

func (l *localCoro) mailboxLocked() (length, highWater int) {
	if !l.ended {
		length = l.box.lengthLocked()
	}
	return length, int(l.box.high)
}

// state returns what the coroutine does.
func (l *localCoro) state() CoroState {
	s := CoroState{Coro: &l.Coro, Name: l.name, Func: l.function(), Terminated: l.term.Load()}
	l.mu.Lock()
	s.Mailbox, s.HighWater = l.mailboxLocked()
	s.In, s.Out = l.box.in, l.out
	if l.room != nil {
		s.Refused = l.room.refused
	}
	kind, since, k := l.waiting, l.since, l.call
	l.mu.Unlock()
	s.State = stateNames[kind]
	switch {
	case kind == inCall && k != nil:
		s.State = k.Why()
		s.On, _ = k.Of().(*Coro)
	case kind == inTurn:
		since = max(since, l.rt.turn.WaitsSince())
	}
	s.Since = l.rt.turn.Time(since)
	return s
}

var stateNames = [...]string{
	inNothing: "running", inBlocking: "Blocking", inTurn: "ready",
	inReceive: "Receive", inSleep: "Sleep", inCall: "waiting",
}

// codeOf returns where the code of a function is.
func codeOf(fn func(*Coro) (any, error)) uintptr { return reflect.ValueOf(fn).Pointer() }

// function returns the name of the function that the coroutine runs.
func (l *localCoro) function() string {
	if l.isJob() {
		return l.serves.fn
	}
	return nameAt(l.pc)
}

// withTurn returns the coroutine that has the turn, nil when there is none.
func (rt *Runtime) withTurn() *localCoro {
	if t := rt.turn.Current(); t != nil {
		return t.Owner.(*localCoro) //nolint:forcetypeassert // a runtime puts nothing else into its turn
	}
	return nil
}

// countSent counts a sent message when the calling coroutine has the turn.
func (rt *Runtime) countSent() {
	if c := rt.withTurn(); c != nil && c.isCaller() {
		c.sent++
	}
}

// profiles holds the labels that coroutines' goroutines carry in profiles: "coro" is the
// coroutine's name, "func" is its CoroState.Func, "runtime" is the runtime's name. Coroutines with
// equal labels share them.
type profiles struct {
	mu sync.Mutex // guards following; leaf
	of map[labelKey]context.Context
}

type labelKey struct {
	name string
	pc   uintptr
	fn   string // the registered name, of a coroutine that runs a job
}

// maxLabels is how many labels are kept. Further coroutines all carry the name "(others)".
const maxLabels = 1024

// labels returns l's labels, in a context.
func (p *profiles) labels(l *localCoro) context.Context {
	key := labelKey{name: l.name, pc: l.pc}
	if l.isJob() {
		key.fn = l.serves.fn
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.of == nil {
		p.of = map[labelKey]context.Context{}
	}
	ctx := p.of[key]
	if ctx == nil && len(p.of) >= maxLabels {
		key.name = "(others)" // one for each function
		ctx = p.of[key]
	}
	if ctx == nil {
		labels := pprof.Labels("coro", key.name, "func", l.function(), "runtime", l.rt.cfg.Name)
		ctx = pprof.WithLabels(context.Background(), labels)
		p.of[key] = ctx
	}
	return ctx
}

// Stack returns the stack of c as Go prints it: where c waits, or what it does. c must run in this
// runtime.
//
// Stack is costly. Every goroutine of the process stands still while all their stacks are written,
// about a microsecond for each goroutine. The text is searched afterwards.
//
// ErrRejected: c is nil, or runs in another runtime. ErrNotFound: c has ended, has not started to
// run, or the process has too many goroutines: more than 64 MiB of stacks.
func (rt *Runtime) Stack(c *Coro) (string, error) {
	switch {
	case c == nil || c.local == nil || c.rt != rt:
		return "", fmt.Errorf("discoro: stack of %v: the coroutine does not run at %v: ask its own runtime: %w",
			c, rt.loc, ErrRejected)
	case c.local.isDone() && c.local.g.Load() == 0:
		return "", errEnded(c)
	}
	if stack := stackOf(c.local); stack != "" {
		return stack, nil
	}
	return "", fmt.Errorf("discoro: stack of %v: the coroutine has ended or not started to run, or the process "+
		"has more than %d MiB of stacks: %w", c, maxStacks>>20, ErrNotFound)
}

// maxStacks bounds the stacks of all goroutines, in bytes.
const maxStacks = 64 << 20

// coroMark distinguishes a coroutine's stack from others: it is the coroutine's number and a part
// of its runtime's identity. Go passes an array of two in memory. In registers it would be
// overwritten, and a trace would show something else.
type coroMark [2]uint64

func (l *localCoro) mark() coroMark { return coroMark{l.Coro.seq, binary.BigEndian.Uint64(l.home[:8])} }

// runMarked runs a coroutine's function with the mark in its stack.
//
//go:noinline
func runMarked(fn func(*Coro) (any, error), c *Coro, _ coroMark) (any, error) { return fn(c) }

// stackOf returns the stack of l's goroutine without the frames below the coroutine's function. It
// is empty when there is none.
func stackOf(l *localCoro) string {
	buf := make([]byte, 64<<10)
	for {
		n := runtime.Stack(buf, true)
		if n < len(buf) || len(buf) >= maxStacks {
			buf = buf[:n]
			break
		}
		buf = make([]byte, 4*len(buf))
	}
	m := l.mark()
	mark := fmt.Sprintf("{%#x, %#x})", m[0], m[1])
	for g := range strings.SplitSeq(string(buf), "\n\n") {
		before, after, ok := strings.Cut(g, "\n"+packagePath+".runMarked(")
		if ok && strings.Contains(firstLine(after), mark) {
			return before
		}
	}
	return ""
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}

// trimStack returns what the user's function did, out of a panic's stack trace.
func trimStack(stack []byte) string {
	lines := strings.Split(strings.TrimRight(string(stack), "\n"), "\n")
	if len(lines) > 0 {
		lines = lines[1:] // the goroutine's number
	}
	for i := 0; i+1 < len(lines); i += 2 {
		if strings.HasPrefix(lines[i], "panic(") {
			lines = lines[i+2:]
			break
		}
	}
	for i := 0; i+1 < len(lines); i += 2 {
		if strings.HasPrefix(lines[i], packagePath+".runMarked(") || strings.HasPrefix(lines[i], packagePath+".Register[") {
			lines = lines[:i]
			break
		}
	}
	return strings.Join(lines, "\n")
}

// packagePath is how the names of this package's functions begin in a stack.
var packagePath = strings.TrimSuffix(nameAt(reflect.ValueOf(runMarked).Pointer()), ".runMarked")

// nameAt returns the name of the function whose code is at pc.
func nameAt(pc uintptr) string {
	if f := runtime.FuncForPC(pc); f != nil {
		return f.Name()
	}
	return ""
}
