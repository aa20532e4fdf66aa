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

// CoroState is what a coroutine does at one moment; see [Runtime.Coros].
type CoroState struct {
	// Coro is its handle: to be sent to, monitored, terminated, or given to [Runtime.Stack].
	Coro *Coro
	// Name is the name that it was spawned with.
	Name string
	// Func is the function that it runs: the registered name of one that runs for a computation, else the name that
	// Go has for the function that was spawned.
	Func string
	// State is what it does: "running", which is one at most; "ready", waiting for its turn; "Receive", "Sleep" or "Blocking",
	// in the method of that name; "Send", waiting for room in the queue of a link, or in the mailbox of On; "Deliver",
	// "Ask" or "Wait", waiting for On; "Run", "Schedule", "WaitServers", "Close", "Finish", "Drain", "Locate", "Discover", "Connect",
	// "Disconnect", "Subscribe" or "Unsubscribe", waiting in the method of that name; "Results", in MapResults or AsCompleted;
	// "Report", for the scheduler's word on why there are no servers.
	State string
	// On is the coroutine that it waits for, where it waits for one.
	On *Coro
	// Since is when that began, to about 10 ms.
	Since time.Time
	// Terminated tells that it was terminated, and has not ended yet.
	Terminated bool
	// Mailbox is how many messages it can receive, HighWater the most that it could at any time. One that runs may have
	// received up to 128 more since it last gave up the turn, which are still counted unless Config.MaxMailbox is set.
	Mailbox, HighWater int
	// Refused is how many messages of other runtimes had no room in the mailbox; see Config.MaxMailbox.
	Refused uint64
	// In is how many messages were put into its mailbox; Out how many it has sent by Send, Deliver and Ask, up to the
	// last time that it gave up the turn, without those that it sent inside Blocking.
	In, Out uint64
}

// States and what is waited for in them, as CoroState.State has them.
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

// Coros returns what the coroutines of the runtime do, in the order in which they were spawned. It stops nothing: the
// states of different coroutines are of slightly different moments, and one may have ended by now. It costs about a
// microsecond a coroutine; meanwhile, for a small part of that, no other can be spawned.
func (rt *Runtime) Coros() []CoroState {
	all := rt.allCoros()
	slices.SortFunc(all, func(a, b *localCoro) int { return cmp.Compare(a.Coro.seq, b.Coro.seq) })
	states := make([]CoroState, len(all))
	for i, l := range all {
		states[i] = l.state()
	}
	return states
}

// Mailbox returns how many messages the coroutine can receive, and the most that it could at any time; CoroState has
// more. For a coroutine of another runtime both are 0: ask there.
func (c *Coro) Mailbox() (length, highWater int) {
	l := c.local
	if l == nil {
		return 0, 0
	}
	own := l.isCaller()
	l.mu.Lock()
	defer l.mu.Unlock()
	if own {
		l.box.tellLocked()
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
	inNothing: "running", inBlocking: "Blocking", inTurn: "ready", inReceive: "Receive", inSleep: "Sleep", inCall: "waiting",
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
		return t.Owner.(*localCoro) //nolint:forcetypeassert // every task is one's
	}
	return nil
}

// countSent counts a message that was sent, when a coroutine with the turn has sent it.
func (rt *Runtime) countSent() {
	if c := rt.withTurn(); c != nil && c.isCaller() {
		c.sent++
	}
}

// profiles holds the labels that the goroutines of coroutines carry in profiles: "coro", the coroutine's name, "func",
// as in CoroState, and "runtime", the runtime's name. Coroutines with the same labels share them.
type profiles struct {
	mu sync.Mutex // guards following; leaf
	of map[labelKey]context.Context
}

type labelKey struct {
	name string
	pc   uintptr
	fn   string // of a job
}

// maxLabels is how many labels are kept; of what comes then, only the function is told.
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
		key.name = "(others)" // there are as many of these as functions
		ctx = p.of[key]
	}
	if ctx == nil {
		ctx = pprof.WithLabels(context.Background(), pprof.Labels("coro", key.name, "func", l.function(), "runtime", l.rt.cfg.Name))
		p.of[key] = ctx
	}
	return ctx
}

// Stack returns the stack of c, which must run in this runtime, as Go prints it: where it waits, or what it does. That is
// costly: every goroutine of the process stands still while all their stacks are written, about a microsecond each, and
// the text is searched then. ErrRejected: c runs elsewhere; ErrNotFound: it has ended, has not started to run, or there are
// too many goroutines in the process: their stacks have more than 64 MiB.
func (rt *Runtime) Stack(c *Coro) (string, error) {
	switch {
	case c == nil || c.local == nil || c.rt != rt:
		return "", fmt.Errorf("discoro: stack of %v: it does not run at %v: ask there: %w", c, rt.loc, ErrRejected)
	case c.local.over() && c.local.g.Load() == 0:
		return "", errEnded(c)
	}
	if stack := stackOf(c.local); stack != "" {
		return stack, nil
	}
	return "", fmt.Errorf("discoro: stack of %v: it has ended or not started to run, or the process has more than %d MiB of stacks: %w", c, maxStacks>>20, ErrNotFound)
}

// maxStacks bounds the stacks of all goroutines, in bytes.
const maxStacks = 64 << 20

// coroMark tells a coroutine's stack from others: its number, and part of its runtime's identity. As an array it is passed in
// memory, not in registers, where it would be overwritten; so traces show it.
type coroMark [2]uint64

func (l *localCoro) mark() coroMark { return coroMark{l.Coro.seq, binary.BigEndian.Uint64(l.home[:8])} }

// runMarked runs a coroutine's function, and leaves the mark in its stack.
//
//go:noinline
func runMarked(fn func(*Coro) (any, error), c *Coro, _ coroMark) (any, error) { return fn(c) }

// stackOf returns the stack of the goroutine that runs coroutine l, without what is below the coroutine's function; nothing
// when there is none.
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

// trimStack leaves of a panic's stack trace what the user's function did.
func trimStack(stack []byte) string {
	lines := strings.Split(strings.TrimRight(string(stack), "\n"), "\n")
	if len(lines) > 0 {
		lines = lines[1:] // the goroutine's number says nothing
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
