package prices

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/discoro/discoro"
)

// Follow is the body of a coroutine that receives ticks, and sends their trend to another coroutine at
// once. It ends with End, and returns the number of ticks.
func Follow(c, tell *discoro.Coro) (int, error) {
	var trend Trend
	return receive(c, func(tick Tick) error {
		if signal, is := trend.Add(tick); is {
			return tell.Send(signal)
		}
		return nil
	})
}

// Keep is the body of a coroutine that writes the ticks that it receives into a file in the folder of
// its server. It ends with End, and returns the size of the file in bytes. The file is removed when
// the computation closes.
func Keep(c *discoro.Coro) (size int64, err error) {
	file, err := os.Create(filepath.Join(c.Dir(), "prices.csv"))
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	w := bufio.NewWriter(file) // its writes are too short for Blocking
	_, err = receive(c, func(t Tick) error { _, err := fmt.Fprintf(w, "%d,%.2f\n", t.Index, t.Price); return err })
	if err := errors.Join(err, w.Flush()); err != nil {
		return 0, err
	}
	info, err := file.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// receive passes on ticks until End, and returns their number.
func receive(c *discoro.Coro, each func(Tick) error) (n int, err error) {
	for {
		msg, err := c.Receive()
		if err != nil {
			return n, err
		}
		switch m := msg.(type) {
		case Tick:
			n++
			if err := each(m); err != nil {
				return n, err
			}
		case End:
			return n, nil
		default:
			return n, fmt.Errorf("neither a tick nor the end: %T", msg)
		}
	}
}

// Print is the body of a coroutine that prints the signals it gets, until End.
func Print(c *discoro.Coro) (any, error) {
	for {
		msg, err := c.Receive()
		if err != nil {
			return nil, err
		}
		if _, end := msg.(End); end {
			return nil, nil
		}
		fmt.Println(msg)
	}
}
