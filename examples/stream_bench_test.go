package examples

import (
	"bufio"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/discoro/discoro/examples/internal/prices"
)

// BenchmarkStream runs the programs that stream prices to two servers, and in turn a loop in this process that does the same work
// with the same prices. "messages/s" is what the program says, from its first message to the last; "x-loop" how many times as fast
// as the loop that is.
//
//	go test -run '^$' -bench Stream ./examples
func BenchmarkStream(b *testing.B) {
	const ticks = 500_000
	rate := regexp.MustCompile(`(\d+) messages/s`)
	for _, name := range []string{"client6", "client6_channel"} {
		b.Run(name, func(b *testing.B) {
			var ours, plain float64 // seconds
			for b.Loop() {
				start := time.Now()
				if err := loop(ticks, io.Discard); err != nil {
					b.Fatal(err)
				}
				plain += time.Since(start).Seconds()
				out, err := exec.Command(filepath.Join(built, name), "-ticks", strconv.Itoa(ticks)).Output()
				if err != nil {
					b.Fatal(err)
				}
				m := rate.FindSubmatch(out)
				if m == nil {
					b.Fatalf("no rate in:\n%s", out)
				}
				perSecond, err := strconv.ParseFloat(string(m[1]), 64)
				if err != nil {
					b.Fatal(err)
				}
				ours += 2 * ticks / perSecond
			}
			b.ReportMetric(0, "ns/op") // the program's start is no part of it
			b.ReportMetric(2*ticks*float64(b.N)/ours, "messages/s")
			b.ReportMetric(plain/ours, "x-loop")
		})
	}
}

// loop is what the two servers do, without discoro.
func loop(ticks int, kept io.Writer) error {
	next, w := prices.Walk(6), bufio.NewWriter(kept)
	var trend prices.Trend
	for range ticks {
		tick := next()
		trend.Add(tick)
		if _, err := fmt.Fprintf(w, "%d,%.2f\n", tick.Index, tick.Price); err != nil {
			return err
		}
	}
	return w.Flush()
}
