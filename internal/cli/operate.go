package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/discoro/discoro/internal/fault"
)

// A Role is a node or a scheduler, as its operator sees it. Only Status and Close block.
type Role interface {
	Banner() string                    // says how the role can be reached
	Status(ctx context.Context) string // what it does now, in several lines
	CloseActive(closed func())         // closes the computation that is served, then calls closed in any goroutine
	Leave()                            // takes nothing new from now on
	Left() <-chan struct{}             // is closed when the role has left: it has nothing more to do
	Close() error                      // ends the role at once
}

const (
	// commands are those on standard input.
	commands = "status, close, quit or exit, terminate"
	// statusWait bounds the wait for servers that do not answer.
	statusWait = 2 * time.Second
	// signalEcho is the time in which a repeated signal counts as the same one: coreutils' timeout
	// sends a signal to its child and then to the child's process group.
	signalEcho = 200 * time.Millisecond
)

// Standard output may be a pipe that nobody reads, and commands, signals and the role must not wait
// for it. So texts are queued, and dropped when the queue is full.
const (
	maxUnshown = 64          // texts in the queue
	lastWords  = time.Second // how long Operate waits at the end for them to be written
)

// operator is the state of Operate.
type operator struct {
	role    Role
	said    chan string   // read by show
	shown   chan struct{} // closed by show when it has written everything
	closed  chan struct{} // receives an element when nothing is served any more
	leaving bool
	last    os.Signal // that made the role leave; nil: a command did
	heard   time.Time // when that signal came
}

// Operate runs a role until it has ended, at a command, a signal, or the end of ctx. It reads
// commands from standard input, unless the program is a daemon, and writes to standard output. The
// error is that of closing the role; it has the exit code [Forced] when a second signal ended it.
func Operate(ctx context.Context, r Role, daemon bool, signals *Signals) error {
	if daemon {
		return operate(ctx, r, nil, os.Stdout, signals)
	}
	return operate(ctx, r, os.Stdin, os.Stdout, signals)
}

// operate is Operate with the two streams. A nil in has no commands.
func operate(ctx context.Context, r Role, in io.Reader, out io.Writer, signals *Signals) error {
	o := &operator{
		role: r, said: make(chan string, maxUnshown), shown: make(chan struct{}), closed: make(chan struct{}, 1),
	}
	go o.show(out) // ends with hush, or with the process
	defer o.hush()
	o.say("%s", r.Banner())
	var lines <-chan string
	if in != nil {
		o.say("commands: %s", commands)
		over := make(chan struct{})
		defer close(over)
		lines = readLines(in, over)
	}
	for {
		select {
		case <-ctx.Done():
			return r.Close()
		case <-r.Left():
			return r.Close()
		case <-o.closed:
			o.say("nothing is served")
		case s := <-signals.c:
			if !o.leaving {
				o.last, o.heard = s, time.Now()
				o.leave()
				continue
			}
			if s == o.last && time.Since(o.heard) < signalEcho {
				continue
			}
			o.say("%v: ending at once", s)
			signals.Stop() // a third one ends the process
			err := fmt.Errorf("%sended at once by a second signal: %v", fault.Prefix, s)
			return WithCode(Forced, errors.Join(err, r.Close()))
		case line, more := <-lines:
			if !more {
				lines = nil // the role goes on
				continue
			}
			if o.obey(ctx, line) {
				signals.Stop()
				return r.Close()
			}
		}
	}
}

// obey executes a command. It reports whether the role is to end at once.
func (o *operator) obey(ctx context.Context, line string) (end bool) {
	switch command := strings.ToLower(strings.TrimSpace(line)); command {
	case "":
	case "status":
		ctx, cancel := context.WithTimeout(ctx, statusWait)
		defer cancel()
		o.say("%s", o.role.Status(ctx))
	case "close":
		o.role.CloseActive(func() {
			select {
			case o.closed <- struct{}{}:
			default:
			}
		})
	case "quit", "exit":
		o.leave()
	case "terminate":
		o.say("ending at once")
		return true
	default:
		o.say("there is no command %.40q; there are %s", command, commands)
	}
	return false
}

func (o *operator) leave() {
	o.leaving = true
	o.say("leaving: nothing new is accepted, and running work goes on to its end; " +
		"another signal, or the command terminate, ends it at once")
	o.role.Leave()
}

// say queues a text for the operator.
func (o *operator) say(format string, args ...any) {
	select {
	case o.said <- strings.TrimSuffix(fmt.Sprintf(format, args...), "\n"):
	default:
	}
}

// show owns standard output, and writes what say has queued. It ends after hush.
func (o *operator) show(out io.Writer) {
	defer close(o.shown)
	for text := range o.said {
		_, _ = fmt.Fprintln(out, text) // after an error nobody reads any more
	}
}

// hush ends show, and waits a moment until it has written everything.
func (o *operator) hush() {
	close(o.said)
	timer := time.NewTimer(lastWords)
	defer timer.Stop()
	select {
	case <-o.shown:
	case <-timer.C:
	}
}

// readLines returns the lines of in. The channel is closed when in ends, or when over is closed and
// in has one more line. It cuts a line that is too long to be a command.
func readLines(in io.Reader, over <-chan struct{}) <-chan string {
	lines := make(chan string)
	go func() { // owns in; ends with in, or with the process
		defer close(lines)
		r := bufio.NewReader(in)
		for {
			text, more, err := r.ReadLine()
			line := string(text)
			for more && err == nil {
				_, more, err = r.ReadLine()
			}
			if err != nil && line == "" {
				return
			}
			select {
			case lines <- line:
			case <-over:
				return
			}
		}
	}()
	return lines
}
