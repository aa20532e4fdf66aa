// Package turn decides which coroutine of a runtime runs: at most one at a time, until it yields.
//
// # Tasks and runners
//
// A [Task] is a coroutine as this package sees it, an [iter.Pull] coroutine. A runner is a
// goroutine that takes the next task that can run, resumes it, and gets control back when the task
// yields. That is a direct switch on the same thread, which costs less than waking another
// goroutine. One runner at most has the turn. While no task can run, none has it, and up to 4
// runners stay parked.
//
//   - [Turn.Put] appends a task to the queue, because a message came, a timer fired, or an answer
//     came. When the turn is free, Put wakes a parked runner or starts a new one.
//   - The yield function that [Owner] gets switches back to the runner. Before it calls yield, the
//     owner records under its own lock what the task waits for, and numbers the wait. A wake-up
//     names the number, so one for an earlier wait does nothing. A wake-up may come between
//     recording and switching. Then the task is in the queue already, but no runner can resume it
//     too early: the only one that could is the runner that the task is about to switch back to.
//   - [Turn.Release] takes the turn from the runner underneath the task. That runner stays where it
//     is, in the middle of resuming this task, and another runner goes on with the other tasks.
//   - [Turn.Enter] puts the task into the queue, marked as detached. The runner that finds it there
//     hands the turn to the runner underneath the task, and parks.
//   - [Turn.Abandon] takes the turn from a task that does not yield, in the same way as Release.
//     Its runner is lost with it, and [Turn.Wait] does not wait for that. When the function returns
//     after all, the runner sees that it does not have the turn, and ends.
//   - [runtime.Goexit] in a task's function (testing.T.FailNow) runs through iter.Pull and ends the
//     runner as well. The runner's deferred function starts its successor.
//
// # Which goroutine calls
//
// Methods that belong inside a coroutine, and every wait, must know whether the coroutine's own
// goroutine calls. A context cannot show that. A coroutine may pass its context to a helper
// goroutine, which must block like any goroutine. And a coroutine may wait with
// context.Background(), and must give up the turn all the same. [GoroutineID] shows it. It is the
// address of the Go runtime's g, read by one instruction of assembly, and differs between
// goroutines that live at the same time. An owner forgets it when its function ends, because the g
// may serve another goroutine then.
//
// # The coarse clock
//
// [Turn.Now] stamps what tasks do. A real clock would cost as much as a switch. The clock ticks
// every 10 ms, and only while a runner has the turn, because no wait begins otherwise.
//
// # Goroutines and locks
//
// The package starts runners only. [Turn.Close] and [Turn.Wait] end them and wait for them. Turn.mu
// is the only lock. It is a leaf, and guards the queue, the runners, what the tasks' fields say of
// both, and the clock's timer.
package turn
