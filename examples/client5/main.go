// Command client5 runs an external program at servers, and talks to it line by line while it runs.
//
// Input goes to the program as messages, and its output comes back as messages, at any time.
// Reading and writing its pipes blocks, so the coroutines do that inside Blocking, and the other
// coroutines of the server run meanwhile. The program is a calculator that every machine has: this
// example, called with the argument "calculator". In asyncoro: discoro_client5.py.
//
//	go run ./examples/client5                          # two servers on this machine
//	echo 3 4 + 5 '*' | go run ./examples/client5 calculator
//
// On several machines, with the same DISCORO_SECRET everywhere:
//
//	go run ./examples/client5 -node -listen 10.0.0.8:7070    # on 10.0.0.8: a node
//	go run ./examples/client5 -peers 10.0.0.8:7070           # elsewhere: the client
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"

	"github.com/discoro/discoro"
	"github.com/discoro/discoro/examples/internal/demo"
)

// Start is the argument of a run: who receives its output, and the number of its job.
type Start struct {
	Client *discoro.Coro
	Job    int
}

// Line is a line of input or output; End says that there is no more input.
type (
	Line struct {
		Job  int
		Text string
	}
	End struct{}
)

func init() {
	discoro.RegisterType[Line]("client5.line")
	discoro.RegisterType[End]("client5.end")
}

// pipe runs the program at a server. The result is the number of lines that it wrote.
var pipe = discoro.Register("client5.pipe", func(c *discoro.Coro, s Start) (int, error) {
	exe, err := os.Executable()
	if err != nil {
		return 0, err
	}
	cmd := exec.CommandContext(c, exe, "calculator") // killed when the coroutine is terminated
	cmd.Stderr = os.Stderr
	in, err1 := cmd.StdinPipe()
	out, err2 := cmd.StdoutPipe()
	if err := errors.Join(err1, err2); err != nil {
		return 0, err
	}
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	output := c.Spawn("output", func(c *discoro.Coro) (any, error) { return readOutput(c, out, s) })
	err = writeInput(c, in)
	lines, outErr := discoro.Result[int](c, output)
	if err != nil || outErr != nil {
		_ = cmd.Process.Kill() // it may wait for input that never comes
	}
	return lines, errors.Join(err, outErr, c.Blocking(cmd.Wait))
})

// writeInput writes the lines that come as messages to the program.
func writeInput(c *discoro.Coro, in io.WriteCloser) error {
	for {
		msg, err := c.Receive()
		if err != nil {
			return errors.Join(err, in.Close())
		}
		switch m := msg.(type) {
		case Line:
			err = c.Blocking(func() error { _, err := fmt.Fprintln(in, m.Text); return err })
		case End:
			return in.Close()
		default:
			err = fmt.Errorf("neither a line nor an end: %T", msg)
		}
		if err != nil {
			return errors.Join(err, in.Close())
		}
	}
}

// readOutput sends the lines that the program writes to the client, and returns their number.
func readOutput(c *discoro.Coro, out io.Reader, s Start) (any, error) {
	scanner := bufio.NewScanner(out)
	for lines := 0; ; lines++ {
		more := false
		err := c.Blocking(func() error { more = scanner.Scan(); return scanner.Err() })
		if err != nil || !more {
			return lines, err
		}
		if err := s.Client.Send(Line{s.Job, scanner.Text()}); err != nil {
			return lines, err
		}
	}
}

func main() {
	if len(os.Args) == 2 && os.Args[1] == "calculator" {
		if err := calculator(os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, "calculator:", err)
			os.Exit(1)
		}
		return
	}
	discoro.Init() // a server process goes no further
	demo.Main(&demo.Program{Name: "client5", Servers: 2, Work: run})
}

func run(ctx context.Context, sched *discoro.Scheduler, _ string) error {
	comp, err := discoro.NewComputation(sched.Runtime)
	if err != nil {
		return err
	}
	rcs, err := discoro.NewRemoteCoroScheduler(comp)
	if err != nil {
		return err
	}
	client := sched.Spawn("client", func(c *discoro.Coro) (any, error) { return talk(c, rcs) })
	answers, err := discoro.Result[[][]string](ctx, client)
	if err != nil {
		return err
	}
	for job, texts := range answers {
		for i, text := range texts {
			fmt.Printf("job %d: %s = %s\n", job, exercises(job)[i], text)
		}
	}
	return rcs.Finish(ctx, true)
}

const jobs, linesEach = 2, 5

// exercises are the lines for the program of a job.
func exercises(job int) []string {
	lines := make([]string, linesEach)
	for i := range lines {
		lines[i] = fmt.Sprintf("%d %d + %d *", job+1, i+1, 10*(i+1))
	}
	return lines
}

// talk runs all programs at once. Each gets its next line when it has answered the last one.
func talk(c *discoro.Coro, rcs *discoro.RemoteCoroScheduler) ([][]string, error) {
	programs, answers := make([]*discoro.Coro, jobs), make([][]string, jobs)
	for job := range jobs {
		coro, err := rcs.Submit(c, pipe.With(Start{c, job}))
		if err == nil {
			err = errors.Join(coro.Monitor(c, c), coro.Send(Line{job, exercises(job)[0]}))
		}
		if err != nil {
			return nil, err
		}
		programs[job] = coro
	}
	for running := jobs; running > 0; {
		msg, err := c.Receive()
		if err != nil {
			return nil, err
		}
		switch m := msg.(type) {
		case Line:
			answers[m.Job] = append(answers[m.Job], m.Text)
			var next any = End{}
			if n := len(answers[m.Job]); n < linesEach {
				next = Line{m.Job, exercises(m.Job)[n]}
			}
			err = programs[m.Job].Send(next)
		case discoro.Exit:
			_, err = discoro.ExitResult[int](m)
			running--
		}
		if err != nil {
			return nil, err
		}
	}
	return answers, nil
}
