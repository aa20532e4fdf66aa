package cli

import (
	"os"
	"os/signal"
	"syscall"
)

// Signals are the signals that end a program: SIGINT and SIGTERM.
type Signals struct {
	c       chan os.Signal // immutable
	ignored chan os.Signal // immutable; receives signals that do nothing
}

// Notify begins to receive the signals that end a program. A daemon goes on when its terminal ends.
// Call it before anything is printed or logged: from then on a reader of the output may end as
// well.
func Notify(daemon bool) *Signals {
	s := &Signals{c: make(chan os.Signal, 4), ignored: make(chan os.Signal, 1)}
	signal.Notify(s.c, os.Interrupt, syscall.SIGTERM)
	ignored := []os.Signal{syscall.SIGPIPE}
	if daemon {
		ignored = append(ignored, syscall.SIGHUP)
	}
	// Not signal.Ignore: programs that functions start would inherit it.
	signal.Notify(s.ignored, ignored...)
	ignoreBackground()
	return s
}

// C returns the channel of the signals that end the program.
func (s *Signals) C() <-chan os.Signal { return s.c }

// Stop leaves all signals to the system again: the next one ends the process.
func (s *Signals) Stop() {
	signal.Stop(s.c)
	signal.Stop(s.ignored)
}
