package discoro_test

import (
	"context"
	"crypto/tls"
	"iter"
	"log/slog"
	"reflect"
	"testing"
	"time"

	"github.com/discoro/discoro"
)

// Programs are compiled against these shapes. A line that no longer compiles breaks them.
var (
	_ discoro.Func[int, string]                                 = discoro.Register("contract.f", func(*discoro.Coro, int) (string, error) { return "", nil })
	_ func(discoro.Func[int, string]) string                    = discoro.Func[int, string].Name
	_ func(discoro.Func[int, string], int) discoro.Call[string] = discoro.Func[int, string].With
	_ func(string, any) discoro.Call[any]                       = discoro.Named
	_ discoro.Task                                              = discoro.Call[int]{}
	_ func(struct{})                                            = func(discoro.None) {}
	_ func(string)                                              = discoro.RegisterType[int]
	_ func(string, error)                                       = discoro.RegisterError

	_ func(...discoro.Config) (*discoro.Runtime, error)                                                = discoro.NewRuntime
	_ func(*discoro.Runtime) string                                                                    = (*discoro.Runtime).Name
	_ func(*discoro.Runtime) discoro.Location                                                          = (*discoro.Runtime).Location
	_ func(*discoro.Runtime) string                                                                    = (*discoro.Runtime).DestPath
	_ func(*discoro.Runtime, string, func(*discoro.Coro) (any, error)) *discoro.Coro                   = (*discoro.Runtime).Spawn
	_ func(*discoro.Runtime, context.Context, string, ...discoro.Location) (*discoro.Coro, error)      = (*discoro.Runtime).Locate
	_ func(*discoro.Runtime, context.Context, string) (discoro.Location, error)                        = (*discoro.Runtime).Connect
	_ func(*discoro.Runtime, discoro.Location) error                                                   = (*discoro.Runtime).Disconnect
	_ func(*discoro.Runtime) []discoro.Location                                                        = (*discoro.Runtime).Peers
	_ func(*discoro.Runtime, *discoro.Coro)                                                            = (*discoro.Runtime).WatchPeers
	_ func(*discoro.Runtime, context.Context) error                                                    = (*discoro.Runtime).Discover
	_ func(*discoro.Runtime, context.Context, discoro.Location, string, ...discoro.FileOptions) error  = (*discoro.Runtime).SendFile
	_ func(*discoro.Runtime, context.Context, discoro.Location, string) error                          = (*discoro.Runtime).DeleteFile
	_ func(*discoro.Runtime) error                                                                     = (*discoro.Runtime).Close
	_ func(string) (discoro.Location, error)                                                           = discoro.ParseLocation
	_ func(discoro.Location) string                                                                    = discoro.Location.String
	_ context.Context                                                                                  = (*discoro.Coro)(nil)
	_ func(*discoro.Coro) string                                                                       = (*discoro.Coro).Name
	_ func(*discoro.Coro) discoro.Location                                                             = (*discoro.Coro).Location
	_ func(*discoro.Coro) string                                                                       = (*discoro.Coro).String
	_ func(*discoro.Coro, any) error                                                                   = (*discoro.Coro).Send
	_ func(*discoro.Coro, context.Context, any) error                                                  = (*discoro.Coro).Deliver
	_ func(*discoro.Coro, context.Context, *discoro.Coro) error                                        = (*discoro.Coro).Monitor
	_ func(*discoro.Coro) error                                                                        = (*discoro.Coro).Terminate
	_ func(*discoro.Coro, context.Context) error                                                       = (*discoro.Coro).Wait
	_ func(context.Context, *discoro.Coro) (int, error)                                                = discoro.Result[int]
	_ func(context.Context, *discoro.Coro, any) (int, error)                                           = discoro.Ask[int]
	_ func(*discoro.Coro, string) error                                                                = (*discoro.Coro).Register
	_ func(*discoro.Coro, string) error                                                                = (*discoro.Coro).Unregister
	_ func(*discoro.Coro) (any, error)                                                                 = (*discoro.Coro).Receive
	_ func(*discoro.Coro, time.Duration) (any, error)                                                  = (*discoro.Coro).ReceiveTimeout
	_ func(*discoro.Coro) (int, error)                                                                 = discoro.ReceiveAs[int]
	_ func(*discoro.Coro, time.Duration) error                                                         = (*discoro.Coro).Sleep
	_ func(*discoro.Coro) error                                                                        = (*discoro.Coro).Yield
	_ func(*discoro.Coro, func() error) error                                                          = (*discoro.Coro).Blocking
	_ func(*discoro.Coro, string, func(*discoro.Coro) (any, error)) *discoro.Coro                      = (*discoro.Coro).Spawn
	_ func(*discoro.Coro) *discoro.Runtime                                                             = (*discoro.Coro).Runtime
	_ func(*discoro.Coro) string                                                                       = (*discoro.Coro).Dir
	_ func(*discoro.Coro) *slog.Logger                                                                 = (*discoro.Coro).Logger
	_ func(*discoro.Runtime, string) (*discoro.Channel, error)                                         = (*discoro.Runtime).NewChannel
	_ func(*discoro.Runtime, context.Context, string, ...discoro.Location) (*discoro.Channel, error)   = (*discoro.Runtime).LocateChannel
	_ func(*discoro.Channel, context.Context, *discoro.Coro) error                                     = (*discoro.Channel).Subscribe
	_ func(*discoro.Channel, context.Context, *discoro.Coro) error                                     = (*discoro.Channel).Unsubscribe
	_ func(*discoro.Channel, any) error                                                                = (*discoro.Channel).Send
	_ func(*discoro.Channel, context.Context, any, int) (int, error)                                   = (*discoro.Channel).Deliver
	_ func(*discoro.Channel) error                                                                     = (*discoro.Channel).Close
	_ func(discoro.Exit) (int, error)                                                                  = discoro.ExitResult[int]
	_ func(*discoro.Request, any) error                                                                = (*discoro.Request).Reply
	_ func(*discoro.Var[int], *discoro.Coro, int)                                                      = (*discoro.Var[int]).Set
	_ func(*discoro.Var[int], *discoro.Coro) (int, bool)                                               = (*discoro.Var[int]).Get
	_ func(...discoro.NodeConfig) (*discoro.Node, error)                                               = discoro.NewNode
	_ func(*discoro.Node) discoro.Location                                                             = (*discoro.Node).Location
	_ func(*discoro.Node) []discoro.Location                                                           = (*discoro.Node).Servers
	_ func(*discoro.Node, context.Context) error                                                       = (*discoro.Node).CloseComputation
	_ func(*discoro.Node, context.Context) error                                                       = (*discoro.Node).Drain
	_ func(*discoro.Node) error                                                                        = (*discoro.Node).Close
	_ func(*discoro.Node) error                                                                        = (*discoro.Node).Wait
	_ func()                                                                                           = discoro.NodeMain
	_ func(context.Context, []string) error                                                            = discoro.RunNode
	_ func()                                                                                           = discoro.SchedulerMain
	_ func(context.Context, []string) error                                                            = discoro.RunScheduler
	_ func()                                                                                           = discoro.Init
	_ func(...discoro.ServerConfig) (*discoro.Server, error)                                           = discoro.NewServer
	_ func(...discoro.SchedulerConfig) (*discoro.Scheduler, error)                                     = discoro.NewScheduler
	_ *discoro.Runtime                                                                                 = discoro.Scheduler{}.Runtime
	_ func(*discoro.Runtime, ...discoro.ComputationConfig) (*discoro.Computation, error)               = discoro.NewComputation
	_ func(*discoro.Computation, context.Context, ...discoro.Location) error                           = (*discoro.Computation).Schedule
	_ func(*discoro.Computation, context.Context, int) error                                           = (*discoro.Computation).WaitServers
	_ func(*discoro.Computation, context.Context, discoro.Task) (*discoro.Coro, error)                 = (*discoro.Computation).Run
	_ func(*discoro.Computation, context.Context, discoro.Place, discoro.Task) (*discoro.Coro, error)  = (*discoro.Computation).RunAt
	_ func(*discoro.Computation, context.Context, discoro.Each, discoro.Task) ([]*discoro.Coro, error) = (*discoro.Computation).RunEach
	_ func(*discoro.Computation, context.Context, discoro.Task) ([]*discoro.Coro, error)               = (*discoro.Computation).RunNodes
	_ func(*discoro.Computation, context.Context, discoro.Task) ([]*discoro.Coro, error)               = (*discoro.Computation).RunServers
	_ func(*discoro.Computation, context.Context, string, discoro.Task) ([]*discoro.Coro, error)       = (*discoro.Computation).RunNodeServers
	_ func(*discoro.Computation, context.Context) ([]string, error)                                    = (*discoro.Computation).Nodes
	_ func(*discoro.Computation, context.Context) ([]discoro.Location, error)                          = (*discoro.Computation).Servers
	_ func(*discoro.Computation, context.Context) error                                                = (*discoro.Computation).Close
	_ discoro.Place                                                                                    = discoro.Location{}
	_ discoro.Place                                                                                    = discoro.NodeAddr("")
	_ []discoro.Each                                                                                   = []discoro.Each{discoro.EachNode, discoro.EachServer}

	_ func(*discoro.Computation, ...discoro.RCSConfig) (*discoro.RemoteCoroScheduler, error)                                          = discoro.NewRemoteCoroScheduler
	_ func(*discoro.RemoteCoroScheduler) *discoro.Coro                                                                                = (*discoro.RemoteCoroScheduler).StatusCoro
	_ func(*discoro.RemoteCoroScheduler, context.Context, discoro.Task) (*discoro.Coro, error)                                        = (*discoro.RemoteCoroScheduler).Schedule
	_ func(*discoro.RemoteCoroScheduler, context.Context, discoro.Task) (*discoro.Coro, error)                                        = (*discoro.RemoteCoroScheduler).Submit
	_ func(*discoro.RemoteCoroScheduler, context.Context, discoro.Place, discoro.Task) (*discoro.Coro, error)                         = (*discoro.RemoteCoroScheduler).SubmitAt
	_ func(context.Context, *discoro.RemoteCoroScheduler, discoro.Call[int]) (int, error)                                             = discoro.Execute[int]
	_ func(context.Context, *discoro.RemoteCoroScheduler, discoro.Place, discoro.Call[int]) (int, error)                              = discoro.ExecuteAt[int]
	_ func(context.Context, *discoro.RemoteCoroScheduler, discoro.Func[int, string], iter.Seq[int]) ([]string, error)                 = discoro.MapResults[int, string]
	_ func(context.Context, *discoro.RemoteCoroScheduler, discoro.Func[int, string], iter.Seq[int]) iter.Seq[discoro.Outcome[string]] = discoro.AsCompleted[int, string]
	_ func(*discoro.RemoteCoroScheduler, context.Context, bool) error                                                                 = (*discoro.RemoteCoroScheduler).Finish
	_                                                                                                                                 = []error{&discoro.RemoteError{}, &discoro.PanicError{}, &discoro.ServerLostError{}}
)

// are compiles when all that is pointed to has exactly that type.
func are[T any](...*T) {}

// fields compiles when all fields have their names and types.
func fields(
	cfg discoro.Config, n discoro.NodeConfig, server discoro.ServerConfig, sched discoro.SchedulerConfig, comp discoro.ComputationConfig,
	rcs discoro.RCSConfig, filter discoro.NodeFilter, opt discoro.FileOptions,
) {
	are[string](&cfg.Name, &cfg.Addr, &cfg.ExtAddr, &cfg.Secret, &cfg.CertFile, &cfg.KeyFile, &cfg.CAFile, &cfg.DestPath)
	are[int](&cfg.TCPPort, &cfg.UDPPort, &cfg.MaxMessage, &cfg.MaxMailbox)
	are[int64](&cfg.MaxFileSize)
	are[bool](&cfg.Insecure, &cfg.DiscoverPeers)
	are[*tls.Config](&cfg.TLS)
	are[time.Duration](&cfg.MsgTimeout)
	are[[]string](&cfg.Peers)
	are[*slog.Logger](&cfg.Logger)

	are[discoro.Config](&n.Config, &server.Config, &sched.Config)
	are[string](&n.Name, &server.Name, &sched.Name) // it is embedded
	are[int](&n.Servers, &n.Serve)
	are[bool](&n.Processes, &n.Phoenix)
	are[[]string](&n.TCPPorts, &sched.Nodes)
	are[time.Duration](&n.MinPulseInterval, &n.MaxPulseInterval, &n.ZombiePeriod, &sched.ZombiePeriod, &sched.PingInterval)
	are[string](&n.ServiceStart, &n.ServiceStop, &n.ServiceEnd)

	are[[]string](&comp.Functions, &comp.Files)
	are[*discoro.Coro](&comp.Status)
	are[time.Duration](&comp.Timeout, &comp.PulseInterval, &comp.PingInterval, &comp.ZombiePeriod)
	are[[]discoro.NodeFilter](&comp.NodeFilters)
	are[string](&filter.Addr, &filter.Platform)
	are[int](&filter.CPUs)
	are[uint64](&filter.Memory, &filter.Disk)

	are[func(*discoro.Coro, discoro.Status) error](&rcs.ProcStatus)
	are[func(*discoro.Coro, discoro.Location) error](&rcs.ProcAvailable)
	are[func(*discoro.Coro, discoro.StatusKind, discoro.Location)](&rcs.ProcClose)
	are[int](&rcs.Retries)

	are[string](&opt.Dir)
	are[bool](&opt.Overwrite)
	are[func(sent, total int64)](&opt.Progress)
}

// results compiles when all fields of what users are given have their names and types.
func results(
	peer discoro.PeerStatus, loc discoro.Location, exit discoro.Exit, request *discoro.Request, s discoro.Status, info discoro.CoroInfo,
	avail discoro.NodeAvail, out discoro.Outcome[[]byte], sched *discoro.Scheduler, remote *discoro.RemoteError,
	panicked *discoro.PanicError, lost *discoro.ServerLostError,
) {
	are[discoro.Location](&peer.Location, &s.Server, &out.Server, &remote.Location, &lost.Server)
	are[string](&peer.Name, &loc.Addr, &s.Node, &s.Reason, &info.Func, &avail.Node, &remote.Func, &remote.Msg, &panicked.Stack, &lost.Func)
	are[bool](&peer.Online)
	are[int](&loc.Port, &out.Index, &out.Attempts)
	are[*discoro.Coro](&exit.Coro, &info.Coro)
	are[any](&request.Msg, &info.Arg, &panicked.Value)
	are[discoro.StatusKind](&s.Kind)
	are[discoro.CoroInfo](&s.Coro)
	are[time.Time](&info.Start)
	are[float64](&avail.CPU, &avail.Swap)
	are[uint64](&avail.Memory, &avail.Disk)
	are[[]byte](&out.Value)
	are[*discoro.Runtime](&sched.Runtime)
	_ = sched.Locate // it is embedded
	_ = map[discoro.Location]int{}
	are[error](&peer.Err, &exit.Err, &out.Err, &lost.Cause,
		&discoro.ErrTerminated, &discoro.ErrTimeout, &discoro.ErrClosed, &discoro.ErrNotFound, &discoro.ErrNotRegistered,
		&discoro.ErrTypeNotRegistered, &discoro.ErrType, &discoro.ErrNoServer, &discoro.ErrDisconnected, &discoro.ErrUnauthorized,
		&discoro.ErrTooLarge, &discoro.ErrExists, &discoro.ErrRejected)
}

// TestContract checks what the compiler cannot: numbers and texts that users know, and defaults.
func TestContract(t *testing.T) {
	t.Parallel()
	_, _ = fields, results
	kinds := map[discoro.StatusKind]int{ // asyncoro's numbers
		discoro.NodeDiscovered: 1, discoro.NodeInitialized: 2, discoro.NodeClosed: 3, discoro.NodeIgnore: 4, discoro.NodeDisconnected: 5,
		discoro.ServerDiscovered: 11, discoro.ServerInitialized: 12, discoro.ServerClosed: 13, discoro.ServerIgnore: 14,
		discoro.ServerDisconnected: 15, discoro.CoroCreated: 20, discoro.ComputationScheduled: 23, discoro.ComputationClosed: 25,
	}
	for kind, number := range kinds {
		if int(kind) != number {
			t.Errorf("%v is %d, not %d", kind, kind, number)
		}
	}
	if got := (discoro.Status{Kind: discoro.NodeDiscovered}).String(); got != "NodeDiscovered" {
		t.Errorf("a status reads %q", got)
	}
	if discoro.EachNode == discoro.EachServer {
		t.Error("EachNode is EachServer")
	}
	for name, is := range map[string]bool{
		"Each is an int":          reflect.TypeFor[discoro.Each]().Kind() == reflect.Int,
		"NodeAddr is a string":    reflect.TypeFor[discoro.NodeAddr]().Kind() == reflect.String,
		"DefaultMsgTimeout, 10 s": discoro.DefaultMsgTimeout == 10*time.Second,
		"MinPulseInterval, 10 s":  discoro.MinPulseInterval == 10*time.Second,
		"MaxPulseInterval, 100 s": discoro.MaxPulseInterval == 100*time.Second,
	} {
		if !is {
			t.Errorf("not so: %s", name)
		}
	}
}
