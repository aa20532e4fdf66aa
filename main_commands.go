package discoro

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// role is what an operator has to do with a node or scheduler. Only status and Close block.
type role interface {
	banner() string // how it can be reached
	status(ctx context.Context) string
	closeActive(closed func()) // closes what is served; calls closed when nothing is, from anywhere
	leave()                    // takes nothing new
	left() <-chan struct{}     // closed when it has left
	Close() error
}

// statusWait bounds the wait for servers that do not answer.
const statusWait = 2 * time.Second

// signalEcho is how soon a signal that comes again is still the same one: coreutils' timeout sends it to its child, and then to its
// process group.
const signalEcho = 200 * time.Millisecond

// Standard output may be a pipe that nobody reads. What is to be shown waits for a reader, so many texts of it, and at the end so long;
// beyond that it is dropped, as commands, signals and the role must not wait.
const (
	maxUnshown = 64
	lastWords  = time.Second
)

// commands are those on standard input.
const commands = "status, close, quit or exit, terminate"

// operator is who sits at a role: commands and signals.
type operator struct {
	role    role
	said    chan string   // read by show
	shown   chan struct{} // closed by show when it has written what was said
	closed  chan struct{} // what was to be closed is
	leaving bool
	last    os.Signal // that made it leave; nil: a command did
	heard   time.Time // when
}

// operate runs a role until it has ended. stop leaves signals to the system.
func operate(ctx context.Context, r role, opt commonOptions, signals <-chan os.Signal, stop func()) error {
	o := &operator{role: r, said: make(chan string, maxUnshown), shown: make(chan struct{}), closed: make(chan struct{}, 1)}
	go o.show(os.Stdout) // ends with hush, or the process
	defer o.hush()
	o.say("%s", r.banner())
	var lines <-chan string
	if !opt.Daemon {
		o.say("commands: %s", commands)
		over := make(chan struct{})
		defer close(over)
		lines = readLines(os.Stdin, over)
	}
	for {
		select {
		case <-ctx.Done():
			return r.Close()
		case <-r.left():
			return r.Close()
		case <-o.closed:
			o.say("nothing is served")
		case s := <-signals:
			if !o.leaving {
				o.last, o.heard = s, time.Now()
				o.leave()
				continue
			}
			if s == o.last && time.Since(o.heard) < signalEcho {
				continue
			}
			o.say("%v: ending at once", s)
			stop() // one more ends this process as if it had never listened
			return &exitError{exitForced, errors.Join(fmt.Errorf("discoro: ended at once by a second signal: %v", s), r.Close())}
		case line, more := <-lines:
			if !more {
				lines = nil // it goes on serving
				continue
			}
			if o.obey(ctx, line) {
				stop()
				return r.Close()
			}
		}
	}
}

// obey does what a line says, and reports whether that is to end at once.
func (o *operator) obey(ctx context.Context, line string) (end bool) {
	switch command := strings.ToLower(strings.TrimSpace(line)); command {
	case "":
	case "status":
		ctx, cancel := context.WithTimeout(ctx, statusWait)
		defer cancel()
		o.say("%s", o.role.status(ctx))
	case "close":
		o.role.closeActive(func() {
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
	o.say("leaving: nothing new is taken, and what runs goes on to its end; one more signal, or the command terminate, ends it at once")
	o.role.leave()
}

// say has a text shown to the operator, and does not wait for that.
func (o *operator) say(format string, args ...any) {
	select {
	case o.said <- strings.TrimSuffix(fmt.Sprintf(format, args...), "\n"):
	default:
	}
}

// show writes what is said.
func (o *operator) show(out io.Writer) {
	defer close(o.shown)
	for text := range o.said {
		_, _ = fmt.Fprintln(out, text) // an error: nobody reads any more
	}
}

// hush is the end of what is said; it waits a while until that is shown.
func (o *operator) hush() {
	close(o.said)
	timer := time.NewTimer(lastWords)
	defer timer.Stop()
	select {
	case <-o.shown:
	case <-timer.C:
	}
}

// readLines returns the lines of in, until that ends, or over is closed; of a long one, which is no command, its beginning.
func readLines(in io.Reader, over <-chan struct{}) <-chan string {
	lines := make(chan string)
	go func() { // ends with in, or the process
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
