package bench

import (
	"fmt"
	"io"
	"strings"
	"testing"
	"time"
)

// An iteration is a slice of the yardstick's work and one of everybody else's, so that a machine that is busy now and then is
// so for all. Figures are medians of slices; a ratio is the median of the ratios to the yardstick of the same iteration.

// work does n units and tells how long they took.
type work = func(b *testing.B, n int) time.Duration

// contender is one way to do a row's work.
type contender struct {
	name string // of its column
	run  work
}

// row is a row of the table.
type row struct {
	name  string
	slice int    // units in a slice
	reach string // what is to be reached
	speed bool   // the ratio is one of speeds, not of times
	per   string // what is counted, with speed
}

// result is what came of a row.
type result struct {
	row
	cells map[string]string
}

// columns of the table.
const (
	colYardstick  = "yardstick"
	colYamux      = "yamux"
	colDiscoro    = "discoro"
	colProto      = "protoactor-go"
	colRPC        = "net/rpc"
	colGRPCStream = "gRPC stream"
	colGRPCUnary  = "gRPC unary"
)

var columns = []string{colYardstick, colYamux, colDiscoro, colProto, colRPC, colGRPCStream, colGRPCUnary}

var results []result

// measure measures a row; the first contender is the yardstick.
func (r row) measure(b *testing.B, all ...contender) {
	b.Helper()
	for _, c := range all {
		c.run(b, r.slice)
	}
	spent, ratios := make([][]float64, len(all)), make([][]float64, len(all))
	for b.Loop() {
		var yard float64
		for i, c := range all {
			per := float64(c.run(b, r.slice)) / float64(r.slice)
			if i == 0 {
				yard = per
			}
			spent[i], ratios[i] = append(spent[i], per), append(ratios[i], per/yard)
		}
	}
	res := result{row: r, cells: map[string]string{}}
	for i, c := range all {
		per, ratio := quantile(spent[i], 0.5), quantile(ratios[i], 0.5)
		if r.speed {
			ratio = 1 / ratio
		}
		unit := strings.ReplaceAll(c.name, " ", "-")
		if i == 0 {
			b.ReportMetric(per, unit+"-ns")
			res.cells[colYardstick] = r.figure(per)
			continue
		}
		b.ReportMetric(ratio, unit+"-x")
		res.cells[c.name] = fmt.Sprintf("%.2f (%s)", ratio, r.figure(per))
	}
	b.ReportMetric(0, "ns/op") // hides what an iteration took, which says nothing
	keep(res)
}

// keep keeps the last result of a row: Go may run a benchmark more than once.
func keep(res result) {
	for i, old := range results {
		if old.name == res.name {
			results[i] = res
			return
		}
	}
	results = append(results, res)
}

// figure prints what a unit took in a row's own terms.
func (r row) figure(ns float64) string {
	switch {
	case !r.speed && ns < 1000:
		return fmt.Sprintf("%.2f us", ns/1000)
	case !r.speed:
		return fmt.Sprintf("%.3g us", ns/1000)
	case r.per == "GB/s":
		return fmt.Sprintf("%.2f GB/s", blobSize/ns)
	case ns > 2000:
		return fmt.Sprintf("%.0f k/s", 1e6/ns)
	}
	return fmt.Sprintf("%.2f M/s", 1e3/ns)
}

// printTable prints the results as the table that README.md has.
func printTable(w io.Writer) {
	if len(results) == 0 {
		return
	}
	fmt.Fprintf(w, "\n| workload | %s | reach |\n|---|%s---|\n", strings.Join(columns, " | "), strings.Repeat("---|", len(columns)))
	for _, r := range results {
		fmt.Fprintf(w, "| %s ", r.name)
		for _, c := range columns {
			cell := r.cells[c]
			if cell == "" {
				cell = "-"
			}
			fmt.Fprintf(w, "| %s ", cell)
		}
		fmt.Fprintf(w, "| %s |\n", r.reach)
	}
}

func BenchmarkLocal(b *testing.B) {
	d, p := localDiscoro(b), localProto()
	b.Run("PingPong", func(b *testing.B) {
		row{name: "local ping-pong, one pair", slice: 20000, reach: "at most 1.0"}.measure(b,
			contender{"channels", chanPingPong}, contender{colDiscoro, d.pingPong}, contender{colProto, p.pingPong})
	})
	b.Run("OneWay", func(b *testing.B) {
		row{name: "local one-way, 1 to 1", slice: 100_000, reach: "at least 0.85", speed: true}.measure(b,
			contender{"channel", chanOneWay}, contender{colDiscoro, d.oneWay}, contender{colProto, p.oneWay})
	})
	b.Run("100To100", func(b *testing.B) {
		row{name: "local one-way, 100 to 100", slice: 100_000, reach: "at least 0.55", speed: true}.measure(b,
			contender{"channels", chanManyToMany}, contender{colDiscoro, d.manyToMany}, contender{colProto, p.manyToMany})
	})
}

func BenchmarkRemote(b *testing.B) {
	s := startSide(b)
	trips := []contender{
		{colYamux, s.yamux.pingPong},
		{colDiscoro, s.plain.pingPong},
		{colProto, s.proto.pingPong},
		{colRPC, s.rpc.pingPong},
		{colGRPCStream, s.grpc.streamPingPong},
		{colGRPCUnary, s.grpc.pingPong},
	}
	b.Run("PingPongOnCores", func(b *testing.B) {
		row{name: "remote ping-pong (yardstick TCP between two cores)", slice: 300, reach: "at most 1.2"}.measure(b,
			append([]contender{{"tcp-on-cores", s.tcp.pingPongOnCores}}, trips...)...)
	})
	b.Run("PingPong", func(b *testing.B) {
		row{name: "remote ping-pong (yardstick TCP, mostly on one core)", slice: 300}.measure(b,
			append([]contender{{"tcp", s.tcp.pingPong}}, trips...)...)
	})
	b.Run("OneWay", func(b *testing.B) {
		row{name: "remote one-way, 1 to 1", slice: 50_000, reach: "at least 0.7", speed: true}.measure(b,
			contender{"cbor-over-tcp", s.tcp.oneWay}, contender{colYamux, s.yamux.oneWay}, contender{colDiscoro, s.plain.oneWay},
			contender{colProto, s.proto.oneWay}, contender{colRPC, s.rpc.oneWay}, contender{colGRPCStream, s.grpc.oneWay})
	})
	b.Run("100To100", func(b *testing.B) {
		row{name: "remote one-way, 100 to 100", slice: 50_000, reach: "at least 0.6", speed: true}.measure(b,
			contender{"cbor-over-tcp", s.tcp.oneWay}, contender{colYamux, s.yamux.oneWay}, contender{colDiscoro, s.plain.manyToMany},
			contender{colProto, s.proto.manyToMany}, contender{colRPC, s.rpc.manyToMany}, contender{colGRPCStream, s.grpc.manyToMany})
	})
	b.Run("64KiB", func(b *testing.B) {
		row{name: "remote 64 KiB messages", slice: 500, reach: "at least 0.37", speed: true, per: "GB/s"}.measure(b,
			contender{"tcp", s.tcp.sendBlobs}, contender{colYamux, s.yamux.sendBlobs}, contender{colDiscoro, s.plain.blobs},
			contender{colProto, s.proto.blobs}, contender{colRPC, s.rpc.blobs}, contender{colGRPCStream, s.grpc.blobs})
	})
	b.Run("Ask64", func(b *testing.B) {
		row{name: "call and result, 64 in flight (yardstick net/rpc)", slice: 3000, reach: "at least 1.7", speed: true}.measure(b,
			contender{"net/rpc", s.rpc.ask}, contender{colDiscoro, s.plain.ask},
			contender{colProto, s.proto.ask}, contender{colGRPCUnary, s.grpc.ask})
	})
}

// BenchmarkSecret is discoro with a secret beside discoro without.
func BenchmarkSecret(b *testing.B) {
	s := startSide(b)
	for _, w := range []struct {
		name, row   string
		slice       int
		per         string
		plain, ours work
	}{
		{"PingPong", "ping-pong", 300, "", s.plain.pingPong, s.secret.pingPong},
		{"OneWay", "one-way, 1 to 1", 50_000, "", s.plain.oneWay, s.secret.oneWay},
		{"100To100", "one-way, 100 to 100", 50_000, "", s.plain.manyToMany, s.secret.manyToMany},
		{"64KiB", "64 KiB messages", 500, "GB/s", s.plain.blobs, s.secret.blobs},
		{"Ask64", "call and result", 3000, "", s.plain.ask, s.secret.ask},
	} {
		b.Run(w.name, func(b *testing.B) {
			row{name: "secret: " + w.row + " (yardstick plain)", slice: w.slice, reach: "at least 0.7", speed: true, per: w.per}.measure(b,
				contender{"plain", w.plain}, contender{colDiscoro, w.ours})
		})
	}
}

// busyWork is a round trip over an idle connection, and each of some over a busy one.
type busyWork struct {
	name string // of its column
	idle work
	busy func(b *testing.B, n int) []float64
}

// BenchmarkBusy is a round trip while 64 KiB messages stream over the same connection, beside one without; everybody is
// their own yardstick. protoactor-go is not here: it queues without a bound, so that the answer is as late as one likes. A file
// beside the messages only discoro has.
func BenchmarkBusy(b *testing.B) {
	s := startSide(b)
	b.Run("messages", func(b *testing.B) {
		measureBusy(b, "round trip beside 64 KiB messages (yardstick idle)",
			busyWork{colDiscoro, s.plain.pingPong, s.plain.busy},
			busyWork{colRPC, s.rpc.pingPong, s.rpc.busy},
			busyWork{colGRPCUnary, s.grpc.pingPong, s.grpc.busy})
	})
	b.Run("messages-and-a-file", func(b *testing.B) {
		measureBusy(b, "round trip beside 64 KiB messages and a file (yardstick idle)",
			busyWork{colDiscoro, s.plain.pingPong, s.plain.busyWithFile})
	})
}

// measureBusy measures a row of BenchmarkBusy.
func measureBusy(b *testing.B, name string, all ...busyWork) {
	b.Helper()
	const trips = 200
	for _, c := range all {
		c.idle(b, trips)
		c.busy(b, trips)
	}
	idle, busy := make([][]float64, len(all)), make([][]float64, len(all))
	for b.Loop() {
		for i, c := range all {
			idle[i] = append(idle[i], float64(c.idle(b, trips))/trips)
			busy[i] = append(busy[i], c.busy(b, trips)...)
		}
	}
	r := row{name: name, reach: "at most 10, p99 under 100 ms"}
	res := result{row: r, cells: map[string]string{}}
	for i, c := range all {
		ratio, p99 := quantile(busy[i], 0.5)/quantile(idle[i], 0.5), quantile(busy[i], 0.99)/1e6
		unit := strings.ReplaceAll(c.name, " ", "-")
		b.ReportMetric(ratio, unit+"-x")
		b.ReportMetric(p99, unit+"-p99-ms")
		res.cells[c.name] = fmt.Sprintf("%.1f (p99 %.1f ms)", ratio, p99)
	}
	b.ReportMetric(0, "ns/op")
	keep(res)
}
