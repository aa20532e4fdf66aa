package examples

import (
	"regexp"
	"testing"
)

var atLocation = regexp.MustCompile(` at (127\.0\.0\.1:\d+),`)

// TestCloudNode has the two halves of the example cloud in processes of their own.
func TestCloudNode(t *testing.T) {
	t.Parallel()
	node := start(t, "cloud", "node", "-c", "2", "-n", t.Name(), "--udp_port", "-1")
	at := node.Says(&node.Out, atLocation)
	out := run(t, "cloud", "-listen", "127.0.0.1:0", "-peers", at)
	if want := "the sum of 1/n² is 1.644934, after 100000000 terms, and pi 3.141593\n"; out != want {
		t.Errorf("printed %q, want %q", out, want)
	}
	node.Interrupt()

	start(t, "cloud", "node", "--nonsense").End(2)
}
