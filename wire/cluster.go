package wire

// The frames that nodes, servers, schedulers and clients exchange.

// Peer says where a runtime is: its identity and its location.
type Peer struct {
	_    struct{} `cbor:",toarray"`
	ID   ID
	Host string
	Port int
}

// ServerInfo is one server of a node.
type ServerInfo struct {
	_    struct{} `cbor:",toarray"`
	Peer Peer
	Name string
	PID  int
}

// Offer is what a node tells each scheduler that it meets, and again when it changes.
type Offer struct {
	_         struct{} `cbor:",toarray"`
	Node      Peer
	Name      string
	Platform  string
	CPUs      int // servers it has, or will have when they are up
	Memory    uint64
	Disk      uint64
	Free      bool     // it serves nobody
	Reason    string   // why it is not free, or is leaving
	Functions []string // registered there
	Build     string
	Leaving   bool  // it takes no new jobs either: it is to be released when it runs none
	MinPulse  int64 // between signs of life, in nanoseconds: the least and the most that it takes
	MaxPulse  int64
	Zombie    int64 // after that long without a job it is to be released, in nanoseconds; 0: never
}

// Reserve asks a node to serve a computation. The node answers with [Servers] as they come up, or
// with [Released].
type Reserve struct {
	_         struct{} `cbor:",toarray"`
	Token     Token
	Client    Peer
	Scheduler Peer
	Pulse     int64
}

// Servers tells the scheduler that a server of the node came or went.
type Servers struct {
	_      struct{} `cbor:",toarray"`
	Token  Token
	Up     []ServerInfo
	Gone   []ServerInfo
	Reason string
}

// Release ends a node's service to a computation. Over: the computation is closing; else it goes on without the node, whose servers
// have its client hear all they have to say first.
type Release struct {
	_     struct{} `cbor:",toarray"`
	Token Token
	Over  bool
}

// Released says that every server of the node has closed.
type Released struct {
	_      struct{} `cbor:",toarray"`
	Token  Token
	Reason string
}

// ServerUp is how a server introduces itself to its node.
type ServerUp struct {
	_         struct{} `cbor:",toarray"`
	Index     int
	Nonce     Token
	Info      ServerInfo
	Functions []string
}

// Setup prepares a server for a computation.
type Setup struct {
	_         struct{} `cbor:",toarray"`
	Token     Token
	Node      Peer
	Client    Peer
	Scheduler Peer
	Pulse     int64
}

// Ready tells the scheduler that a server is set up.
type Ready struct {
	_     struct{} `cbor:",toarray"`
	Token Token
	Node  ID
	Info  ServerInfo
	Err   *Failure
}

// CloseServer ends a computation at a server; with Over, as in [Release], it does not wait for the client.
type CloseServer struct {
	_     struct{} `cbor:",toarray"`
	Token Token
	Over  bool
}

// ServerDone says that a computation has ended at a server; Stuck names functions that would not end.
type ServerDone struct {
	_     struct{} `cbor:",toarray"`
	Token Token
	Stuck []string
}

// Submit queues a computation at a scheduler. It is answered when the computation is active.
type Submit struct {
	_         struct{} `cbor:",toarray"`
	Call      uint64
	Token     Token
	Client    Peer
	Name      string
	Functions []string
	Pulse     int64
	Ping      int64
	Zombie    int64
	Filters   []NodeFilter
}

// NodeFilter says which nodes are used.
type NodeFilter struct {
	_        struct{} `cbor:",toarray"`
	Addr     string
	Platform string
	CPUs     int
	Memory   uint64
	Disk     uint64
}

// CloseComputation closes a computation. It is answered when all its servers have closed.
type CloseComputation struct {
	_     struct{} `cbor:",toarray"`
	Call  uint64
	Token Token
}

// Where says which servers may run a job.
type Where struct {
	_    struct{} `cbor:",toarray"`
	Node string   // a node's location, or a host: the least loaded server there
	Host string   // with Port: that server
	Port int
}

// Run asks for a function to be run.
type Run struct {
	_     struct{} `cbor:",toarray"`
	Token Token
	Job   JobID
	Where Where
	Lane  uint64 // a server runs the jobs of one lane one at a time, in order; 0: at once
	Call  FuncCall
}

// FuncCall is a function's name and its encoded argument.
type FuncCall struct {
	_      struct{} `cbor:",toarray"`
	Func   string
	Type   string // by which the argument's type is known in any; set for calls by name
	Strict bool   // the argument was made without knowing the function's type
	Arg    []byte `cbor:"-"` // behind the array
}

// Unrun says that the caller does not want Job to be started any more.
type Unrun struct {
	_     struct{} `cbor:",toarray"`
	Token Token
	Job   JobID
}

// Unstart takes back a job that waits at a server for its turn; Done follows. It means nothing for one that has started.
type Unstart struct {
	_     struct{} `cbor:",toarray"`
	Token Token
	Job   JobID
}

// Tally asks a server how many coroutines it has; answered with an int.
type Tally struct {
	_    struct{} `cbor:",toarray"`
	Call uint64
}

// Report asks what a computation waits for, or one of its runs; answered in words.
type Report struct {
	_     struct{} `cbor:",toarray"`
	Call  uint64
	Token Token
	Job   JobID // zero: the computation
}

// Start starts a job at a server.
type Start struct {
	_     struct{} `cbor:",toarray"`
	Token Token
	Job   JobID
	Lane  uint64 // as in Run
	Call  FuncCall
}

// Started tells the client which coroutine runs its job.
type Started struct {
	_      struct{} `cbor:",toarray"`
	Token  Token
	Job    JobID
	Coro   HandleValue
	Server Peer
	At     int64 // Unix time in nanoseconds
}

// Done tells the client how its job ended.
type Done struct {
	_       struct{} `cbor:",toarray"`
	Token   Token
	Job     JobID
	Outcome Outcome
}

// Freed tells the scheduler that a job ended.
type Freed struct {
	_     struct{} `cbor:",toarray"`
	Token Token
	Job   JobID
}

// Heard tells the scheduler of how many more of the jobs that have ended, in the order in which it was told of them, the client knows
// that they had begun. Of none of them: files come to the server, which is not idle.
type Heard struct {
	_     struct{} `cbor:",toarray"`
	Token Token
	Jobs  uint64
}

// Unheard tells the client of a job that has ended at a server that is lost or has closed: if it has not heard that the job began,
// it will not hear of its end either.
type Unheard struct {
	_     struct{} `cbor:",toarray"`
	Token Token
	Job   JobID
	Err   *Failure
}

// Status tells the client that something of its computation changed state.
type Status struct {
	_      struct{} `cbor:",toarray"`
	Token  Token
	What   uint8 // the StatusKind
	Node   string
	Server Peer
	Reason string
}

// Avail tells what a node has to spare; the scheduler fills in which node, and passes it on.
type Avail struct {
	_      struct{} `cbor:",toarray"`
	Token  Token
	Node   string
	CPU    float64 // percent idle
	Memory uint64
	Disk   uint64
	Swap   float64 // percent free
}

// Queued tells the client that its computation waits at a scheduler: the first of the queue is number 1.
type Queued struct {
	_        struct{} `cbor:",toarray"`
	Token    Token
	Position int
}

// Near asks a node for the nodes of its local network; answered by a list of locations, as texts.
type Near struct {
	_    struct{} `cbor:",toarray"`
	Call uint64
}

// newClusterFrame returns an empty frame of kind k, nil when there is no such kind.
func newClusterFrame(k Kind) Frame {
	if fresh, ok := clusterFrames[k]; ok {
		return fresh()
	}
	return nil
}

var clusterFrames = map[Kind]func() Frame{
	KindOffer:            func() Frame { return &Offer{} },
	KindReserve:          func() Frame { return &Reserve{} },
	KindServers:          func() Frame { return &Servers{} },
	KindRelease:          func() Frame { return &Release{} },
	KindReleased:         func() Frame { return &Released{} },
	KindServerUp:         func() Frame { return &ServerUp{} },
	KindSetup:            func() Frame { return &Setup{} },
	KindReady:            func() Frame { return &Ready{} },
	KindCloseServer:      func() Frame { return &CloseServer{} },
	KindServerDone:       func() Frame { return &ServerDone{} },
	KindSubmit:           func() Frame { return &Submit{} },
	KindCloseComputation: func() Frame { return &CloseComputation{} },
	KindRun:              func() Frame { return &Run{} },
	KindUnrun:            func() Frame { return &Unrun{} },
	KindReport:           func() Frame { return &Report{} },
	KindTally:            func() Frame { return &Tally{} },
	KindStart:            func() Frame { return &Start{} },
	KindUnstart:          func() Frame { return &Unstart{} },
	KindStarted:          func() Frame { return &Started{} },
	KindDone:             func() Frame { return &Done{} },
	KindFreed:            func() Frame { return &Freed{} },
	KindHeard:            func() Frame { return &Heard{} },
	KindUnheard:          func() Frame { return &Unheard{} },
	KindStatus:           func() Frame { return &Status{} },
	KindAvail:            func() Frame { return &Avail{} },
	KindQueued:           func() Frame { return &Queued{} },
	KindNear:             func() Frame { return &Near{} },
}

// Kind of an Offer.
func (*Offer) Kind() Kind { return KindOffer }

// Kind of a Reserve.
func (*Reserve) Kind() Kind { return KindReserve }

// Kind of a Servers.
func (*Servers) Kind() Kind { return KindServers }

// Kind of a Release.
func (*Release) Kind() Kind { return KindRelease }

// Kind of a Released.
func (*Released) Kind() Kind { return KindReleased }

// Kind of a ServerUp.
func (*ServerUp) Kind() Kind { return KindServerUp }

// Kind of a Setup.
func (*Setup) Kind() Kind { return KindSetup }

// Kind of a Ready.
func (*Ready) Kind() Kind { return KindReady }

// Kind of a CloseServer.
func (*CloseServer) Kind() Kind { return KindCloseServer }

// Kind of a ServerDone.
func (*ServerDone) Kind() Kind { return KindServerDone }

// Kind of a Submit.
func (*Submit) Kind() Kind { return KindSubmit }

// Kind of a CloseComputation.
func (*CloseComputation) Kind() Kind { return KindCloseComputation }

// Kind of a Run.
func (*Run) Kind() Kind { return KindRun }

// Kind of an Unrun.
func (*Unrun) Kind() Kind { return KindUnrun }

// Kind of a Tally.
func (*Tally) Kind() Kind { return KindTally }

// Kind of a Report.
func (*Report) Kind() Kind { return KindReport }

// Kind of a Start.
func (*Start) Kind() Kind { return KindStart }

// Kind of a Started.
func (*Started) Kind() Kind { return KindStarted }

// Kind of a Done.
func (*Done) Kind() Kind { return KindDone }

// Kind of an Unstart.
func (*Unstart) Kind() Kind { return KindUnstart }

// Kind of a Freed.
func (*Freed) Kind() Kind { return KindFreed }

// Kind of a Heard.
func (*Heard) Kind() Kind { return KindHeard }

// Kind of an Unheard.
func (*Unheard) Kind() Kind { return KindUnheard }

// Kind of a Status.
func (*Status) Kind() Kind { return KindStatus }

// Kind of an Avail.
func (*Avail) Kind() Kind { return KindAvail }

// Kind of a Queued.
func (*Queued) Kind() Kind { return KindQueued }

// Kind of a Near.
func (*Near) Kind() Kind { return KindNear }
