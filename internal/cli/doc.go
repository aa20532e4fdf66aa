// Package cli is the command line of a node or a scheduler: options and where they come from, the
// commands on standard input, signals, and the exit code. It knows the two roles only as a [Role]
// and as the tags of their configurations' fields, so its tests start no cluster.
//
// A program calls, in this order: [Parse], which fills its configuration; [Notify], before anything
// is printed; [Operate], which runs the role until it has ended; and [ExitCode].
//
// To add an option, give the configuration's field a tag `json:"NAME"` and add a line to [Options].
//
// # Goroutines and locks
//
// Operate starts two goroutines. One owns standard output and writes what is queued for it, so that
// nothing waits for a reader of the output; it ends soon after Operate returns. The other owns
// standard input, and ends with that, as a Read cannot be interrupted. The package has no lock.
package cli
