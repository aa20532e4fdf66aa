package testkit

import (
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestLedgerFindsFaults(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		got  []int
		want string // nothing: no fault
	}{
		{"whole", []int{0, 1, 2, 3}, ""},
		{"gap", []int{0, 2, 3}, "gap"},
		{"gap at the start", []int{1, 2, 3}, "gap"},
		{"repeat", []int{0, 1, 1, 2, 3}, "repeat"},
		{"repeat, later", []int{0, 1, 2, 3, 1}, "repeat"},
		{"swap", []int{0, 2, 1, 3}, "swap"},
		{"late", []int{1, 2, 3, 0}, "swap"},
		{"end", []int{0, 1, 2}, "end"},
	}
	for _, tt := range tests {
		err := CheckLedger(tt.got, 4)
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.HasPrefix(err.Error(), tt.want)) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
}

// TestProxy shows that the tests' tool does what it says.
func TestProxy(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	p := NewProxy(t, ln.Addr().String())
	near, err := net.Dial("tcp", p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer near.Close()
	far, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	exchange := func(text string) error {
		if _, err := near.Write([]byte(text)); err != nil {
			return err
		}
		_, err := io.ReadFull(far, make([]byte, len(text)))
		return err
	}
	if err := exchange("hello"); err != nil {
		t.Fatal(err)
	}
	p.Freeze()
	_ = far.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if err := exchange("frozen"); err == nil {
		t.Error("a frozen proxy forwards")
	}
	_ = far.SetReadDeadline(time.Now().Add(Patience))
	p.Thaw()
	if _, err := io.ReadFull(far, make([]byte, len("frozen"))); err != nil {
		t.Error(err)
	}
	p.Cut()
	if err := exchange("cut"); err == nil {
		t.Error("a cut proxy forwards")
	}
}
