package stopwatch

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// recorder is a test that records its errors.
type recorder struct {
	*testing.T

	errors []string
}

// Errorf implements [testing.TB].
func (r *recorder) Errorf(format string, args ...any) {
	r.errors = append(r.errors, fmt.Sprintf(format, args...))
}

// TestBound runs in fake time, where no tick is late: a bound is exactly what it says.
func TestBound(t *testing.T) {
	t.Parallel()
	for most, errors := range map[time.Duration]int{time.Second - 1: 1, time.Second: 0} {
		synctest.Test(t, func(t *testing.T) {
			r := &recorder{T: t}
			s := Start(r)
			<-time.After(time.Second)
			if took := s.Within("it", most); took != time.Second || len(r.errors) != errors {
				t.Errorf("a second, and a bound of %v: %v, %q", most, took, r.errors)
			}
			if took, late := s.Stop(); took != time.Second || late != 0 {
				t.Errorf("a second took %v, %v late", took, late)
			}
		})
	}
}

// TestStill stops the process for a while: that time does not count.
func TestStill(t *testing.T) {
	const still = 300 * time.Millisecond
	r := &recorder{T: t}
	s := Start(r)
	standStill(t, still)
	took, late := s.Stop()
	if took < still || late < still-2*tick || late > took {
		t.Errorf("it stood still for %v: %v, %v late", still, took, late)
	}
	if s.Within("it", took-late); len(r.errors) != 0 {
		t.Error(r.errors)
	}
	if s.Within("it", took-late-1); len(r.errors) != 1 {
		t.Error("a bound that was not kept shows nothing")
	}
}

// TestEndsWithTheTest leaves a stopwatch that nobody has stopped to the test's end; TestMain looks
// for it.
func TestEndsWithTheTest(t *testing.T) {
	t.Parallel()
	Start(t)
}

// standStill stops this process for a while.
func standStill(t *testing.T, d time.Duration) {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("there are no such signals")
	}
	stop := fmt.Sprintf("kill -STOP %[1]d; sleep %[2]g; kill -CONT %[1]d", os.Getpid(), d.Seconds())
	if out, err := exec.Command("sh", "-c", stop).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}
