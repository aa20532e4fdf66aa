// Package prices makes up the prices that examples stream, and says what is remarkable about them.
package prices

import (
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"

	"github.com/discoro/discoro"
)

// Tick is one price. Ticks are numbered from 0.
type Tick struct {
	Index int
	Price float64
}

// End says that no more ticks come.
type End struct{}

// Signal says that the price has left the usual range around its moving average, upwards or downwards.
type Signal struct {
	Tick
	Average float64
	Up      bool
}

// String returns a line for people.
func (s Signal) String() string {
	trend := "falls"
	if s.Up {
		trend = "rises"
	}
	return fmt.Sprintf("tick %d: the price %s to %.2f, average %.2f", s.Index, trend, s.Price, s.Average)
}

func init() {
	discoro.RegisterType[Tick]("prices.tick")
	discoro.RegisterType[End]("prices.end")
	discoro.RegisterType[Signal]("prices.signal")
}

// TicksFlag declares the flag -ticks, which sets ticks.
func TicksFlag(fs *flag.FlagSet, ticks *int) {
	const most = math.MaxInt / 2 // as each is counted at two servers
	*ticks = 500_000
	fs.Func("ticks", fmt.Sprintf("the `number` of prices to send (default %d)", *ticks), func(text string) error {
		n, err := strconv.ParseUint(text, 0, strconv.IntSize)
		if err != nil || n > most {
			return fmt.Errorf("want a number from 0 to %d", most)
		}
		*ticks = int(n)
		return nil
	})
}

// Walk returns the next tick of a random walk that is the same in every run.
func Walk(seed uint64) (next func() Tick) {
	rng := rand.New(rand.NewPCG(seed, 6))
	t := Tick{Index: -1, Price: 1000}
	return func() Tick {
		t.Index++
		t.Price += rng.NormFloat64() + (1000-t.Price)/5000
		return t
	}
}

const (
	window = 500 // ticks in the moving average
	usual  = 4.2 // standard deviations from it: the range of what is usual
	back   = 1.0 // the price has to come as near as this before it can leave the range again
)

// Trend follows ticks. Its zero value is ready.
type Trend struct {
	last        [window]float64 // the ticks in the averages, in a ring
	n           int             // ticks so far
	sum, square float64         // of last
	outside     bool            // the price has left the range and not come back
}

// Add takes the next tick, and returns a signal when the price leaves the usual range.
func (t *Trend) Add(tick Tick) (Signal, bool) {
	oldest := &t.last[t.n%window]
	t.sum += tick.Price - *oldest
	t.square += tick.Price*tick.Price - *oldest**oldest
	*oldest = tick.Price
	t.n++
	if t.n < window {
		return Signal{}, false
	}
	average := t.sum / window
	deviation := math.Sqrt(max(t.square/window-average*average, 0))
	distance := math.Abs(tick.Price - average)
	was := t.outside
	t.outside = distance > usual*deviation || was && distance > back*deviation
	return Signal{Tick: tick, Average: average, Up: tick.Price > average}, t.outside && !was
}
